// Makes the calls that it reads from its input as a JSON list, all at one time; prints what came of each. A call and an
// outcome are what ask.py has.

import { text } from "node:stream/consumers";

import { createMistral } from "@ai-sdk/mistral";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Mistral } from "@mistralai/mistralai";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";

const MESSAGES = [{ role: "user", content: "Say hello." }];
// What the tool returns.
const SUNNY = "sunny";

// Adds a message, or a piece of one, of an SDK that has the members of the API.
function add(outcome, { content, reasoning_content, tool_calls, toolCalls }) {
  outcome.text += content ?? "";
  outcome.thinking += reasoning_content ?? "";
  for (const [place, call] of (tool_calls ?? toolCalls ?? []).entries()) {
    const known = (outcome.calls[call.index ?? place] ??= { name: "", arguments: "", id: "" });
    known.name += call.function.name ?? "";
    known.arguments += call.function.arguments ?? "";
    known.id += call.id ?? "";
  }
}

// The answer and the results of its tools, for a second turn.
function sentBack(outcome) {
  const calls = outcome.calls.map(({ id, ...call }) => ({ id, type: "function", function: call }));
  const { text, thinking } = outcome;
  const message = { role: "assistant", content: text, reasoning_content: thinking, tool_calls: calls };
  return [
    outcome.message ?? message,
    ...calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: SUNNY })),
  ];
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
  const sdk = new OpenAI({ baseURL: `${call.url}${call.path}`, apiKey: call.key });
  const request = { model: call.model, messages: MESSAGES, tools: call.tools.length ? call.tools : undefined };
  request.max_tokens = call.max_tokens || undefined;
  await openaiTurn(sdk, request, call, outcome);
  if (call.has_second_turn) {
    await openaiTurn(sdk, { ...request, messages: [...MESSAGES, ...sentBack(outcome)] }, call, outcome);
  }
}

async function openaiTurn(sdk, request, call, outcome) {
  if (!call.is_stream) {
    outcome.message = (await sdk.chat.completions.create(request)).choices[0].message;
    add(outcome, outcome.message);
    return;
  }
  for await (const chunk of await sdk.chat.completions.create({ ...request, stream: true })) {
    add(outcome, chunk.choices[0].delta);
  }
}

async function aiSdk(provider, call, outcome) {
  const settings = { baseURL: `${call.url}${call.path}`, apiKey: call.key, name: "gateway" };
  const request = { model: provider(settings)(call.model), prompt: MESSAGES[0].content };
  request.maxOutputTokens = call.max_tokens || undefined;
  if (call.tools.length) {
    // With a result, the SDK asks again by itself.
    const execute = call.has_second_turn ? async () => SUNNY : undefined;
    request.stopWhen = stepCountIs(2);
    request.tools = Object.fromEntries(
      call.tools.map(({ function: { name, parameters } }) => [
        name,
        tool({ inputSchema: jsonSchema(parameters), execute }),
      ]),
    );
  }
  if (!call.is_stream) {
    for (const step of (await generateText(request)).steps) {
      outcome.text += step.text;
      outcome.thinking += step.reasoningText ?? "";
      addCalls(outcome, step.toolCalls);
    }
    return;
  }
  const result = streamText({ ...request, onError: () => {} });
  for await (const part of result.fullStream) {
    if (part.type === "error") {
      throw part.error;
    }
    outcome.text += part.type === "text-delta" ? part.text : "";
    outcome.thinking += part.type === "reasoning-delta" ? part.text : "";
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
  const outcome = { text: "", thinking: "", calls: [] };
  let error = null;
  try {
    await CLIENTS[call.client](call, outcome);
  } catch (thrown) {
    error = described(thrown);
  }
  const tools = Object.fromEntries(outcome.calls.map((each) => [each.name, each.arguments]));
  return { text: outcome.text, thinking: outcome.thinking, tools, error };
}

function described(thrown) {
  const last = thrown.lastError ?? thrown;
  const text = [thrown.message ?? JSON.stringify(thrown), last.body].filter(Boolean).join("\n");
  return { status: last.statusCode ?? last.status ?? null, text };
}

const calls = JSON.parse(await text(process.stdin));
process.stdout.write(JSON.stringify(await Promise.all(calls.map(ask))));
