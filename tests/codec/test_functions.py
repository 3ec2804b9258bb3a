"""The four public conversions are functions like any other, whichever engine is behind them."""

import copy
import inspect
import pickle
import pydoc
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest

from mistralwire.codec import (
    DEFAULT_LIMITS,
    Limits,
    _convert,
    binary_to_json,
    from_json,
    json_to_binary,
    to_json,
)
from mistralwire.errors import DecodeError
from mistralwire.v1 import UsageInfo
from tests.codec import engines

TEXT, MESSAGE = b'{"prompt_tokens":1}', UsageInfo(prompt_tokens=1)
WIRE = MESSAGE.SerializeToString()
CAMEL = b'{"promptTokens":1}'

Function = Callable[..., Any]
FUNCTIONS: list[Function] = [from_json, to_json, json_to_binary, binary_to_json]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_describes_itself(function: Function) -> None:
    name = function.__name__
    assert getattr(_convert, name) is function
    assert (function.__qualname__, function.__module__) == (name, "mistralwire.codec._convert")
    assert inspect.getdoc(function)
    assert inspect.isroutine(function)
    assert repr(function).startswith(f"<function {name} at ")
    assert f"{name}(" in pydoc.plain(pydoc.render_doc(function))


def test_a_signature_has_defaults_and_annotations() -> None:
    parameters = inspect.signature(json_to_binary).parameters
    assert list(parameters) == ["message_type", "data", "validate", "limits", "contract_revision"]
    assert [parameter.kind.name for parameter in parameters.values()] == [
        *["POSITIONAL_OR_KEYWORD"] * 2,
        *["KEYWORD_ONLY"] * 3,
    ]
    assert parameters["limits"].default is DEFAULT_LIMITS
    assert get_type_hints(json_to_binary)["limits"] is Limits
    assert inspect.signature(to_json).return_annotation is bytes


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_pickled_and_copied_by_its_name(function: Function) -> None:
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.copy(function) is function
    assert copy.deepcopy([function]) == [function]


def test_a_function_is_a_method_where_a_class_has_it() -> None:
    class Program:
        wire = WIRE
        write = binary_to_json

        def __init__(self) -> None:
            self.read = json_to_binary

    assert Program.write(UsageInfo, WIRE) == TEXT
    with pytest.raises(TypeError, match="binary_to_json"):
        Program().write(UsageInfo, WIRE)  # type: ignore[misc, arg-type, call-arg]
    assert Program().read(UsageInfo, TEXT) == WIRE


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (from_json, {"message_type": UsageInfo, "data": TEXT, "validate": True, "limits": Limits()}, MESSAGE),
        (to_json, {"message": MESSAGE, "names": "camel", "indent": None}, CAMEL),
        (
            json_to_binary,
            {
                "message_type": UsageInfo,
                "data": TEXT,
                "validate": False,
                "limits": DEFAULT_LIMITS,
                "contract_revision": 1,
            },
            WIRE,
        ),
        (binary_to_json, {"message_type": UsageInfo, "data": WIRE, "names": "camel"}, CAMEL),
    ],
)
def test_arguments_have_names(function: Function, arguments: dict[str, Any], expected: object) -> None:
    assert function(**arguments) == expected
    first, *others = arguments
    assert function(arguments[first], **{name: arguments[name] for name in others}) == expected
    native = engines.native_engine()
    assert native.function(inspect.unwrap(function))(**arguments) == expected
    assert sum(native.handovers().values()) == 0


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((), {}, r"{}\(\) missing [12] required positional arguments?: 'message"),
        ((1, 2, 3), {}, r"{}\(\) takes [12] positional arguments? but 3 were given"),
        ((1,), {"names_": 5}, r"{}\(\) .* 'names_'"),
        ((1,), {"message": 2, "message_type": 2}, r"{}\(\) got (multiple values|an unexpected keyword)"),
    ],
)
def test_arguments_that_do_not_fit_are_an_error_that_names_the_function(
    function: Function, arguments: tuple[Any, ...], keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message.format(function.__name__)):
        function(*arguments, **keywords)


def test_what_is_not_converted_natively_is_counted_and_left_to_the_function() -> None:
    engine = engines.native_engine()
    read, write = (engine.function(inspect.unwrap(function)) for function in (from_json, to_json))
    with pytest.raises(DecodeError, match="prompt_tokens: expected an integer"):
        read(UsageInfo, b'{"prompt_tokens":"1"}')
    assert write(MESSAGE, indent=20) == b"{\n" + b" " * 20 + b'"prompt_tokens": 1\n}'
    with pytest.raises(TypeError, match="is not a message of the contract"):
        write(b"text")
    reasons = {reason: count for reason, count in engine.handovers().items() if count}
    assert reasons == {"violation": 1, "arguments": 2}


def test_the_engine_has_no_other_functions() -> None:
    with pytest.raises(ValueError, match="no function of the engine"):
        engines.native_engine().function(engines.python_from_json)


@pytest.mark.parametrize("validate", [1, 0])
def test_what_is_no_bool_counts_by_its_truth(validate: Any) -> None:
    text = b'{"prompt_tokens":"1"}'
    if validate:
        with pytest.raises(DecodeError):
            json_to_binary(UsageInfo, text, validate=validate)
    else:
        assert json_to_binary(UsageInfo, text, validate=validate) == json_to_binary(
            UsageInfo, text, validate=False
        )
