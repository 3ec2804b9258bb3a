"""Documents with what is lost most easily on a way through another language, by what is odd about them."""

import pathlib

_DOCUMENTS = pathlib.Path(__file__).parents[1] / "data" / "documents"


def _recorded(kind: str) -> dict[str, bytes]:
    """Return the recorded documents of a type, by their names."""
    paths = sorted(_DOCUMENTS.glob(f"{kind}.*.json"))
    return {path.name.split(".")[1]: path.read_bytes() for path in paths}


def _request(members: str, messages: str = '{"role":"user","content":"hi"}') -> bytes:
    return f'{{"model":"m","messages":[{messages}]{members}}}'.encode()


def _response(choice: str = "", members: str = "") -> bytes:
    return (
        '{"id":"c","object":"chat.completion","model":"m","created":1702256327,"usage":{"prompt_tokens":1},'
        f'"choices":[{{"index":0,"finish_reason":"stop"{choice}}}]{members}}}'
    ).encode()


def _message(members: str) -> bytes:
    return _response(f',"message":{{"role":"assistant"{members}}}')


def _chunk(choice: str, members: str = "") -> bytes:
    return f'{{"id":"c","model":"m","choices":[{{"index":0{choice}}}]{members}}}'.encode()


_NUMBERS = "[123456789012345678901234567890,1e400,-0.0,0.12345678901234567890123,9007199254740993]"

REQUESTS = {
    "everything": _recorded("ChatCompletionRequest")["everything"],
    "undocumented members": _request(f',"of_tomorrow":{{"n":{_NUMBERS},"":null}},"extra_body":[[]]'),
    "nulls": _request(',"temperature":null,"stop":null,"tools":null,"metadata":null'),
    "empties": _request(',"tools":[],"stop":[],"metadata":{},"prompt_cache_key":""'),
    "zeros": _request(',"temperature":0.0,"max_tokens":0,"stream":false,"safe_prompt":false'),
    "integers at the bounds": _request(f',"random_seed":{2**63 - 1},"max_tokens":{2**31 - 1}'),
    "an enum value that is not listed": _request(',"reasoning_effort":"utmost","tool_choice":"perhaps"'),
    "alternatives that are not known": _request(
        ',"tools":[{"type":"telescope","x":[1.0]}]',
        '{"role":"oracle","content":[1e2]},{"role":"user","content":[{"type":"hologram","at":null}]}',
    ),
    "any text": _request(
        ',"metadata":{"é":"\\u0000\\ud83d\\ude80"}',
        '{"role":"user","content":"\\u0000 \U0001f469‍\U0001f680 ß\\n"}',
    ),
}
# The service checks what is documented of a request; these are for programs that only pass it on.
REFUSED_REQUESTS = {
    "integers beyond the bounds": _request(f',"random_seed":{2**63},"max_tokens":{2**31},"n":{10**30}'),
    "other JSON types": _request(',"temperature":"hot","stop":{},"tools":{"0":null}', '"hi",null,[]'),
}
RESPONSES = {
    **_recorded("ChatCompletionResponse"),
    "undocumented members": _response(',"stop_sequence":"END"', f',"p":{_NUMBERS},"json_extra":{{}}'),
    "nulls": _message(',"content":null,"tool_calls":null,"prefix":null'),
    "empties": _message(',"content":[],"tool_calls":[]'),
    "an enum value that is not listed": _response().replace(b'"stop"', b'"content_filter"'),
    "integers beyond the bounds": _response(f',"logprobs":{{"content":[{{"token_id":{2**40}}}]}}'),
    "another JSON type": _response(members=',"service_tier":7').replace(
        b'"created":1702256327', b'"created":"now"'
    ),
    "alternatives that are not known": _message(
        ',"content":[{"type":"hologram","x":[1]},{"text":"no type"}]'
    ),
    "arguments": _message(
        ',"tool_calls":[{"function":{"name":"f","arguments":{"n":1e400}}},{"function":{"name":"g","arguments":"{"}}]'
    ),
    "any text": _message(',"content":"\\u0000 \U0001f469‍\U0001f680 ß\\n"'),
}
CHUNKS = {
    **_recorded("CompletionChunk"),
    "what is filled in": _chunk(',"delta":{},"finish_reason":null'),
    "what would be filled in is absent": _chunk(""),
    "what would be filled in is of another form": _chunk(',"delta":null,"finish_reason":"tired"'),
    "no choices": b'{"id":"c","model":"m"}',
    "null for choices": b'{"id":"c","model":"m","choices":null}',
    "empty choices": b'{"id":"c","model":"m","choices":[],"usage":null}',
    "nulls and empties": _chunk(
        ',"delta":{"tool_calls":[],"content":null},"finish_reason":null,"logprobs":null'
    ),
}
