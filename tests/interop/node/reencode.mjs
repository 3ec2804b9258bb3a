import { ask } from "./calls.mjs";
import { messageType } from "./contract.mjs";
import { outcomeOf } from "./errors.mjs";

/**
 * Parse a message and serialize it: all that a program does that only passes messages on. It keeps everything that its
 * copy of the contract has, as long as it passes on the whole message, json_extra included. protobufjs drops fields
 * that it does not know: senders must write for a contract_revision that this copy has.
 */
export function reencode(name, data) {
  const type = messageType(name);
  return { bytes: type.serialize(type.deserialize(data)).toString("base64") };
}

/** Pass a request on, and its answer back. */
export async function relay(client, data) {
  const { response, status } = await ask(client, messageType("ChatCompletionRequest").deserialize(data));
  if (!response) return outcomeOf(status);
  const bytes = messageType("ChatCompletionResponse").serialize(response);
  return { ...outcomeOf(status), bytes: bytes.toString("base64") };
}
