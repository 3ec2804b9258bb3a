"use strict";
{
const byId = id => document.getElementById(id);
const all = selector => document.querySelectorAll(selector);
const root = new URL(".", byId("document").href);

function element(tag, text = "", kind = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = kind;
  return made;
}

async function copy(block, button) {
  try {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = "copied";
  } catch {
    // Browsers have no clipboard for pages without TLS on other machines.
    getSelection().selectAllChildren(block);
    button.textContent = "selected";
  }
  setTimeout(() => button.textContent = "copy", 1500);
}

for (const block of all("main pre")) {
  const frame = element("div", "", "copied"), button = element("button", "copy", "copy");
  button.type = "button";
  block.replaceWith(frame);
  frame.append(block, button);
  button.addEventListener("click", () => copy(block, button));
}

const filter = byId("filter");
filter.hidden = false;
filter.addEventListener("input", () => {
  const wanted = filter.value.trim().toLowerCase();
  for (const link of all("nav .types a")) {
    const isShown = link.textContent.toLowerCase().includes(wanted);
    link.parentElement.hidden = !isShown;
    document.querySelector(link.getAttribute("href")).hidden = !isShown;
  }
});

const route = byId("try-route"), body = byId("try-body"), send = byId("try-send");
const answer = byId("try-answer"), raw = byId("try-raw"), facts = byId("try-facts");
const calls = new Map();
let running = null;

// The gateway forwards answers of any shape.
const list = value => Array.isArray(value) ? value : [];
const partsOf = content => typeof content === "string" ? [{type: "text", text: content}] : list(content);
const textOf = part => typeof part?.text === "string" ? part.text : "";

function show(delta) {
  for (const part of partsOf(delta.content)) {
    if (part?.type === "thinking")
      answer.append(element("i", partsOf(part.thinking).map(textOf).join("")));
    else
      answer.append(textOf(part));
  }
  for (const call of list(delta.tool_calls)) {
    const {name, arguments: given = ""} = call?.function ?? {};
    // The pieces of a call in a stream have its index.
    const key = call?.index ?? call?.id;
    if (!calls.has(key)) {
      calls.set(key, element("code"));
      answer.append(calls.get(key));
    }
    calls.get(key).append(name ? name + " " : "", typeof given === "string" ? given : JSON.stringify(given));
  }
}

const showAll = document => {
  for (const choice of list(document?.choices))
    if (!choice?.index) show(choice?.delta ?? choice?.message ?? {});
  if (document?.error) answer.append(element("strong", document.error.message ?? "error"));
};

class Events {
  constructor() { this.rest = ""; this.chunks = 0; this.jsonBytes = 0; this.firstMs = null; this.hasError = false; }
  feed(text, elapsedMs) {
    const events = (this.rest + text).split("\n\n");
    this.rest = events.pop();
    for (const event of events)
      for (const line of event.split("\n"))
        if (line.startsWith("data: ") && line !== "data: [DONE]") {
          const data = line.slice(6), chunk = JSON.parse(data);
          this.firstMs ??= elapsedMs;
          this.chunks++;
          this.jsonBytes += new TextEncoder().encode(data).length;
          this.hasError ||= chunk?.object === "error";
          showAll(chunk);
        }
  }
}

const count = (number, unit) => `${number.toLocaleString("en")} ${unit}${number === 1 ? "" : "s"}`;

async function measured(path, type, text) {
  const target = new URL("docs/size?path=" + encodeURIComponent(path), root);
  const response = await fetch(target, {method: "POST", headers: headers(type), body: text});
  return response.ok ? (await response.json()).protobuf : null;
}

function headers(type) {
  const key = byId("try-key").value.trim();
  return key ? {"content-type": type, authorization: "Bearer " + key} : {"content-type": type};
}

async function ask(signal) {
  const path = route.value, began = performance.now(), elapsed = () => performance.now() - began;
  const response = await fetch(new URL(path.slice(1), root),
    {method: "POST", headers: headers("application/json"), body: body.value, signal});
  const type = response.headers.get("content-type") ?? "", isStream = type.startsWith("text/event-stream");
  const events = new Events(), decoder = new TextDecoder(), reader = response.body.getReader();
  let text = "";
  for (let piece; !(piece = await reader.read()).done;) {
    const part = decoder.decode(piece.value, {stream: true});
    text += part;
    raw.append(part);
    if (isStream) events.feed(part, elapsed());
  }
  const found = [`HTTP ${response.status}`];
  if (isStream) {
    if (events.firstMs !== null) found.push(`first chunk after ${events.firstMs.toFixed(0)} ms`);
    found.push(count(events.chunks, "chunk"), `complete after ${elapsed().toFixed(0)} ms`);
  } else {
    const parsed = JSON.parse(text);
    raw.textContent = JSON.stringify(parsed, null, 2);
    showAll(parsed);
    found.push(`after ${elapsed().toFixed(0)} ms`);
  }
  const json = isStream ? events.jsonBytes : new TextEncoder().encode(text).length;
  const protobuf = response.ok && !events.hasError ? await measured(path, type, text) : null;
  found.push(`JSON ${count(json, "byte")}`);
  if (protobuf !== null)
    found.push(`Protobuf ${count(protobuf, "byte")} (${Math.round(100 * protobuf / json)} %)`);
  return found.join(" · ");
}

const fill = () => body.value = JSON.stringify(JSON.parse(route.selectedOptions[0].dataset.body), null, 2);
route.addEventListener("change", fill);
fill();
send.addEventListener("click", async () => {
  if (running) return running.abort();
  running = new AbortController();
  send.textContent = "Stop";
  facts.textContent = "waiting …";
  answer.replaceChildren();
  raw.replaceChildren();
  calls.clear();
  try {
    facts.textContent = await ask(running.signal);
  } catch (error) {
    facts.textContent = error.name === "AbortError" ? "stopped" : `failed: ${error.message}`;
    running.abort();
  }
  send.textContent = "Send";
  running = null;
});
byId("try").hidden = false;
}
