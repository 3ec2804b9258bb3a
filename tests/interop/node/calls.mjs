import grpc from "@grpc/grpc-js";
import { outcomeOf, REQUEST_ID } from "./errors.mjs";
import { finishReasonOf } from "./finish_reason.mjs";

// What is left out is absent, which is not the same as 0, "" or false.
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

/** Ask for an answer in one piece, under an id that the logs of all servers on the way have too. */
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

/** Ask for an answer as it is produced, and read it to its end. */
export function stream(client, requestId) {
  return read(client.ChatCompletionStream(REQUEST, withRequestId(requestId)));
}

/** Leave a stream after so many chunks: the service stops asking the model then. */
export function cancel(client, count) {
  const call = client.ChatCompletionStream(REQUEST);
  return read(call, (chunks) => {
    if (chunks >= count) call.cancel();
  });
}

/** Read a stream to its end, or to what breaks it: what came before is valid even then. */
async function read(call, received = () => {}) {
  const ended = new Promise((resolve) => call.on("status", resolve));
  const outcome = { messages: 0, chunks: 0, text: "", finish_reasons: [] };
  try {
    // A message has all chunks that were ready when it was sent.
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
    if (error.code === undefined) throw error; // not of gRPC; the status has the others
  }
  return { ...outcomeOf(await ended), ...outcome };
}

/** Give the service so many milliseconds: the model is told to stop when they are over. */
export async function deadline(client, milliseconds) {
  const { status } = await ask(client, REQUEST, { deadline: Date.now() + milliseconds });
  return outcomeOf(status);
}

/** Send a request that breaks the contract, for errors.mjs to read where. */
export async function broken(client) {
  const { status } = await ask(client, { messages: [{ user: { content_string: "hello" } }, { tool: {} }] });
  return outcomeOf(status);
}
