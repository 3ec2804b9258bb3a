package com.example.mistralwire;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.Parser;
import com.mistralwire.v1.ChatCompletionRequest;
import com.mistralwire.v1.ChatCompletionResponse;
import com.mistralwire.v1.ChatCompletionStreamRequest;
import com.mistralwire.v1.ChatCompletionStreamResponse;
import com.mistralwire.v1.CompletionChunk;
import java.util.Map;

/** Parsing and serializing, as in a program that forwards messages. */
final class Reencode {
  private static final Map<String, Parser<? extends Message>> PARSERS =
      Map.of(
          "ChatCompletionRequest", ChatCompletionRequest.parser(),
          "ChatCompletionStreamRequest", ChatCompletionStreamRequest.parser(),
          "ChatCompletionResponse", ChatCompletionResponse.parser(),
          "ChatCompletionStreamResponse", ChatCompletionStreamResponse.parser(),
          "CompletionChunk", CompletionChunk.parser());

  private Reencode() {}

  /** Parses the wire bytes of a type of the contract and serializes the message again. */
  static byte[] reencode(String type, byte[] data) throws InvalidProtocolBufferException {
    Parser<? extends Message> parser = PARSERS.get(type);
    if (parser == null) {
      throw new IllegalArgumentException("no such type: " + type);
    }
    return parser.parseFrom(data).toByteArray();
  }
}
