import { join } from "node:path";
import grpc from "@grpc/grpc-js";
import protobuf from "protobufjs";

export const REQUEST_ID = "x-request-id";

// GOOGLEAPIS is a folder with google/rpc/*.proto, which are in the repository googleapis.
const rpc = new protobuf.Root();
rpc.resolvePath = (_origin, path) => join(process.env.GOOGLEAPIS ?? "googleapis", path);
rpc.loadSync(["google/rpc/status.proto", "google/rpc/error_details.proto"]);

/** Return how a call ended: its status, and the details that the comments of ChatCompletionService list. */
export function outcomeOf({ code, details: message, metadata }) {
  const outcome = { code: grpc.status[code], request_id: metadata.get(REQUEST_ID)[0] ?? null };
  if (code === grpc.status.OK) return outcome;
  const details = detailsOf(metadata);
  const delay = details["google.rpc.RetryInfo"]?.retryDelay;
  return {
    ...outcome,
    message,
    reason: details["google.rpc.ErrorInfo"]?.reason,
    domain: details["google.rpc.ErrorInfo"]?.domain,
    violations: (details["google.rpc.BadRequest"]?.fieldViolations ?? []).map(({ field, description }) => ({
      field,
      description,
    })),
    retry_after_s: delay ? Number(delay.seconds) + delay.nanos / 1e9 : null,
  };
}

/** Return the details of a status by their types. */
function detailsOf(metadata) {
  const [data] = metadata.get("grpc-status-details-bin");
  if (!data) return {};
  const { details } = rpc.lookupType("google.rpc.Status").decode(data);
  return Object.fromEntries(
    details.map(({ type_url, value }) => {
      const name = type_url.split("/").pop();
      return [name, rpc.lookupType(name).decode(value)];
    }),
  );
}
