"""The error reasons of the contract, as strings."""

import enum


class Reason(enum.StrEnum):
    """Why a call failed: a value of ErrorReason without its prefix, as ErrorInfo has it."""

    CONTRACT_VIOLATION = "CONTRACT_VIOLATION"
    """A document or a message breaks the contract; the details list each place. INVALID_ARGUMENT, HTTP 422. Correct these places."""

    NOT_JSON = "NOT_JSON"
    """The text is no JSON. INVALID_ARGUMENT, HTTP 422. Send one JSON object in UTF-8."""

    NOT_PROTOBUF = "NOT_PROTOBUF"
    """The bytes are no message of the expected type; INTERNAL if it is an answer. INVALID_ARGUMENT, HTTP 422. Encode the request with the contract's own types."""

    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    """The document is larger, nested deeper, or has more values than the bounds allow. INVALID_ARGUMENT, HTTP 422. Send less, or raise the bound."""

    NO_JSON_FORM = "NO_JSON_FORM"
    """The message has no JSON form: NaN, text that is no JSON where JSON is due, a union without an alternative. INVALID_ARGUMENT, HTTP 422. Correct these places; in an answer, correct the upstream."""

    CONTRACT_NEWER = "CONTRACT_NEWER"
    """The request has fields, enum values or alternatives that the service does not know. FAILED_PRECONDITION, HTTP 500. Upgrade the service, or lower the sender's contract_revision to the service's."""

    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    """No upstream has the model. NOT_FOUND, HTTP 404. Ask for a model that GET /v1/models lists."""

    TOKEN_MISSING = "TOKEN_MISSING"
    """The call has no bearer token. UNAUTHENTICATED, HTTP 401. Send the metadata authorization: Bearer and a token."""

    TOKEN_INVALID = "TOKEN_INVALID"
    """The bearer token is not known. UNAUTHENTICATED, HTTP 401. Send a token that the service or the gateway lists."""

    CALLER_SILENT = "CALLER_SILENT"
    """The request did not arrive in time, or the caller took nothing of the answer for too long. DEADLINE_EXCEEDED, HTTP 408. Send the whole request at once; read the answer as it comes."""

    OVERLOADED = "OVERLOADED"
    """The service takes no more calls for now. RESOURCE_EXHAUSTED, HTTP 429. Try again after the time that RetryInfo or Retry-After gives."""

    TOO_MANY_CALLS = "TOO_MANY_CALLS"
    """The service has as many calls as it takes. RESOURCE_EXHAUSTED, HTTP 429. Try again later, or raise calls_max."""

    TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS"
    """The gateway has as many requests as it takes. RESOURCE_EXHAUSTED, HTTP 429. Try again later, or raise requests_max."""

    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"
    """The gateway has as many connections as it takes. UNAVAILABLE, HTTP 503. Try again later, or raise connections_max."""

    UPSTREAM_BUSY = "UPSTREAM_BUSY"
    """The upstream has as many calls as the service gives it, and the queue is full. RESOURCE_EXHAUSTED, HTTP 429. Try again later, or raise upstream_calls_max."""

    DRAINING = "DRAINING"
    """The server is about to stop and takes no new calls. UNAVAILABLE, HTTP 503. Call another server, or try again later."""

    SERVER_STOPPING = "SERVER_STOPPING"
    """The server stopped before the call was over. UNAVAILABLE, HTTP 503. Call again; an answer may have been made, and billed."""

    UPSTREAM_INVALID_REQUEST = "UPSTREAM_INVALID_REQUEST"
    """The upstream refused the request as invalid. INVALID_ARGUMENT, HTTP 400. Correct the request by the message, which is the upstream's."""

    UPSTREAM_REQUEST_TOO_LARGE = "UPSTREAM_REQUEST_TOO_LARGE"
    """The upstream refused the request as too large. INVALID_ARGUMENT, HTTP 400. Send less."""

    UPSTREAM_NOT_FOUND = "UPSTREAM_NOT_FOUND"
    """The upstream does not have what was asked for, such as the model. NOT_FOUND, HTTP 404. Ask for a model that the upstream has."""

    UPSTREAM_CONFLICT = "UPSTREAM_CONFLICT"
    """The upstream found a conflict. ABORTED, HTTP 409. Call again by the message, which is the upstream's."""

    UPSTREAM_RATE_LIMITED = "UPSTREAM_RATE_LIMITED"
    """The upstream takes no more requests from the service for now. RESOURCE_EXHAUSTED, HTTP 429. Try again after the time that RetryInfo or Retry-After gives."""

    UPSTREAM_UNAUTHENTICATED = "UPSTREAM_UNAUTHENTICATED"
    """The upstream refused the credentials of the service. FAILED_PRECONDITION, HTTP 500. Give the service a valid key for this upstream."""

    UPSTREAM_PAYMENT_REQUIRED = "UPSTREAM_PAYMENT_REQUIRED"
    """The upstream wants the account of the service to be paid. FAILED_PRECONDITION, HTTP 500. Pay the account that the service's key belongs to."""

    UPSTREAM_PERMISSION_DENIED = "UPSTREAM_PERMISSION_DENIED"
    """The upstream does not permit this to the service. FAILED_PRECONDITION, HTTP 500. Give the service a key that may do this."""

    UPSTREAM_UNSUPPORTED = "UPSTREAM_UNSUPPORTED"
    """The upstream does not support the call. UNIMPLEMENTED, HTTP 501. Call an upstream that does; check base_url."""

    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    """The upstream failed. UNAVAILABLE, HTTP 503. Call again; an answer may have been made, and billed."""

    UPSTREAM_OVERLOADED = "UPSTREAM_OVERLOADED"
    """The upstream is overloaded or out of service. UNAVAILABLE, HTTP 503. Try again later."""

    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    """The upstream took too long. DEADLINE_EXCEEDED, HTTP 504. Ask for less, or raise first_byte_s."""

    UPSTREAM_SILENT = "UPSTREAM_SILENT"
    """The upstream sent nothing for too long. DEADLINE_EXCEEDED, HTTP 504. Ask for less, or raise upstream_idle_s or silence_s."""

    UPSTREAM_UNREACHABLE = "UPSTREAM_UNREACHABLE"
    """The service can't reach the upstream. UNAVAILABLE, HTTP 503. Check base_url, the network and the proxy of the service."""

    UPSTREAM_UNREADABLE = "UPSTREAM_UNREADABLE"
    """The upstream answered with something that is no completion. UNAVAILABLE, HTTP 503. Check that base_url leads to a model API."""

    UPSTREAM_REDIRECTED = "UPSTREAM_REDIRECTED"
    """The upstream answered with a redirect, which is not followed. FAILED_PRECONDITION, HTTP 500. Set base_url to where it leads."""

    UPSTREAM_ANSWER_TOO_LARGE = "UPSTREAM_ANSWER_TOO_LARGE"
    """The upstream's answer is larger than the bound. UNAVAILABLE, HTTP 503. Ask for less, or raise answer_bytes_max."""

    STREAM_TRUNCATED = "STREAM_TRUNCATED"
    """A stream ended without [DONE]. UNAVAILABLE, HTTP 503. Call again; the answer was cut off."""

    DATA_AFTER_DONE = "DATA_AFTER_DONE"
    """A stream went on after [DONE]. UNAVAILABLE, HTTP 503. Check the upstream; the answer before is whole."""

    NO_SUCH_ROUTE = "NO_SUCH_ROUTE"
    """The gateway has no such route. INVALID_ARGUMENT, HTTP 404. Use a route that /docs lists."""

    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    """The route does not take this HTTP method. INVALID_ARGUMENT, HTTP 405. Use the method in the header Allow."""

    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    """The body is larger than the bound. INVALID_ARGUMENT, HTTP 413. Send less, or raise body_bytes_max."""

    UNSUPPORTED_ENCODING = "UNSUPPORTED_ENCODING"
    """The body is compressed. INVALID_ARGUMENT, HTTP 415. Send it without content-encoding."""

    ORIGIN_NOT_ALLOWED = "ORIGIN_NOT_ALLOWED"
    """The request comes from a web page of an origin that may not call. INVALID_ARGUMENT, HTTP 403. Add the origin to cors_origins."""

    INTERNAL = "INTERNAL"
    """The service or the gateway itself failed. INTERNAL, HTTP 500. Look for the id of the call in its log."""

    UNKNOWN_SERVICE = "UNKNOWN_SERVICE"
    """The health check names a service that this server does not have. NOT_FOUND, HTTP 404. Check the name of the service."""

    NO_ANSWER = "NO_ANSWER"
    """The service ended the call well, and without an answer. INTERNAL, HTTP 500. Check that the peer is this service."""

    GRPC_FAILED = "GRPC_FAILED"
    """The gRPC library itself failed. INTERNAL, HTTP 500. Look at the message; report it if it is none of yours."""

    CLIENT_CLOSED = "CLIENT_CLOSED"
    """The client was closed while the call ran, or before. CANCELLED, HTTP 499. Keep the client open until its calls are over."""

    CANNOT_LISTEN = "CANNOT_LISTEN"
    """The address can't be listened on. UNAVAILABLE, HTTP 503. Stop who listens there, or choose another address."""

    WORKERS_FAILED = "WORKERS_FAILED"
    """The worker processes keep failing. UNAVAILABLE, HTTP 503. Look at their log lines before this error."""

    EXTRA_MISSING = "EXTRA_MISSING"
    """A Python package that this needs is not installed. FAILED_PRECONDITION, HTTP 500. Install the extra that the message names."""

    CHANNELZ = "CHANNELZ"
    """Channelz is on, and its package is not installed. FAILED_PRECONDITION, HTTP 500. Install the extra channelz, or turn it off."""

    PROMETHEUS_TAKEN = "PROMETHEUS_TAKEN"
    """Metrics for Prometheus are on twice in one process. FAILED_PRECONDITION, HTTP 500. Turn one of them off."""

    PROXY = "PROXY"
    """The environment names a proxy that can't be used. FAILED_PRECONDITION, HTTP 500. Correct HTTPS_PROXY or HTTP_PROXY."""

    UPSTREAMS = "UPSTREAMS"
    """The tables of upstreams have an error. FAILED_PRECONDITION, HTTP 500. Correct the place that the message names."""

    UPSTREAM_KEY = "UPSTREAM_KEY"
    """The key for an upstream is missing or can't be read. FAILED_PRECONDITION, HTTP 500. Set the variable or the file that the message names."""

    BAD_RECORDING = "BAD_RECORDING"
    """A recording can't be played. FAILED_PRECONDITION, HTTP 500. Correct the file and line that the message names."""

    TOKEN_FILE = "TOKEN_FILE"
    """The file with the tokens can't be used. FAILED_PRECONDITION, HTTP 500. Correct the file that the message names."""

    TLS_CERTIFICATE = "TLS_CERTIFICATE"
    """The file with the certificate can't be used. FAILED_PRECONDITION, HTTP 500. Correct the file that the message names."""

    TLS_KEY = "TLS_KEY"
    """The file with the private key can't be used. FAILED_PRECONDITION, HTTP 500. Correct the file that the message names."""

    TLS_CLIENT_CA = "TLS_CLIENT_CA"
    """The file with the authorities for client certificates can't be used. FAILED_PRECONDITION, HTTP 500. Correct the file that the message names."""
