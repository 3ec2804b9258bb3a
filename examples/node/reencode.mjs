import { ask } from "./calls.mjs";
import { messageType } from "./contract.mjs";
import { outcomeOf } from "./errors.mjs";

/**
 * Parse a message and serialize it, like a program that only forwards messages. Nothing that this copy of the
 * contract defines is lost as long as the whole message is forwarded, json_extra included. protobufjs drops unknown
 * fields, so senders must write for a contract_revision that this copy has.
 */
export function reencode(name, data) {
  const type = messageType(name);
  return { bytes: type.serialize(type.deserialize(data)).toString("base64") };
}

/** Forward a request, and its answer back. */
export async function relay(client, data) {
  const { response, status } = await ask(client, messageType("ChatCompletionRequest").deserialize(data));
  if (!response) return outcomeOf(status);
  const bytes = messageType("ChatCompletionResponse").serialize(response);
  return { ...outcomeOf(status), bytes: bytes.toString("base64") };
}
