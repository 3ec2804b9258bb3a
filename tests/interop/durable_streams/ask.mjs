// What the client and the AI SDK's transport get from the gateway at the URL that is the argument, as JSON.

import { createDurableChatTransport, toDurableStreamResponse } from "@durable-streams/aisdk-transport"
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client"

const root = `${process.argv[2]}/v1/stream`

const KINDS = { json: "application/json", text: "text/plain", binary: "application/octet-stream" }
const ITEMS = {
  json: Array.from({ length: 50 }, (_, number) => JSON.stringify({ number, text: " é\n" })),
  text: [" one\n", "two", "\n", "é"],
  binary: [new Uint8Array([0, 255, 10]), new Uint8Array([13, 10, 32])],
}

// Writes by an idempotent producer, while a reader follows to the end in each way of the protocol.
async function copied(kind, live) {
  const url = `${root}/client/${kind}/${live}`
  const contentType = KINDS[kind]
  const written = await DurableStream.create({ url, contentType })
  const reader = await stream({ url, offset: "-1", live, json: kind === "json" })
  const streams = { json: "jsonStream", text: "textStream", binary: "bodyStream" }
  const reading = all(reader[streams[kind]]())
  const producer = new IdempotentProducer(written, "writer", { autoClaim: true })
  for (const item of ITEMS[kind]) producer.append(item)
  await producer.flush()
  await producer.close()
  const found = await reading
  return kind === "json" ? found : kind === "text" ? found.join("") : found.flatMap((part) => [...part])
}

async function all(items) {
  const found = []
  for await (const item of items) found.push(item)
  return found
}

// Sends a question by the transport of the AI SDK, whose answer a program writes as a durable stream.
async function chat() {
  const chunks = [
    { type: "start" },
    { type: "text-start", id: "1" },
    { type: "text-delta", id: "1", delta: "Hello" },
    { type: "text-delta", id: "1", delta: ", world" },
    { type: "text-end", id: "1" },
    { type: "finish" },
  ]
  async function* source() {
    for (const chunk of chunks) {
      await new Promise((resolve) => setTimeout(resolve, 5))
      yield chunk
    }
  }
  const target = { writeUrl: `${root}/chats/1` }
  const fetchClient = async (_, { method }) =>
    method === "POST"
      ? toDurableStreamResponse({ source: source(), stream: target })
      : Response.json({ streamUrl: target.writeUrl })
  const transport = createDurableChatTransport({ api: "http://localhost/api/chat", fetchClient })
  const sent = await transport.sendMessages({ trigger: "submit-message", chatId: "1", messages: [] })
  const again = await transport.reconnectToStream({ chatId: "1" })
  return { expected: chunks, sent: await all(sent), again: await all(again) }
}

const copies = {}
for (const kind of Object.keys(KINDS)) {
  copies[kind] = {}
  for (const live of ["long-poll", "sse"]) copies[kind][live] = await copied(kind, live)
}
console.log(JSON.stringify({ copies, chat: await chat() }))
