// A ChatCompletionService in JavaScript whose model repeats the user's message, word for word.
//
// It sets the documented fields and nothing else. `mistralwire gateway --service ADDRESS` serves it over HTTP,
// to any SDK for the API.

import grpc from "@grpc/grpc-js";
import { ChatCompletionService } from "./contract.mjs";

const ID = "echo-1";

function answer({ request }, respond) {
  const text = lastTextOf(request);
  if (!text) return respond(REFUSAL);
  const message = { role: "assistant", content_string: text };
  respond(null, {
    id: ID,
    object: "chat.completion",
    model: request.model,
    created: now(),
    choices: [{ index: 0, message, finish_reason: "FINISH_REASON_STOP" }],
    usage: usageOf(text),
  });
}

function stream(call) {
  const text = lastTextOf(call.request);
  if (!text) return call.emit("error", REFUSAL);
  const head = { id: ID, object: "chat.completion.chunk", model: call.request.model, created: now() };
  const send = (chunk) => call.write({ chunks: [{ ...head, ...chunk }] });

  // One chunk per word; then the finish reason; then the usage, without a choice.
  for (const word of text.split(/(?<= )/)) send({ choices: [{ index: 0, delta: { content_string: word } }] });
  send({ choices: [{ index: 0, finish_reason: "FINISH_REASON_STOP" }] });
  send({ usage: usageOf(text) });
  call.end();
}

const REFUSAL = { code: grpc.status.INVALID_ARGUMENT, details: "the last message must be text of the user" };

function lastTextOf({ messages = [] }) {
  return messages.at(-1)?.user?.content_string;
}

/** Return the usage of an answer, with words for tokens. */
function usageOf(text) {
  const words = text.trim().split(/\s+/).length;
  return { prompt_tokens: words, completion_tokens: words, total_tokens: 2 * words };
}

function now() {
  return Math.floor(Date.now() / 1000);
}

const server = new grpc.Server();
// gRPC answers methods that are left out with UNIMPLEMENTED.
server.addService(ChatCompletionService.service, { ChatCompletion: answer, ChatCompletionStream: stream });
const address = `127.0.0.1:${process.argv[2] ?? 0}`;
server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`listening on 127.0.0.1:${port}`);
});
process.on("SIGTERM", () => server.tryShutdown(() => {})); // waits for running calls
