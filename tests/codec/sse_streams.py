"""Event streams for tests: ordinary ones, and those with everything that the standard and servers know."""

import json
from typing import Any

from hypothesis import strategies as st

from mistralwire.v1 import CompletionChunk
from tests import strategies
from tests.strategies import to_json_text

_ODD_DATA = (
    *(
        b"",
        b" ",
        b"[DONE]",
        b" [DONE]\t",
        b"[DONE",
        b"nonsense",
        b"[]",
        b"12",
        b"{",
        b"{}",
        b" {} ",
        b"\x0b{}",
    ),
    *(b'{"a":NaN}', b'{"a":"\\ud800"}', b'{"id":"\xff"}', b"\xef\xbb\xbf{}", b'{"id":5}', b'{"a":1e400}'),
    *(
        b'{"error":"x"}',
        b'{"\\u0065rror":"x"}',
        b'{"error":"x","choices":null}',
        b'{"error":"x","choices":[]}',
    ),
    *(b'{"error":{},"error":1}', b'{"error":1,"error":{}}', b'{"choices":[],"choices":null,"detail":[]}'),
    *(
        b'{"object":"error"}',
        b'{"object":"\\u0065rror"}',
        b'{"object":"error","object":"x"}',
        b'{"object":1}',
    ),
    *(
        b'{"detail":"x"}',
        b'{"detail":{}}',
        b'{"message":{"a":1}}',
        b'{"message":null}',
        b'{"Choices":1,"message":""}',
    ),
    *(
        b'{"error":{"message":"x"},"choices":[]}',
        b'{"choices":[],"error":""}',
        b'{"choices":[{}],"choices":[],"error":{}}',
        b'{"error":"","error":"x","choices":[]}',
        b'{"object":"Error","choices":[]}',
        b'{"object":"\\u0045rror"}',
        b'{"choices":[],"detail":"x","message":"x"}',
        b'{"choices":null}',
        b'{"error":{"x":NaN}}',
        b'{"created":-Infinity,"x":[NaN]}',
        b'{"choices":[{"index":9007199254740993.0,"x":Infinity}],"created":1e3}',
        b'{"choices":[{"index":0,"logprobs":{"content":[{"token":"a","logprob":-Infinity,"bytes":[1e0]}]}}]}',
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b'\xef\xbb\xbf{"error":"x"}',
    ),
    b'{"id":"c","model":"m","choices":[{"index":1,"delta":{},"finish_reason":"stop"}],"usage":{"total_tokens":3}}',
    b'{"id":"c","model":"m","choices":[{"index":0,"delta":{},"finishReason":"new"},{"index":1,"delta":{},'
    b'"finish_reason":"length"}],"usage":{"a":1}}',
    b'{"id":"c","model":"m","choices":[{"finish_reason":"n\\u00e9w","finishReason":"other","index":true}]}',
    b'{"choices":[{"finish_reason":"stop","finish_reason":"error"},5],"usage":[]}',
    *(b'{"choices":[{"finish_reason":"\\ud800"}]}', b'{"error":"\\ud800"}', b'{"\\udc00":1,"detail":[]}'),
)
_LINES = (
    *(
        b": ping\n",
        b":\n",
        b":\n\n",
        b"\n",
        b"event: message\n",
        b"event: error\n",
        b"event\n",
        b"retry: 5\n",
    ),
    *(b"retry: x\n", b"id: 7\n", b"id\n", b"id: a\0b\n", b"id: \xff\xe2\x82\n", b"foo: bar\n", b"DATA: 1\n"),
    *(
        b"event: ping\n",
        b"event: x\ndata: x\n\n",
        b'event: x\ndata: {"message":"x"}\n\n',
        b"event: message\n\n",
    ),
    *(
        b"error: {}\n",
        b'error: {"message":"x"}\n\n',
        b"error: x\n",
        b"error:\n",
        b"error\n",
        b'{"error":\n',
        b'"x"}\n',
    ),
    *(b'{"error":"x"}\n', b"{}\n", b'{"error":NaN,"detail":"x"}\n\n', b'{"choices":[]}\n', b"}\n", b"{\n"),
    *(b"data: {\n", b"data: }\n", b"data\n", b"\xef\xbb\xbf", b"x" * 30, b"data: [DONE]\n\n", b"\0"),
)

cuts = st.lists(st.integers(0, 600), max_size=6)
"""Places to cut a stream at."""


def chunk(
    text: str = "hi", *, index: int = 0, finish_reason: str | None = None, **members: Any
) -> dict[str, Any]:
    """Return a chunk's document."""
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish_reason}
    return {"id": "c1", "model": "m", "choices": [choice], **members}


def event_of(document: object) -> bytes:
    """Return the event of a document, as servers write it."""
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def pieces_of(stream: bytes, at: list[int]) -> list[bytes]:
    """Return a stream in pieces."""
    ends = sorted(min(end, len(stream)) for end in at)
    return [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True)]


def streams() -> st.SearchStrategy[bytes]:
    """Generate streams whose events are valid, invalid, or no events at all."""
    documents = st.one_of(
        strategies.valid_documents(CompletionChunk), strategies.loose_documents(CompletionChunk)
    )
    texts = st.one_of(
        st.sampled_from(_ODD_DATA),
        st.builds(chunk, st.text(max_size=5)).map(to_json_text).map(str.encode),
        documents.map(to_json_text).map(str.encode),
    )
    heads = st.sampled_from(
        [b"data: ", b"data: ", b"data:", b"id: 1\ndata: ", b"data:  ", b"event: x\ndata: ", b"error: ", b""]
    )
    events = st.builds(lambda head, text: head + text + b"\n\n", heads, texts)
    ends = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])
    parts = st.builds(
        lambda part, end: part.replace(b"\n", end), st.one_of(events, events, st.sampled_from(_LINES)), ends
    )
    return st.lists(parts, max_size=6).map(b"".join)
