// Makes one call of a ChatCompletionService, and prints its outcome as JSON.
//
// An example of a client in TypeScript with Connect: calls.ts makes calls, errors.ts reads why they failed,
// finish-reason.ts decodes finish reasons, follow.ts follows a stored response, reencode.ts forwards messages
// without losing anything.

import { readFileSync } from "node:fs";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ChatCompletionService } from "#stubs/mistralwire/v1/chat_completion_service_pb.js";
import { ResponseRelayService } from "#stubs/mistralwire/v1/response_relay_service_pb.js";
import * as calls from "./calls.js";
import { follow } from "./follow.js";
import { reencode, relay } from "./reencode.js";

const [address, call, argument = ""] = process.argv.slice(2);

// Connect also has its own protocol; this transport uses gRPC.
const transport = createGrpcTransport({ baseUrl: `http://${address}` });
const client = createClient(ChatCompletionService, transport);

async function run(): Promise<object> {
  switch (call) {
    case "unary":
      return calls.unary(client, argument);
    case "stream":
      return calls.stream(client, argument);
    case "broken":
      return calls.broken(client);
    case "deadline":
      return calls.deadline(client, Number(argument));
    case "cancel":
      return calls.cancel(client, Number(argument));
    case "follow":
      return follow(createClient(ResponseRelayService, transport), argument);
    case "relay":
      return relay(client, readFileSync(0));
    case "reencode":
      return reencode(argument, readFileSync(0));
    default:
      throw new Error("usage: client ADDRESS CALL [ARGUMENT]");
  }
}

process.stdout.write(JSON.stringify(await run()));
