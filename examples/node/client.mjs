// Makes one call of a ChatCompletionService, and prints its outcome as JSON.
//
// An example of a client in JavaScript with @grpc/grpc-js: calls.mjs makes calls, errors.mjs reads why they
// failed, finish_reason.mjs decodes finish reasons, reencode.mjs forwards messages without losing anything.

import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import * as calls from "./calls.mjs";
import { ChatCompletionService } from "./contract.mjs";
import { reencode, relay } from "./reencode.mjs";

const [address, call, argument] = process.argv.slice(2);
const client = new ChatCompletionService(address, grpc.credentials.createInsecure());

const run = {
  unary: () => calls.unary(client, argument),
  stream: () => calls.stream(client, argument),
  broken: () => calls.broken(client),
  deadline: () => calls.deadline(client, Number(argument)),
  cancel: () => calls.cancel(client, Number(argument)),
  relay: () => relay(client, readFileSync(0)),
  reencode: () => reencode(argument, readFileSync(0)),
}[call];
if (!run) throw new Error("usage: client.mjs ADDRESS CALL [ARGUMENT]");

process.stdout.write(JSON.stringify(await run()));
client.close();
