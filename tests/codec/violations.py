"""Documents that break the contract, and what is said of each."""

import json

from google.protobuf.message import Message

from mistralwire.errors import Violation
from mistralwire.v1 import (
    AssistantMessage,
    ChatCompletionChoice,
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionResponseStreamChoice,
    FunctionCall,
    FunctionName,
    ModerationLlmv2CategoryThresholds,
    ReferenceChunk,
    SystemMessage,
    ThinkChunk,
    Tool,
    ToolMessage,
    UsageInfo,
    ValidationError,
)

NOTHING = "nothing: the member is required"

CASES: list[tuple[type[Message], str, list[Violation]]] = [
    (FunctionName, "{}", [Violation("name", "a string", NOTHING)]),
    (FunctionName, '{"name":null}', [Violation("name", "a string", "null")]),
    (FunctionName, '{"name":5}', [Violation("name", "a string", "the number 5")]),
    (FunctionName, '{"name":true}', [Violation("name", "a string", "true")]),
    (FunctionName, '{"name":[]}', [Violation("name", "a string", "an empty array")]),
    (FunctionName, '{"name":{"a":1}}', [Violation("name", "a string", "an object with 1 member")]),
    (
        FunctionName,
        '{"name":"\\ud800"}',
        [Violation("name", "Unicode text", "a string with a lone surrogate")],
    ),
    (
        UsageInfo,
        '{"prompt_tokens":"5"}',
        [Violation("prompt_tokens", "an integer or null", "a string of 1 character")],
    ),
    (UsageInfo, '{"promptTokens":""}', [Violation("promptTokens", "an integer or null", "an empty string")]),
    (UsageInfo, '{"prompt_tokens":false}', [Violation("prompt_tokens", "an integer or null", "false")]),
    (UsageInfo, '{"prompt_tokens":1.5}', [Violation("prompt_tokens", "a 32-bit integer", "the number 1.5")]),
    (
        UsageInfo,
        '{"prompt_tokens":9223372036854775808}',
        [Violation("prompt_tokens", "an integer from -2^31 to 2^31-1", "the number 9223372036854775808")],
    ),
    (
        UsageInfo,
        '{"prompt_tokens":-9223372036854775809}',
        [Violation("prompt_tokens", "a 32-bit integer", "the number -9223372036854775809")],
    ),
    (
        UsageInfo,
        '{"prompt_tokens":1' + "0" * 60 + "}",
        [Violation("prompt_tokens", "a 32-bit integer", "the number 1" + "0" * 39)],
    ),
    (
        UsageInfo,
        '{"prompt_tokens":1,"promptTokens":1}',
        [Violation("promptTokens", "one spelling of the member, prompt_tokens or promptTokens", "both")],
    ),
    (
        UsageInfo,
        '{"promptTokensDetails":[1,2]}',
        [Violation("promptTokensDetails", "an object or null", "an array of 2 elements")],
    ),
    (
        ModerationLlmv2CategoryThresholds,
        '{"pii":true,"law":1e400}',
        [
            Violation("pii", "a number or null", "true"),
            Violation("law", "a number within the range of a double", "the number 1e400"),
        ],
    ),
    (AssistantMessage, '{"prefix":1}', [Violation("prefix", "a boolean or null", "the number 1")]),
    (AssistantMessage, '{"role":"user"}', [Violation("role", 'the string "assistant"', 'the string "user"')]),
    (
        AssistantMessage,
        json.dumps({"role": "x" * 40}),
        [Violation("role", 'the string "assistant"', "a string of 40 characters")],
    ),
    (
        AssistantMessage,
        '{"content":{}}',
        [Violation("content", "a string, an array or null", "an empty object")],
    ),
    (
        AssistantMessage,
        '{"content":["text"]}',
        [Violation("content[0]", "an object", "a string of 4 characters")],
    ),
    (
        AssistantMessage,
        '{"content":[{"type":5}]}',
        [Violation("content[0].type", "a string", "the number 5")],
    ),
    (AssistantMessage, '{"content":[{"type":"text"}]}', [Violation("content[0].text", "a string", NOTHING)]),
    (SystemMessage, '{"content":null}', [Violation("content", "a string or an array", "null")]),
    (SystemMessage, '{"content":7}', [Violation("content", "a string or an array", "the number 7")]),
    (ToolMessage, "{}", [Violation("content", "a string, an array or null", NOTHING)]),
    (
        FunctionCall,
        '{"name":"f","arguments":[1]}',
        [Violation("arguments", "a string or an object", "an array of 1 element")],
    ),
    (
        Tool,
        '{"function":{"name":"f","parameters":"{}"}}',
        [Violation("function.parameters", "an object", "a string of 2 characters")],
    ),
    (
        ChatCompletionChoice,
        '{"index":0,"finish_reason":null}',
        [Violation("finish_reason", "a string", "null")],
    ),
    (
        ChatCompletionChoice,
        '{"index":0,"finish_reason":1}',
        [Violation("finish_reason", "a string", "the number 1")],
    ),
    (
        CompletionResponseStreamChoice,
        '{"index":0,"delta":{}}',
        [Violation("finish_reason", "a string or null", NOTHING)],
    ),
    (
        ChatCompletionRequest,
        '{"model":"m","messages":[],"tool_choice":5,"stop":[1],"metadata":"x"}',
        [
            Violation("tool_choice", "an object, a string or null", "the number 5"),
            Violation("stop[0]", "a string", "the number 1"),
            Violation("metadata", "an object or null", "a string of 1 character"),
        ],
    ),
    (
        ReferenceChunk,
        '{"reference_ids":[1,true]}',
        [Violation("reference_ids[1]", "an integer or a string", "true")],
    ),
    (
        ReferenceChunk,
        '{"reference_ids":[1.5]}',
        [Violation("reference_ids[0]", "a 64-bit integer", "the number 1.5")],
    ),
    (ThinkChunk, '{"thinking":[null]}', [Violation("thinking[0]", "an object", "null")]),
    (
        ValidationError,
        '{"loc":"a","msg":"m","type":"t"}',
        [Violation("loc", "an array", "a string of 1 character")],
    ),
    (
        ChatCompletionResponse,
        '{"id":1,"object":"o","model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"tool_calls":['
        '{"function":{"name":"f","arguments":""}},{"function":{"arguments":""}}]}}]}',
        [
            Violation("id", "a string", "the number 1"),
            Violation("choices[0].message.tool_calls[1].function.name", "a string", NOTHING),
            Violation("usage", "an object", NOTHING),
        ],
    ),
]
