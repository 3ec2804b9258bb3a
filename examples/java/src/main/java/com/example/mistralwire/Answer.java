package com.example.mistralwire;

import com.mistralwire.v1.ChatCompletionStreamResponse;
import com.mistralwire.v1.CompletionChunk;
import com.mistralwire.v1.CompletionResponseStreamChoice;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** A streamed answer with one choice, accumulated from its chunks. */
final class Answer {
  private int messages;
  private int chunks;
  private final StringBuilder text = new StringBuilder();
  private final List<Optional<FinishReasons.Stopped>> finishReasons = new ArrayList<>();

  /** Adds a message: it has the chunks that were ready when it was sent. */
  void add(ChatCompletionStreamResponse message) {
    messages++;
    for (CompletionChunk chunk : message.getChunksList()) {
      chunks++;
      for (CompletionResponseStreamChoice choice : chunk.getChoicesList()) {
        text.append(choice.getDelta().getContentString());
        finishReasons.add(FinishReasons.of(choice));
      }
    }
  }

  int messages() {
    return messages;
  }

  int chunks() {
    return chunks;
  }

  String text() {
    return text.toString();
  }

  /** Returns an entry for each choice of each chunk, empty while the model has not stopped. */
  List<Optional<FinishReasons.Stopped>> finishReasons() {
    return finishReasons;
  }
}
