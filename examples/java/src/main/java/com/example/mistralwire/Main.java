package com.example.mistralwire;

import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import com.mistralwire.v1.ChatCompletionRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/**
 * A client of mistralwire's gRPC service: {@code java -jar client.jar ADDRESS CALL [ARGUMENT]}.
 *
 * <p>Makes one call and prints its outcome as a JSON object, whatever the status.
 */
public final class Main {
  /** An answer can be larger than gRPC's default of 4 MiB. */
  private static final int MESSAGE_BYTES_MAX = 64 << 20;

  private Main() {}

  public static void main(String[] args) throws IOException, InterruptedException {
    if (args.length < 2) {
      throw new IllegalArgumentException("usage: ADDRESS CALL [ARGUMENT]");
    }
    String address = args[0];
    String call = args[1];
    String argument = args.length > 2 ? args[2] : "";
    JsonObject outcome =
        call.equals("reencode")
            ? Report.bytes(Reencode.reencode(argument, System.in.readAllBytes()))
            : make(address, call, argument);
    PrintStream output = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    output.println(new GsonBuilder().serializeNulls().create().toJson(outcome));
  }

  private static JsonObject make(String address, String call, String argument)
      throws IOException, InterruptedException {
    // Plain text. A service on another machine needs TlsChannelCredentials.
    ManagedChannel channel =
        Grpc.newChannelBuilder(address, InsecureChannelCredentials.create())
            .maxInboundMessageSize(MESSAGE_BYTES_MAX)
            .build();
    try {
      return make(new Calls(channel), call, argument);
    } finally {
      channel.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
    }
  }

  private static JsonObject make(Calls calls, String call, String argument) throws IOException {
    switch (call) {
      case "unary":
        return Report.unary(calls, () -> calls.unary(argument));
      case "stream":
        return Report.stream(calls, answer -> calls.stream(argument, answer));
      case "broken":
        return Report.unary(calls, calls::broken);
      case "deadline":
        Duration timeout = Duration.ofMillis(Long.parseLong(argument));
        return Report.unary(calls, () -> calls.deadline(timeout));
      case "cancel":
        int chunksMax = Integer.parseInt(argument);
        return Report.stream(calls, answer -> calls.cancel(chunksMax, answer));
      case "relay":
        ChatCompletionRequest request = ChatCompletionRequest.parseFrom(System.in);
        return Report.relay(() -> calls.relay(request));
      default:
        throw new IllegalArgumentException("no such call: " + call);
    }
  }
}
