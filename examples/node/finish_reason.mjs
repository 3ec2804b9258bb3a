import { numberOf } from "./contract.mjs";

const PREFIX = "FINISH_REASON_";

/**
 * Return why a model stopped, null if it has not.
 *
 * A reason that the contract does not list is UNLISTED, and its string is in the message's json_extra.
 */
export function finishReasonOf({ finish_reason: name, json_extra: extra }) {
  if (name === undefined) return null;
  const number = numberOf("FinishReason", name);
  if (name === "FINISH_REASON_UNLISTED") {
    return { number, string: JSON.parse(extra?.members || "{}").finish_reason };
  }
  // The name of a listed reason is the API's string in capitals.
  return { number, string: typeof name === "string" ? name.slice(PREFIX.length).toLowerCase() : "" };
}
