package com.example.mistralwire;

import com.google.protobuf.InvalidProtocolBufferException;
import com.mistralwire.v1.ChatCompletionRequest;
import com.mistralwire.v1.ChatCompletionResponse;
import com.mistralwire.v1.ChatCompletionServiceGrpc;
import com.mistralwire.v1.ChatCompletionServiceGrpc.ChatCompletionServiceBlockingStub;
import com.mistralwire.v1.ChatCompletionStreamRequest;
import com.mistralwire.v1.ChatCompletionStreamResponse;
import com.mistralwire.v1.ChatMessage;
import com.mistralwire.v1.ToolMessage;
import com.mistralwire.v1.UserMessage;
import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.util.Iterator;
import java.util.concurrent.atomic.AtomicReference;

/**
 * The calls: in one piece, as a stream, with a deadline, cancelled.
 *
 * <p>Each throws {@link io.grpc.StatusRuntimeException} if its status is not OK.
 */
final class Calls {
  static final Metadata.Key<String> REQUEST_ID =
      Metadata.Key.of("x-request-id", Metadata.ASCII_STRING_MARSHALLER);

  private static final ChatCompletionRequest GREETING =
      ChatCompletionRequest.newBuilder()
          .setModel("mistral-small-latest")
          .addMessages(user("Grüezi 👋"))
          .setTemperature(0)
          .setRandomSeed(9_007_199_254_740_993L)
          .build();

  private final AtomicReference<Metadata> headers = new AtomicReference<>();
  private final AtomicReference<Metadata> trailers = new AtomicReference<>();
  private final ChatCompletionServiceBlockingStub stub;

  Calls(Channel channel) {
    stub =
        ChatCompletionServiceGrpc.newBlockingStub(channel)
            .withInterceptors(MetadataUtils.newCaptureMetadataInterceptor(headers, trailers));
  }

  /** Returns the trailing metadata of the last call. */
  Metadata trailers() {
    return trailers.get();
  }

  /** Requests a completion in one piece. The id is in the service's log and comes back too. */
  ChatCompletionResponse unary(String requestId) {
    return withRequestId(requestId).chatCompletion(GREETING);
  }

  /** Requests a completion as a stream. If it breaks, the answer has the chunks before. */
  void stream(String requestId, Answer answer) {
    withRequestId(requestId).chatCompletionStream(asStream(GREETING)).forEachRemaining(answer::add);
  }

  /** Reads at least so many chunks of a stream, then cancels the call. */
  void cancel(int chunksMax, Answer answer) {
    try (Context.CancellableContext context = Context.current().withCancellation()) {
      context.run(
          () -> {
            Iterator<ChatCompletionStreamResponse> messages =
                stub.chatCompletionStream(asStream(GREETING));
            while (answer.chunks() < chunksMax && messages.hasNext()) {
              answer.add(messages.next());
            }
            context.cancel(null);
            // Messages that arrived before are still delivered; then the status is thrown.
            messages.forEachRemaining(message -> {});
          });
    }
  }

  /** Requests a completion with a deadline. */
  ChatCompletionResponse deadline(Duration timeout) {
    return stub.withDeadlineAfter(timeout).chatCompletion(GREETING);
  }

  /** Sends a request that breaks the contract: no model, and a tool message without content. */
  ChatCompletionResponse broken() {
    return stub.chatCompletion(
        ChatCompletionRequest.newBuilder()
            .addMessages(user("hello"))
            .addMessages(ChatMessage.newBuilder().setTool(ToolMessage.getDefaultInstance()))
            .build());
  }

  /** Forwards a request unchanged, json_extra included. */
  ChatCompletionResponse relay(ChatCompletionRequest request) {
    return stub.chatCompletion(request);
  }

  private ChatCompletionServiceBlockingStub withRequestId(String requestId) {
    Metadata metadata = new Metadata();
    metadata.put(REQUEST_ID, requestId);
    return stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata));
  }

  private static ChatMessage user(String text) {
    return ChatMessage.newBuilder()
        .setUser(UserMessage.newBuilder().setContentString(text))
        .build();
  }

  /** Returns a request's stream form: the two have the same bytes. */
  private static ChatCompletionStreamRequest asStream(ChatCompletionRequest request) {
    try {
      return ChatCompletionStreamRequest.parseFrom(request.toByteString());
    } catch (InvalidProtocolBufferException e) {
      throw new IllegalArgumentException(e);
    }
  }
}
