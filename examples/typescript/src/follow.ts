import type { Client } from "@connectrpc/connect";
import { ResponseState, type ResponseRelayService } from "#stubs/mistralwire/v1/response_relay_service_pb.js";
import { failed, succeeded } from "./errors.js";

/** Follow a stored response to its end, from a position on. After a lost connection, resume after the last event. */
export async function follow(
  client: Client<typeof ResponseRelayService>,
  responseId: string,
  afterSequence = 0,
): Promise<object> {
  let trailer = new Headers();
  const outcome = { text: "", last_sequence: afterSequence, state: "" };
  try {
    const request = { responseId, afterSequence };
    for await (const { events, end } of client.subscribe(request, { onTrailer: (found) => (trailer = found) })) {
      for (const { choices } of events?.chunks ?? []) {
        outcome.last_sequence += 1;
        for (const { delta } of choices) {
          if (delta?.content?.case === "contentString") outcome.text += delta.content.value;
        }
      }
      if (end?.state !== undefined) outcome.state = ResponseState[end.state];
    }
    return { ...succeeded(trailer), ...outcome };
  } catch (error) {
    return { ...failed(error), ...outcome };
  }
}
