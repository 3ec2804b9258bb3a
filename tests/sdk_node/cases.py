"""What the SDKs are asked, and what the model API answers them: the same with the gateway between."""

import json
import pathlib
from typing import Any, NamedTuple

from tests.documents import DOCUMENTS
from tests.upstream_server import Answer, json_answer, sse_answer

_DATA = pathlib.Path(__file__).parents[1] / "data"
_REPLAY = _DATA / "replay"

MESSAGES = [{"role": "user", "content": "Grüße, 漢字 👩‍🚀"}]
CHAT = {"model": "mistral-small-latest", "messages": MESSAGES}
FIM = {
    "model": "codestral-latest",
    "prompt": "def add(a, b):\n",
    "suffix": "\n    return total",
    "maxTokens": 16,
    "minTokens": 1,
    "temperature": 0,
    "stop": ["\n\n"],
}
AGENT = {
    "agentId": "ag_0123456789abcdef",
    "messages": MESSAGES,
    "maxTokens": 16,
    "metadata": {"n": [1, None]},
}
EVERYTHING = {
    **CHAT,
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        *MESSAGES,
        {"role": "assistant", "content": "Grü", "prefix": True},
    ],
    "temperature": 0.25,
    "topP": 1,
    "maxTokens": 64,
    "randomSeed": 9007199254740991,
    "stop": "END",
    "metadata": {"trace": {"n": [1, 1.5, None]}},
    "presencePenalty": -0.5,
    "frequencyPenalty": 0,
    "n": 2,
    "prediction": {"type": "content", "content": "Grüße"},
    "parallelToolCalls": False,
    "safePrompt": True,
}
TOOLS = {
    "model": "mistral-large-latest",
    "messages": [
        {"role": "user", "content": "What do owls eat, and when?"},
        {
            "role": "assistant",
            "content": "",
            "toolCalls": [
                {"id": "call00001", "function": {"name": "clock", "arguments": {"zone": "UTC"}}},
                {"id": "call00002", "function": {"name": "clock", "arguments": "{}"}, "index": 1},
            ],
        },
        {"role": "tool", "name": "clock", "toolCallId": "call00001", "content": "12:00"},
        {"role": "tool", "name": "clock", "toolCallId": "call00002", "content": "13:00"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "search",
                "description": "Finds pages.",
                "strict": True,
                "parameters": {
                    "type": "object",
                    "properties": {"query": {"type": "string"}},
                    "required": ["query"],
                },
            },
        }
    ],
    "toolChoice": {"type": "function", "function": {"name": "search"}},
}
AGENT_TOOLS = {**AGENT, **{name: value for name, value in TOOLS.items() if name != "model"}}
JSON_OBJECT = {**CHAT, "responseFormat": {"type": "json_object"}}
JSON_SCHEMA = {
    **CHAT,
    "responseFormat": {
        "type": "json_schema",
        "jsonSchema": {
            "name": "book",
            "strict": True,
            "schemaDefinition": {"type": "object", "properties": {"title": {"type": "string"}}},
        },
    },
}
VISION = {
    "model": "pixtral-12b",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is on these?"},
                {"type": "image_url", "imageUrl": "data:image/png;base64," + "iVBORw0KGgo" * 20_000},
                {"type": "image_url", "imageUrl": {"url": "https://example.org/owl.png", "detail": "high"}},
                {
                    "type": "document_url",
                    "documentUrl": "https://example.org/owls.pdf",
                    "documentName": "owls",
                },
            ],
        }
    ],
}


def _text_answer(content: str) -> Answer:
    document = json.loads((_REPLAY / "chat.json").read_bytes())
    document["choices"][0]["message"]["content"] = content
    return json_answer(json.dumps(document).encode())


def _recorded(name: str) -> Answer:
    """Return a recorded stream, in pieces that end anywhere."""
    text = (_REPLAY / name).read_bytes()
    return sse_answer(*(text[start : start + 100] for start in range(0, len(text), 100)))


def _one_chunk(text: bytes) -> Answer:
    return sse_answer(b"data: %b\n\n" % json.dumps(json.loads(text)).encode(), b"data: [DONE]\n\n")


CHAT_ANSWER = json_answer((_REPLAY / "chat.json").read_bytes())
CHAT_STREAM = _recorded("chat.sse")
FIM_ANSWER = json_answer((_DATA / "documents" / "FIMCompletionResponse.middle.json").read_bytes())
TOOL_ANSWER = json_answer((_DATA / "documents" / "ChatCompletionResponse.tool_calls.json").read_bytes())
TOOL_STREAM = _recorded("tool-calls.sse")
BOOK_ANSWER = _text_answer('{"title": "Owls", "pages": 7, "authors": ["A. B."]}')


API_ERROR = {
    "object": "error",
    "message": "no such model",
    "type": "invalid_model",
    "param": None,
    "code": "1500",
}


def error_answer(status: int, **headers: str) -> Answer:
    """Return an answer with an error body of the API."""
    return json_answer(json.dumps(API_ERROR).encode(), status, **headers)


class Case(NamedTuple):
    """A call of an SDK.

    Attributes:
        name: What it shows.
        sdk: `mistral` or `vertex`.
        method: Where the SDK has it.
        request: What the SDK is given, in its own names.
        answer: What the model API answers.
        schema: Name of the schema of ask.mjs that the method takes, if it takes one.
    """

    name: str
    sdk: str
    method: str
    request: dict[str, Any]
    answer: Answer
    schema: str | None = None


CASES = [
    Case("chat", "mistral", "chat.complete", CHAT, CHAT_ANSWER),
    Case("chat-stream", "mistral", "chat.stream", CHAT, CHAT_STREAM),
    Case("all-parameters", "mistral", "chat.complete", EVERYTHING, CHAT_ANSWER),
    Case("all-parameters-stream", "mistral", "chat.stream", EVERYTHING, CHAT_STREAM),
    Case("fim", "mistral", "fim.complete", FIM, FIM_ANSWER),
    Case("fim-stream", "mistral", "fim.stream", FIM, CHAT_STREAM),
    Case("agent", "mistral", "agents.complete", AGENT, CHAT_ANSWER),
    Case("agent-stream", "mistral", "agents.stream", AGENT, CHAT_STREAM),
    Case("agent-tools", "mistral", "agents.complete", AGENT_TOOLS, TOOL_ANSWER),
    Case("agent-tools-stream", "mistral", "agents.stream", AGENT_TOOLS, TOOL_STREAM),
    Case("tools", "mistral", "chat.complete", TOOLS, TOOL_ANSWER),
    Case("tools-stream", "mistral", "chat.stream", TOOLS, TOOL_STREAM),
    Case("json-object", "mistral", "chat.complete", JSON_OBJECT, BOOK_ANSWER),
    Case("json-schema", "mistral", "chat.complete", JSON_SCHEMA, BOOK_ANSWER),
    Case("json-schema-stream", "mistral", "chat.stream", JSON_SCHEMA, CHAT_STREAM),
    Case("parsed-by-a-schema", "mistral", "chat.parse", CHAT, BOOK_ANSWER, "book"),
    Case("vision", "mistral", "chat.complete", VISION, CHAT_ANSWER),
    Case("vertex-chat", "vertex", "chat.complete", CHAT, CHAT_ANSWER),
    Case(
        "vertex-versioned-model", "vertex", "chat.complete", {**CHAT, "model": "codestral-2405"}, CHAT_ANSWER
    ),
    Case("vertex-versioned-stream", "vertex", "fim.stream", {**FIM, "model": "codestral-2405"}, CHAT_STREAM),
    Case("vertex-chat-stream", "vertex", "chat.stream", CHAT, CHAT_STREAM),
    Case("vertex-tools-stream", "vertex", "chat.stream", TOOLS, TOOL_STREAM),
    Case("vertex-fim", "vertex", "fim.complete", FIM, FIM_ANSWER),
    Case("vertex-fim-stream", "vertex", "fim.stream", FIM, CHAT_STREAM),
]

# Not all of these are to the taste of the SDK, which then says the same of them on both ways.
ANSWERS = [
    Case(document.name, "mistral", "chat.complete", CHAT, json_answer(document.text))
    for document in DOCUMENTS
    if document.name.startswith("ChatCompletionResponse.")
] + [
    Case(document.name, "mistral", "chat.stream", CHAT, _one_chunk(document.text))
    for document in DOCUMENTS
    if document.name.startswith("CompletionChunk.")
]
