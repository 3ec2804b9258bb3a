package com.example.mistralwire;

import com.google.gson.JsonElement;
import com.google.gson.JsonParser;
import com.mistralwire.v1.ChatCompletionChoice;
import com.mistralwire.v1.CompletionResponseStreamChoice;
import com.mistralwire.v1.FinishReason;
import com.mistralwire.v1.JsonExtra;
import com.mistralwire.v1.JsonOptionsProto;
import java.util.Optional;

/** Why the model stopped, if it has stopped, also for a reason that the contract does not list. */
final class FinishReasons {
  /**
   * A finish reason.
   *
   * @param number of the enum value
   * @param string of the API
   */
  record Stopped(int number, String string) {}

  private FinishReasons() {}

  static Optional<Stopped> of(ChatCompletionChoice choice) {
    return choice.hasFinishReason()
        ? Optional.of(stopped(choice.getFinishReasonValue(), choice.getJsonExtra()))
        : Optional.empty();
  }

  static Optional<Stopped> of(CompletionResponseStreamChoice choice) {
    return choice.hasFinishReason()
        ? Optional.of(stopped(choice.getFinishReasonValue(), choice.getJsonExtra()))
        : Optional.empty();
  }

  private static Stopped stopped(int number, JsonExtra extra) {
    FinishReason reason = FinishReason.forNumber(number);
    Optional<String> string = reason == null ? Optional.empty() : documented(reason);
    return new Stopped(number, string.or(() -> unlisted(extra)).orElse("unrecognized"));
  }

  /** Returns the documented string, which is an option of the enum value. UNLISTED has none. */
  private static Optional<String> documented(FinishReason reason) {
    String string =
        reason
            .getValueDescriptor()
            .getOptions()
            .getExtension(JsonOptionsProto.jsonValue)
            .getString();
    return string.isEmpty() ? Optional.empty() : Optional.of(string);
  }

  /** Returns the string in json_extra. */
  private static Optional<String> unlisted(JsonExtra extra) {
    if (!extra.hasMembers()) {
      return Optional.empty();
    }
    JsonElement member =
        JsonParser.parseString(extra.getMembers()).getAsJsonObject().get("finish_reason");
    return Optional.ofNullable(member).map(JsonElement::getAsString);
  }
}
