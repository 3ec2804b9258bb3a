import { fromBinary, toBinary, type DescMessage } from "@bufbuild/protobuf";
import { ChatCompletionRequestSchema, ChatCompletionResponseSchema } from "#stubs/mistralwire/v1/chat_completion_pb.js";
import { ChatCompletionStreamResponseSchema } from "#stubs/mistralwire/v1/chat_completion_service_pb.js";
import type { Service } from "./calls.js";
import { failed, succeeded } from "./errors.js";

const SCHEMAS: readonly DescMessage[] = [
  ChatCompletionRequestSchema,
  ChatCompletionResponseSchema,
  ChatCompletionStreamResponseSchema,
];

/**
 * Parse a message and serialize it, like a program that only forwards messages. Nothing is lost as long as the whole
 * message is forwarded, json_extra included.
 */
export function reencode(name: string, data: Uint8Array): object {
  const schema = SCHEMAS.find((each) => each.name === name);
  if (!schema) throw new Error(`no such message: ${name}`);
  return { bytes: inBase64(toBinary(schema, fromBinary(schema, data))) };
}

/** Forward a request, and its answer back. */
export async function relay(client: Service, data: Uint8Array): Promise<object> {
  try {
    const response = await client.chatCompletion(fromBinary(ChatCompletionRequestSchema, data));
    return { ...succeeded(new Headers()), bytes: inBase64(toBinary(ChatCompletionResponseSchema, response)) };
  } catch (error) {
    return failed(error);
  }
}

function inBase64(data: Uint8Array): string {
  return Buffer.from(data).toString("base64");
}
