// Makes the calls that it reads from its input as a JSON list, all at one time, each with a client of its own;
// prints a list of what the SDK gave for each.
//
// A call: { sdk, url, key, method, request, options, schema, body, stop_after }. `schema` names one of SCHEMAS, for
// methods that take one of zod; `body` is sent instead of what the SDK would send; a stream is left after
// `stop_after` events.
// An outcome: { seen, value } or { seen, events }, with `error` where the SDK threw one. `seen` has the answers of
// HTTP behind it, those that the SDK tried again included.

import { text } from "node:stream/consumers";

import { HTTPClient, Mistral } from "@mistralai/mistralai";
import { HTTPClient as VertexHTTPClient, MistralGCP } from "@mistralai/mistralai-gcp";
import { z } from "zod/v4";

const SCHEMAS = { book: z.object({ title: z.string(), pages: z.number().int(), authors: z.array(z.string()) }) };

const CLIENTS = {
  mistral: (call, seen) =>
    new Mistral({ serverURL: call.url, apiKey: call.key, httpClient: hooked(new HTTPClient(), call, seen) }),
  // This SDK makes its address from the region; where that is, is for the fetcher to say, as for a proxy.
  vertex: (call, seen) =>
    new MistralGCP({
      region: "europe-west4",
      projectId: "a-project",
      apiKey: async () => call.key,
      httpClient: hooked(new VertexHTTPClient({ fetcher: (request) => fetchFrom(call.url, request) }), call, seen),
    }),
};

async function fetchFrom(url, request) {
  const { method, headers, signal } = request;
  const { pathname, search } = new URL(request.url);
  return fetch(new URL(pathname + search, url), { method, headers, signal, body: await request.text() });
}

function hooked(client, { body }, seen) {
  if (body !== undefined) {
    client.addHook("beforeRequest", (request) => new Request(request, { body }));
  }
  return client.addHook("response", ({ status, headers }) => {
    seen.push({ status, retry_after: headers.get("retry-after") });
  });
}

async function ask(call) {
  const outcome = { seen: [] };
  const client = CLIENTS[call.sdk](call, outcome.seen);
  const [group, name] = call.method.split(".");
  const request = call.schema ? { ...call.request, responseFormat: SCHEMAS[call.schema] } : call.request;
  try {
    const result = await client[group][name](request, call.options);
    if (Symbol.asyncIterator in result) {
      outcome.events = [];
      await read(result, outcome.events, call.stop_after);
    } else {
      outcome.value = result;
    }
  } catch (error) {
    outcome.error = { name: error.name, status: error.statusCode, body: error.body, detail: error.detail };
  }
  return outcome;
}

async function read(stream, events, stopAfter) {
  for await (const event of stream) {
    events.push(event);
    if (events.length === stopAfter) {
      return;
    }
  }
}

const calls = JSON.parse(await text(process.stdin));
process.stdout.write(JSON.stringify(await Promise.all(calls.map(ask))));
