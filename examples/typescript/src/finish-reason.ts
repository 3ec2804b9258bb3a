import { getOption } from "@bufbuild/protobuf";
import { FinishReason, FinishReasonSchema } from "#stubs/mistralwire/v1/completion_pb.js";
import type { JsonExtra } from "#stubs/mistralwire/v1/json_extra_pb.js";
import { json_value } from "#stubs/mistralwire/v1/json_options_pb.js";

export interface FinishReasonString {
  number: number;
  string: string;
}

/**
 * Return why a model stopped, null if it has not.
 *
 * A reason that the contract does not list is UNLISTED, and its string is in the message's json_extra.
 */
export function finishReasonOf(choice: {
  finishReason?: FinishReason;
  jsonExtra?: JsonExtra;
}): FinishReasonString | null {
  const { finishReason: number, jsonExtra } = choice;
  if (number === undefined) return null;
  if (number === FinishReason.UNLISTED) {
    return { number, string: JSON.parse(jsonExtra?.members || "{}").finish_reason };
  }
  // The API's string is in the contract's option json_value.
  const value = FinishReasonSchema.values.find((each) => each.number === number);
  return { number, string: (value && getOption(value, json_value).string) ?? "" };
}
