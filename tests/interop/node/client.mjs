// Makes calls of a ChatCompletionService with @grpc/grpc-js, as a test tells it to.
//
// Standard input has a job in JSON:
//   address    of the service
//   contract   folder with the .proto files that `mistralwire proto` wrote
//   googleapis folder with google/rpc/status.proto and google/rpc/error_details.proto
//   calls      one after the other: method, request, and if wanted deadline_ms, cancel_after (the number of
//              messages after which the call is cancelled), metadata
//   options    of the channel
// Standard output gets, for each call, what came of it: messages, code, message, details, trailers.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import protobuf from "protobufjs";

const job = JSON.parse(readFileSync(0, "utf8"));

const contract = protoLoader.loadSync("mistralwire/v1/chat_completion_service.proto", {
  includeDirs: [job.contract],
  keepCase: true, // the names of the contract
  longs: String, // a number of JavaScript has 53 bits
  enums: String,
  oneofs: true,
});
const { ChatCompletionService } = grpc.loadPackageDefinition(contract).mistralwire.v1;

const statusTypes = new protobuf.Root();
statusTypes.resolvePath = (_, path) => join(job.googleapis, path);
statusTypes.loadSync(["google/rpc/status.proto", "google/rpc/error_details.proto"]);

function detailsOf(trailers) {
  return trailers.get("grpc-status-details-bin").flatMap((data) =>
    statusTypes.lookupType("google.rpc.Status").decode(data).details.map((detail) => {
      const name = detail.type_url.split("/").pop();
      return [name, statusTypes.lookupType(name).decode(detail.value).toJSON()];
    }),
  );
}

function outcomeOf(messages, status) {
  const { code, details, metadata } = status;
  return {
    messages,
    code: grpc.status[code],
    message: details,
    details: Object.fromEntries(detailsOf(metadata)),
    trailers: Object.fromEntries(Object.entries(metadata.getMap()).filter(([, value]) => typeof value === "string")),
  };
}

function make(client, { method, request, metadata = {}, deadline_ms, cancel_after }) {
  const sent = grpc.Metadata.fromHttp2Headers(metadata);
  const options = deadline_ms === undefined ? {} : { deadline: Date.now() + deadline_ms };
  return new Promise((resolve) => {
    const messages = [];
    let call;
    if (client[method].responseStream) {
      call = client[method](request, sent, options);
      call.on("data", (message) => {
        messages.push(message);
        if (messages.length === cancel_after) call.cancel();
      });
      call.on("error", () => {}); // the status tells it too
    } else {
      call = client[method](request, sent, options, (error, message) => {
        if (!error) messages.push(message);
      });
    }
    call.on("status", (status) => setImmediate(() => resolve(outcomeOf(messages, status))));
  });
}

const client = new ChatCompletionService(job.address, grpc.credentials.createInsecure(), job.options);
const outcomes = [];
for (const call of job.calls) outcomes.push(await make(client, call));
client.close();
process.stdout.write(JSON.stringify(outcomes));
