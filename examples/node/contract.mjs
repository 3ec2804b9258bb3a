// The contract, read from the folder that `mistralwire proto --out` wrote, without generated code.

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const definition = protoLoader.loadSync("mistralwire/v1/chat_completion_service.proto", {
  includeDirs: [process.env.CONTRACT ?? "contract"],
  keepCase: true, // snake_case names, as in the contract
  longs: String, // 64-bit integers; a JavaScript number holds only 53 bits
  enums: String,
  oneofs: true,
});

export const { ChatCompletionService } = grpc.loadPackageDefinition(definition).mistralwire.v1;

/** Return a message of the contract, with `serialize` and `deserialize`. */
export function messageType(name) {
  return definition[`mistralwire.v1.${name}`];
}

/** Return the number of an enum value; the enum may also get numbers that this contract does not know. */
export function numberOf(enumName, value) {
  const { type } = definition[`mistralwire.v1.${enumName}`];
  return type.value.find(({ name }) => name === value)?.number ?? value;
}
