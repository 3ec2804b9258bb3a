import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { CallOptions, Client } from "@connectrpc/connect";
import {
  ChatCompletionRequestSchema,
  ChatCompletionStreamRequestSchema,
} from "#stubs/mistralwire/v1/chat_completion_pb.js";
import type { ChatCompletionService } from "#stubs/mistralwire/v1/chat_completion_service_pb.js";
import type { ChatMessageSchema } from "#stubs/mistralwire/v1/messages_pb.js";
import { failed, REQUEST_ID, succeeded } from "./errors.js";
import { finishReasonOf, type FinishReasonString } from "./finish-reason.js";

export type Service = Client<typeof ChatCompletionService>;

// A field that is left out is absent, which is distinct from 0, "" and false.
const REQUEST = {
  model: "mistral-small-latest",
  messages: [user("Grüezi 👋")],
  temperature: 0,
  randomSeed: 9007199254740993n, // 64 bits are a bigint; counts and positions are numbers
};

function user(text: string): MessageInitShape<typeof ChatMessageSchema> {
  return { kind: { case: "user", value: { content: { case: "contentString", value: text } } } };
}

/** Request a whole answer, with a request id that all servers on the way log. */
export async function unary(client: Service, requestId: string): Promise<object> {
  let trailer = new Headers();
  const options = { headers: { [REQUEST_ID]: requestId }, onTrailer: (received: Headers) => (trailer = received) };
  try {
    const response = await client.chatCompletion(create(ChatCompletionRequestSchema, REQUEST), options);
    const choice = response.choices[0];
    const content = choice?.message?.content;
    return {
      ...succeeded(trailer),
      id: response.id,
      text: content?.case === "contentString" ? content.value : undefined,
      finish_reason: choice && finishReasonOf(choice),
      total_tokens: response.usage?.totalTokens,
    };
  } catch (error) {
    return failed(error);
  }
}

/** Request an answer as a stream, and read it to its end. */
export async function stream(client: Service, requestId: string): Promise<object> {
  return read(client, { headers: { [REQUEST_ID]: requestId } });
}

/** Cancel a stream after so many chunks: the service then cancels its request to the model. */
export async function cancel(client: Service, count: number): Promise<object> {
  const controller = new AbortController();
  return read(client, { signal: controller.signal }, (chunks) => {
    if (chunks >= count) controller.abort();
  });
}

/** Read a stream to its end or to an error; the chunks before an error are valid. */
async function read(client: Service, options: CallOptions, received = (_chunks: number) => {}): Promise<object> {
  let trailer = new Headers();
  const outcome = {
    messages: 0,
    chunks: 0,
    text: "",
    finish_reasons: [] as (FinishReasonString | null)[],
  };
  try {
    const request = create(ChatCompletionStreamRequestSchema, REQUEST);
    const responses = client.chatCompletionStream(request, { ...options, onTrailer: (found) => (trailer = found) });
    // A message contains all chunks that were ready when it was sent.
    for await (const { chunks } of responses) {
      outcome.messages += 1;
      for (const { choices } of chunks) {
        outcome.chunks += 1;
        for (const choice of choices) {
          const content = choice.delta?.content;
          if (content?.case === "contentString") outcome.text += content.value;
          outcome.finish_reasons.push(finishReasonOf(choice));
        }
      }
      received(outcome.chunks);
    }
    return { ...succeeded(trailer), ...outcome };
  } catch (error) {
    return { ...failed(error), ...outcome };
  }
}

/** Make a call with a deadline in milliseconds: when it expires, the model's work is cancelled. */
export async function deadline(client: Service, milliseconds: number): Promise<object> {
  try {
    await client.chatCompletion(create(ChatCompletionRequestSchema, REQUEST), { timeoutMs: milliseconds });
    return succeeded(new Headers());
  } catch (error) {
    return failed(error);
  }
}

/** Send a request that breaks the contract; errors.ts reads the violations. */
export async function broken(client: Service): Promise<object> {
  try {
    await client.chatCompletion({ messages: [user("hello"), { kind: { case: "tool", value: {} } }] });
    return succeeded(new Headers());
  } catch (error) {
    return failed(error);
  }
}
