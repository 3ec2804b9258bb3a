// Makes the calls that it reads from its input as a JSON list, all at one time; prints what came of each. A call and an
// outcome are what ask.py has.

import { text } from "node:stream/consumers";

import { createMistral } from "@ai-sdk/mistral";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Mistral } from "@mistralai/mistralai";
import { generateText, jsonSchema, streamText, tool } from "ai";
import OpenAI from "openai";

const MESSAGES = [{ role: "user", content: "Say hello." }];

// Adds a message, or a piece of one, of an SDK that has the members of the API.
function add(outcome, { content, tool_calls, toolCalls }) {
  outcome.text += content ?? "";
  for (const [place, call] of (tool_calls ?? toolCalls ?? []).entries()) {
    const known = (outcome.calls[call.index ?? place] ??= { name: "", arguments: "" });
    known.name += call.function.name ?? "";
    known.arguments += call.function.arguments ?? "";
  }
}

async function mistralai(call, outcome) {
  const sdk = new Mistral({ serverURL: call.url, apiKey: call.key });
  const request = { model: call.model, messages: MESSAGES, tools: call.tools.length ? call.tools : undefined };
  request.maxTokens = call.max_tokens || undefined;
  if (!call.is_stream) {
    add(outcome, (await sdk.chat.complete(request)).choices[0].message);
    return;
  }
  for await (const event of await sdk.chat.stream(request)) {
    add(outcome, event.data.choices[0].delta);
  }
}

async function openai(call, outcome) {
  const sdk = new OpenAI({ baseURL: `${call.url}/v1`, apiKey: call.key });
  const request = { model: call.model, messages: MESSAGES, tools: call.tools.length ? call.tools : undefined };
  request.max_tokens = call.max_tokens || undefined;
  if (!call.is_stream) {
    add(outcome, (await sdk.chat.completions.create(request)).choices[0].message);
    return;
  }
  for await (const chunk of await sdk.chat.completions.create({ ...request, stream: true })) {
    add(outcome, chunk.choices[0].delta);
  }
}

async function aiSdk(provider, call, outcome) {
  const settings = { baseURL: `${call.url}/v1`, apiKey: call.key, name: "gateway" };
  const request = { model: provider(settings)(call.model), prompt: MESSAGES[0].content };
  request.maxOutputTokens = call.max_tokens || undefined;
  if (call.tools.length) {
    request.tools = Object.fromEntries(
      call.tools.map(({ function: { name, parameters } }) => [name, tool({ inputSchema: jsonSchema(parameters) })]),
    );
  }
  if (!call.is_stream) {
    const result = await generateText(request);
    outcome.text = result.text;
    addCalls(outcome, result.toolCalls);
    return;
  }
  const result = streamText({ ...request, onError: () => {} });
  for await (const part of result.fullStream) {
    if (part.type === "error") {
      throw part.error;
    }
    outcome.text += part.type === "text-delta" ? part.text : "";
    addCalls(outcome, part.type === "tool-call" ? [part] : []);
  }
}

function addCalls(outcome, calls) {
  for (const { toolName, input } of calls) {
    outcome.calls.push({ name: toolName, arguments: JSON.stringify(input) });
  }
}

const CLIENTS = {
  "@mistralai/mistralai": mistralai,
  "openai (Node.js)": openai,
  "@ai-sdk/mistral": (call, outcome) => aiSdk(createMistral, call, outcome),
  "@ai-sdk/openai-compatible": (call, outcome) => aiSdk(createOpenAICompatible, call, outcome),
};

async function ask(call) {
  const outcome = { text: "", calls: [] };
  let error = null;
  try {
    await CLIENTS[call.client](call, outcome);
  } catch (thrown) {
    error = described(thrown);
  }
  const tools = Object.fromEntries(outcome.calls.map((each) => [each.name, each.arguments]));
  return { text: outcome.text, tools, error };
}

function described(thrown) {
  const last = thrown.lastError ?? thrown;
  const text = [thrown.message ?? JSON.stringify(thrown), last.body].filter(Boolean).join("\n");
  return { status: last.statusCode ?? last.status ?? null, text };
}

const calls = JSON.parse(await text(process.stdin));
process.stdout.write(JSON.stringify(await Promise.all(calls.map(ask))));
