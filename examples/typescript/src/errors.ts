import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "#stubs/google/rpc/error_details_pb.js";

export const REQUEST_ID = "x-request-id";

/** Return the outcome of a successful call. */
export function succeeded(trailer: Headers): object {
  return { code: "OK", request_id: trailer.get(REQUEST_ID) };
}

/** Return why a call failed: its status, and the details that the comments of ChatCompletionService list. */
export function failed(reason: unknown): object {
  const error = ConnectError.from(reason);
  const [info] = error.findDetails(ErrorInfoSchema);
  const [badRequest] = error.findDetails(BadRequestSchema);
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return {
    code: nameOf(error.code),
    message: error.rawMessage,
    request_id: error.metadata.get(REQUEST_ID), // headers and trailers
    reason: info?.reason,
    domain: info?.domain,
    violations: (badRequest?.fieldViolations ?? []).map(({ field, description }) => ({ field, description })),
    retry_after_s: delay ? Number(delay.seconds) + delay.nanos / 1e9 : null,
  };
}

/** Return the name that gRPC has for a code: INVALID_ARGUMENT for InvalidArgument. */
function nameOf(code: Code): string {
  return code === Code.Canceled ? "CANCELLED" : Code[code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}
