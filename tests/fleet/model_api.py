"""A model API over HTTP that answers what it was told to, and remembers what it was asked."""

import contextlib
import http.server
import json
import threading
from typing import Any, Self


class ModelApi(http.server.ThreadingHTTPServer):
    """Answers on 127.0.0.1, from threads of its own; runs inside of `with`.

    The model of a request is the name of the answer.

    Attributes:
        url: Its base URL.
        answers: JSON texts by name: one for an answer in one piece, several for the chunks of a stream.
        asked: The bodies of the requests, by their ids.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers: dict[str, str | list[str]] = {}
        self.asked: dict[str, str] = {}
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelApi

    def handle(self) -> None:
        # A service that is killed takes its connection with it.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        request: dict[str, Any] = json.loads(body)
        self.server.asked[self.headers["x-request-id"]] = body.decode()
        answer = self.server.answers[request["model"]]
        if isinstance(answer, str):
            self._send("application/json", answer)
        else:
            self._send("text/event-stream", "".join(f"data: {text}\n\n" for text in [*answer, "[DONE]"]))

    def _send(self, content_type: str, text: str) -> None:
        data = text.encode()
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - of the base class
        """Log nothing."""
