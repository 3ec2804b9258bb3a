import grpc from "@grpc/grpc-js";
import { outcomeOf, REQUEST_ID } from "./errors.mjs";
import { finishReasonOf } from "./finish_reason.mjs";

// A field that is left out is absent, which is distinct from 0, "" and false.
const REQUEST = {
  model: "mistral-small-latest",
  messages: [{ user: { content_string: "Grüezi 👋" } }],
  temperature: 0,
  random_seed: "9007199254740993",
};

/** Make a unary call; resolve to its response, if there is one, and its final status with the trailers. */
export function ask(client, request, { metadata = new grpc.Metadata(), ...options } = {}) {
  return new Promise((resolve) => {
    let response;
    const call = client.ChatCompletion(request, metadata, options, (_error, found) => (response = found));
    call.on("status", (status) => setImmediate(() => resolve({ response, status })));
  });
}

function withRequestId(requestId) {
  const metadata = new grpc.Metadata();
  metadata.set(REQUEST_ID, requestId);
  return metadata;
}

/** Request a whole answer, with a request id that all servers on the way log. */
export async function unary(client, requestId) {
  const { response, status } = await ask(client, REQUEST, { metadata: withRequestId(requestId) });
  if (!response) return outcomeOf(status);
  const [choice] = response.choices;
  return {
    ...outcomeOf(status),
    id: response.id,
    text: choice.message.content_string,
    finish_reason: finishReasonOf(choice),
    total_tokens: response.usage.total_tokens,
  };
}

/** Request an answer as a stream, and read it to its end. */
export function stream(client, requestId) {
  return read(client.ChatCompletionStream(REQUEST, withRequestId(requestId)));
}

/** Cancel a stream after so many chunks: the service then cancels its request to the model. */
export function cancel(client, count) {
  const call = client.ChatCompletionStream(REQUEST);
  return read(call, (chunks) => {
    if (chunks >= count) call.cancel();
  });
}

/** Read a stream to its end or to an error; the chunks before an error are valid. */
async function read(call, received = () => {}) {
  const ended = new Promise((resolve) => call.on("status", resolve));
  const outcome = { messages: 0, chunks: 0, text: "", finish_reasons: [] };
  try {
    // A message contains all chunks that were ready when it was sent.
    for await (const { chunks } of call) {
      outcome.messages += 1;
      for (const { choices = [] } of chunks) {
        outcome.chunks += 1;
        for (const choice of choices) {
          outcome.text += choice.delta?.content_string ?? "";
          outcome.finish_reasons.push(finishReasonOf(choice));
        }
      }
      received(outcome.chunks);
    }
  } catch (error) {
    if (error.code === undefined) throw error; // not from gRPC; the status reports gRPC's errors
  }
  return { ...outcomeOf(await ended), ...outcome };
}

/** Make a call with a deadline in milliseconds: when it expires, the model's work is cancelled. */
export async function deadline(client, milliseconds) {
  const { status } = await ask(client, REQUEST, { deadline: Date.now() + milliseconds });
  return outcomeOf(status);
}

/** Send a request that breaks the contract; errors.mjs reads the violations. */
export async function broken(client) {
  const { status } = await ask(client, { messages: [{ user: { content_string: "hello" } }, { tool: {} }] });
  return outcomeOf(status);
}
