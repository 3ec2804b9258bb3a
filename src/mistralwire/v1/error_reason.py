"""The error reasons of the contract, as strings."""

import enum


class Reason(enum.StrEnum):
    """Why a call failed: a value of ErrorReason without its prefix, as ErrorInfo has it."""

    CONTRACT_VIOLATION = "CONTRACT_VIOLATION"
    """A document or a message breaks the contract; the details name each place. INVALID_ARGUMENT, HTTP 422. Correct these places."""

    NOT_JSON = "NOT_JSON"
    """The text is not a JSON object in UTF-8. INVALID_ARGUMENT, HTTP 422. Send one JSON object, encoded in UTF-8."""

    NOT_PROTOBUF = "NOT_PROTOBUF"
    """The bytes are not a message of the expected type. INVALID_ARGUMENT, HTTP 422. Encode the request with the types of this contract. In an answer, the code is INTERNAL: check that the peer is this service."""

    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    """The document is too large, is nested too deeply, or has too many values. INVALID_ARGUMENT, HTTP 422. Send less, or raise the limit that the message names."""

    NO_JSON_FORM = "NO_JSON_FORM"
    """The message has no JSON form: it has NaN, text that is not JSON where JSON is expected, or a union without an alternative. INVALID_ARGUMENT, HTTP 422. Correct the places that the details name."""

    CONTRACT_NEWER = "CONTRACT_NEWER"
    """The request has fields, enum values or alternatives that the service does not know. FAILED_PRECONDITION, HTTP 500. Upgrade the service, or lower the sender's contract_revision to the service's."""

    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    """No upstream is configured for the model or the agent. NOT_FOUND, HTTP 404. Use a model that the configuration, or GET /v1/models at the gateway, lists."""

    TOKEN_MISSING = "TOKEN_MISSING"
    """The call has no bearer token. UNAUTHENTICATED, HTTP 401. Send a token as authorization: Bearer, in the metadata or in the header."""

    TOKEN_INVALID = "TOKEN_INVALID"
    """The bearer token is unknown. UNAUTHENTICATED, HTTP 401. Send a token that is in the token file of the server."""

    CALLER_SILENT = "CALLER_SILENT"
    """The request did not arrive in time, or the caller stopped reading the answer. DEADLINE_EXCEEDED, HTTP 408. Send the whole request at once, and read the answer as it arrives."""

    OVERLOADED = "OVERLOADED"
    """The service accepts no more calls for now. RESOURCE_EXHAUSTED, HTTP 429. Retry after the delay in RetryInfo or Retry-After."""

    TOO_MANY_CALLS = "TOO_MANY_CALLS"
    """The service has reached its limit of concurrent calls. RESOURCE_EXHAUSTED, HTTP 429. Retry later, or raise calls_max."""

    TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS"
    """The gateway has reached its limit of concurrent requests. RESOURCE_EXHAUSTED, HTTP 429. Retry later, or raise requests_max."""

    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"
    """The gateway has reached its limit of connections. UNAVAILABLE, HTTP 503. Retry later, or raise connections_max."""

    UPSTREAM_BUSY = "UPSTREAM_BUSY"
    """The limit of concurrent calls to the upstream is reached, and the queue is full. RESOURCE_EXHAUSTED, HTTP 429. Retry later, or raise upstream_calls_max or upstream_queue_max."""

    DRAINING = "DRAINING"
    """The server is about to stop and accepts no new calls. UNAVAILABLE, HTTP 503. Call another server, or retry later."""

    SERVER_STOPPING = "SERVER_STOPPING"
    """The server stopped before the call was complete. UNAVAILABLE, HTTP 503. Retry; the upstream may have produced, and billed, an answer."""

    UPSTREAM_INVALID_REQUEST = "UPSTREAM_INVALID_REQUEST"
    """The upstream refused the request as invalid. INVALID_ARGUMENT, HTTP 400. Correct the request as the message, which is the upstream's, says."""

    UPSTREAM_REQUEST_TOO_LARGE = "UPSTREAM_REQUEST_TOO_LARGE"
    """The upstream refused the request as too large. INVALID_ARGUMENT, HTTP 400. Send less."""

    UPSTREAM_NOT_FOUND = "UPSTREAM_NOT_FOUND"
    """The upstream does not have what the request names, such as the model. NOT_FOUND, HTTP 404. Use a model or an agent that the upstream has."""

    UPSTREAM_CONFLICT = "UPSTREAM_CONFLICT"
    """The upstream reported a conflict. ABORTED, HTTP 409. Retry as the message, which is the upstream's, says."""

    UPSTREAM_RATE_LIMITED = "UPSTREAM_RATE_LIMITED"
    """The upstream accepts no more requests from the service for now. RESOURCE_EXHAUSTED, HTTP 429. Retry after the delay in RetryInfo or Retry-After."""

    UPSTREAM_UNAUTHENTICATED = "UPSTREAM_UNAUTHENTICATED"
    """The upstream refused the credentials of the service. FAILED_PRECONDITION, HTTP 500. Give the service a valid key for this upstream."""

    UPSTREAM_PAYMENT_REQUIRED = "UPSTREAM_PAYMENT_REQUIRED"
    """The upstream requires a payment for the account of the service. FAILED_PRECONDITION, HTTP 500. Pay for the account that the service's key belongs to."""

    UPSTREAM_PERMISSION_DENIED = "UPSTREAM_PERMISSION_DENIED"
    """The upstream does not permit this request to the service. FAILED_PRECONDITION, HTTP 500. Give the service a key with this permission."""

    UPSTREAM_UNSUPPORTED = "UPSTREAM_UNSUPPORTED"
    """The upstream does not support the call. UNIMPLEMENTED, HTTP 501. Use an upstream that supports it, and check base_url."""

    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    """The upstream failed. UNAVAILABLE, HTTP 503. Retry; the upstream may have produced, and billed, an answer."""

    UPSTREAM_OVERLOADED = "UPSTREAM_OVERLOADED"
    """The upstream is overloaded or out of service. UNAVAILABLE, HTTP 503. Retry later."""

    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    """The upstream took too long to answer. DEADLINE_EXCEEDED, HTTP 504. Ask for less, or raise first_byte_s."""

    UPSTREAM_SILENT = "UPSTREAM_SILENT"
    """The upstream paused for too long in the middle of an answer. DEADLINE_EXCEEDED, HTTP 504. Ask for less, or raise upstream_idle_s or silence_s."""

    UPSTREAM_UNREACHABLE = "UPSTREAM_UNREACHABLE"
    """The service cannot reach the upstream. UNAVAILABLE, HTTP 503. Check base_url, and the service's network and proxy."""

    UPSTREAM_UNREADABLE = "UPSTREAM_UNREADABLE"
    """The answer of the upstream is not a completion. UNAVAILABLE, HTTP 503. Check that base_url is that of a model API. If a program's own upstream gave the answer, the code is INTERNAL: correct the program."""

    UPSTREAM_REDIRECTED = "UPSTREAM_REDIRECTED"
    """The upstream answered with a redirect, which is not followed. FAILED_PRECONDITION, HTTP 500. Set base_url to the location of the redirect."""

    UPSTREAM_ANSWER_TOO_LARGE = "UPSTREAM_ANSWER_TOO_LARGE"
    """The answer of the upstream exceeds a limit. UNAVAILABLE, HTTP 503. Ask for less, or raise answer_bytes_max."""

    STREAM_TRUNCATED = "STREAM_TRUNCATED"
    """A stream ended without [DONE]. UNAVAILABLE, HTTP 503. Retry; the answer is incomplete. From the SSE decoder itself, the code is INVALID_ARGUMENT."""

    DATA_AFTER_DONE = "DATA_AFTER_DONE"
    """A decoded stream has data after [DONE]. INVALID_ARGUMENT, HTTP 422. Correct the producer; the answer before [DONE] is complete."""

    NO_SUCH_ROUTE = "NO_SUCH_ROUTE"
    """The gateway has no such route. INVALID_ARGUMENT, HTTP 404. Use a route that /docs lists."""

    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    """The route does not accept this HTTP method. INVALID_ARGUMENT, HTTP 405. Use a method that the header Allow lists."""

    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    """The request body is too large. INVALID_ARGUMENT, HTTP 413. Send less, or raise body_bytes_max."""

    UNSUPPORTED_ENCODING = "UNSUPPORTED_ENCODING"
    """The request body is compressed. INVALID_ARGUMENT, HTTP 415. Send it without Content-Encoding."""

    ORIGIN_NOT_ALLOWED = "ORIGIN_NOT_ALLOWED"
    """The request comes from a web page of an origin that is not allowed. INVALID_ARGUMENT, HTTP 403. Add the origin to cors_origins."""

    INTERNAL = "INTERNAL"
    """The service or the gateway itself failed. INTERNAL, HTTP 500. Look for the id of the call in its log."""

    UNKNOWN_SERVICE = "UNKNOWN_SERVICE"
    """The health check names a service that this server does not have. NOT_FOUND, HTTP 404. Check the name of the service."""

    NO_ANSWER = "NO_ANSWER"
    """The call ended with OK, but without an answer. INTERNAL, HTTP 500. Check that the peer is this service."""

    GRPC_FAILED = "GRPC_FAILED"
    """The gRPC library failed to make the call. INTERNAL, HTTP 500. Report it, with the message."""

    CLIENT_CLOSED = "CLIENT_CLOSED"
    """The client was closed before or during the call. CANCELLED, HTTP 499. Keep the client open until its calls are complete."""

    CANNOT_LISTEN = "CANNOT_LISTEN"
    """The server cannot listen on the address. UNAVAILABLE, HTTP 503. Stop the process that uses it, or use another address."""

    WORKERS_FAILED = "WORKERS_FAILED"
    """The worker processes keep failing. UNAVAILABLE, HTTP 503. Read the log lines before this error."""

    EXTRA_MISSING = "EXTRA_MISSING"
    """A required Python package is not installed. FAILED_PRECONDITION, HTTP 500. Install the extra that the message names."""

    CHANNELZ = "CHANNELZ"
    """Channelz is enabled, but its package is not installed. FAILED_PRECONDITION, HTTP 500. Install the extra channelz, or disable it."""

    PROMETHEUS_TAKEN = "PROMETHEUS_TAKEN"
    """A second endpoint for Prometheus was requested in one process. FAILED_PRECONDITION, HTTP 500. Serve metrics from one server of the process."""

    PROXY = "PROXY"
    """The environment names a proxy that cannot be used. FAILED_PRECONDITION, HTTP 500. Correct HTTPS_PROXY or HTTP_PROXY."""

    UPSTREAMS = "UPSTREAMS"
    """The tables of upstreams in the configuration have an error. FAILED_PRECONDITION, HTTP 500. Correct the place that the message names."""

    UPSTREAM_KEY = "UPSTREAM_KEY"
    """The key for an upstream is missing or cannot be read. FAILED_PRECONDITION, HTTP 500. Set the variable or the file that the message names."""

    BAD_RECORDING = "BAD_RECORDING"
    """A recording cannot be replayed. FAILED_PRECONDITION, HTTP 500. Correct the file and the line that the message names."""

    TOKEN_FILE = "TOKEN_FILE"
    """The token file cannot be used. FAILED_PRECONDITION, HTTP 500. Correct the file that the message names."""

    TLS_CERTIFICATE = "TLS_CERTIFICATE"
    """The file with the certificate cannot be used. FAILED_PRECONDITION, HTTP 500. Correct the file that the message names."""

    TLS_KEY = "TLS_KEY"
    """The file with the private key cannot be used. FAILED_PRECONDITION, HTTP 500. Correct the file that the message names."""

    TLS_CLIENT_CA = "TLS_CLIENT_CA"
    """The file with the authorities of client certificates cannot be used. FAILED_PRECONDITION, HTTP 500. Correct the file that the message names."""
