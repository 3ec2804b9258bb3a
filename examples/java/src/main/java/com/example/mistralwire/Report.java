package com.example.mistralwire;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.mistralwire.v1.ChatCompletionChoice;
import com.mistralwire.v1.ChatCompletionResponse;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.Base64;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** Outcomes of calls, as JSON. */
final class Report {
  private Report() {}

  static JsonObject unary(Calls calls, Supplier<ChatCompletionResponse> call) {
    try {
      ChatCompletionResponse response = call.get();
      ChatCompletionChoice choice = response.getChoices(0);
      JsonObject report = ok(calls.trailers());
      report.addProperty("id", response.getId());
      report.addProperty("text", choice.getMessage().getContentString());
      report.add("finish_reason", finishReason(FinishReasons.of(choice)));
      report.addProperty("total_tokens", response.getUsage().getTotalTokens());
      return report;
    } catch (StatusRuntimeException e) {
      return failure(e);
    }
  }

  static JsonObject stream(Calls calls, Consumer<Answer> call) {
    Answer answer = new Answer();
    JsonObject report;
    try {
      call.accept(answer);
      report = ok(calls.trailers());
    } catch (StatusRuntimeException e) {
      report = failure(e);
    }
    JsonArray reasons = new JsonArray();
    answer.finishReasons().forEach(reason -> reasons.add(finishReason(reason)));
    report.addProperty("messages", answer.messages());
    report.addProperty("chunks", answer.chunks());
    report.addProperty("text", answer.text());
    report.add("finish_reasons", reasons);
    return report;
  }

  static JsonObject relay(Supplier<ChatCompletionResponse> call) {
    try {
      JsonObject report = bytes(call.get().toByteArray());
      report.addProperty("code", Status.Code.OK.name());
      return report;
    } catch (StatusRuntimeException e) {
      return failure(e);
    }
  }

  static JsonObject bytes(byte[] data) {
    JsonObject report = new JsonObject();
    report.addProperty("bytes", Base64.getEncoder().encodeToString(data));
    return report;
  }

  private static JsonObject ok(Metadata trailers) {
    JsonObject report = new JsonObject();
    report.addProperty("code", Status.Code.OK.name());
    report.addProperty("request_id", trailers.get(Calls.REQUEST_ID));
    return report;
  }

  /** Describes a status with its details, from {@code grpc-status-details-bin}. */
  private static JsonObject failure(StatusRuntimeException e) {
    JsonObject report = new JsonObject();
    Metadata trailers = e.getTrailers() == null ? new Metadata() : e.getTrailers();
    report.addProperty("code", e.getStatus().getCode().name());
    report.addProperty("message", e.getStatus().getDescription());
    report.addProperty("request_id", trailers.get(Calls.REQUEST_ID));
    report.add("reason", JsonNull.INSTANCE);
    report.add("domain", JsonNull.INSTANCE);
    report.add("violations", new JsonArray());
    report.add("retry_after_s", JsonNull.INSTANCE);
    try {
      for (Any detail : StatusProto.fromThrowable(e).getDetailsList()) {
        addDetail(report, detail);
      }
    } catch (InvalidProtocolBufferException invalid) {
      throw new IllegalStateException(invalid);
    }
    return report;
  }

  private static void addDetail(JsonObject report, Any detail)
      throws InvalidProtocolBufferException {
    if (detail.is(ErrorInfo.class)) {
      ErrorInfo info = detail.unpack(ErrorInfo.class);
      report.addProperty("reason", info.getReason());
      report.addProperty("domain", info.getDomain());
    } else if (detail.is(BadRequest.class)) {
      for (BadRequest.FieldViolation violation :
          detail.unpack(BadRequest.class).getFieldViolationsList()) {
        JsonObject entry = new JsonObject();
        entry.addProperty("field", violation.getField());
        entry.addProperty("description", violation.getDescription());
        report.getAsJsonArray("violations").add(entry);
      }
    } else if (detail.is(RetryInfo.class)) {
      com.google.protobuf.Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
      report.addProperty("retry_after_s", delay.getSeconds() + delay.getNanos() / 1e9);
    }
  }

  private static JsonElement finishReason(Optional<FinishReasons.Stopped> reason) {
    if (reason.isEmpty()) {
      return JsonNull.INSTANCE;
    }
    JsonObject entry = new JsonObject();
    entry.addProperty("number", reason.get().number());
    entry.addProperty("string", reason.get().string());
    return entry;
  }
}
