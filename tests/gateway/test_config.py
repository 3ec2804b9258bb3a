"""The settings of a gateway: their types, their ranges, and which go together."""

import dataclasses
import json
import pathlib
from typing import Any

import pytest

from mistralwire._settings import settings_of
from mistralwire.client._channel import service_config
from mistralwire.gateway import GatewayConfig

FILE = pathlib.Path("file.pem")
TLS = {"tls_certificate": FILE, "tls_key": FILE}
SETTINGS = settings_of(GatewayConfig)


def test_every_setting_is_explained() -> None:
    for name, setting in SETTINGS.items():
        assert setting.help.endswith("."), name
        assert (setting.least is None) == (setting.most is None), name


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.least is not None])
def test_a_number_is_taken_to_the_ends_of_its_range_and_not_beyond(name: str) -> None:
    setting = SETTINGS[name]
    assert setting.least is not None
    assert setting.most is not None
    values: dict[str, Any] = {name: setting.most}
    GatewayConfig(**values)
    for value in (setting.least - 1, setting.most + 1):
        values = {name: value}
        with pytest.raises(ValueError, match=f"^{name} must be "):
            GatewayConfig(**values)


@pytest.mark.parametrize("field", dataclasses.fields(GatewayConfig), ids=lambda field: field.name)
def test_a_value_of_another_type_is_refused(field: dataclasses.Field[Any]) -> None:
    values: dict[str, Any] = {field.name: b"x"}
    with pytest.raises(TypeError, match=f"^{field.name} must be "):
        GatewayConfig(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"host": ""}, "host must not be empty"),
        ({"host": "a\n"}, "host must be an address or a name"),
        ({"tls_certificate": FILE}, "tls_certificate and tls_key go together"),
        ({"tls_key": FILE}, "tls_certificate and tls_key go together"),
        ({**TLS, "insecure": True}, "expected insecure or tls_certificate, found both"),
        (
            {"host": "0.0.0.0"},
            "host must be a loopback address .* requests from other machines would be",
        ),
        ({"host": "0.0.0.0", "token_file": FILE}, "host must be a loopback address"),
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GatewayConfig(**values)


@pytest.mark.parametrize("values", [{"insecure": True}, TLS])
def test_another_address_needs_tls_or_the_word_insecure(values: dict[str, Any]) -> None:
    assert GatewayConfig(host="0.0.0.0", **values).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        (None, ()),
        ("", ()),
        (" https://a.example/ ,, https://b.example:8443", ("https://a.example", "https://b.example:8443")),
        ("*", ("*",)),
    ],
)
def test_origins_are_separated_by_commas(text: str | None, origins: tuple[str, ...]) -> None:
    assert GatewayConfig(cors_origins=text).allowed_origins == origins


@pytest.mark.parametrize(
    "origin",
    ["foo", "a.example", "https://", "https://a.example/page", "https://*.a.example", "https://A.example"],
)
def test_an_origin_that_no_page_can_have_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="cors_origins must be origins such as") as raised:
        GatewayConfig(cors_origins=f"https://a.example, {origin}")
    assert repr(origin.rstrip("/")) in str(raised.value)


@pytest.mark.parametrize("origin", ["null", "http://[::1]:3000", "chrome-extension://abcdef", "*"])
def test_origins_of_all_kinds_of_pages_can_be_allowed(origin: str) -> None:
    assert GatewayConfig(cors_origins=origin).allowed_origins == (origin,)


@pytest.mark.parametrize(("attempts_max", "pauses_s"), [(4, 3.2), (5, 9.2)])
def test_the_pauses_of_a_client_end_before_the_first_comment(attempts_max: int, pauses_s: float) -> None:
    policy = json.loads(service_config(attempts_max))["methodConfig"][0]["retryPolicy"]
    first_s, longest_s = (float(policy[name].rstrip("s")) for name in ("initialBackoff", "maxBackoff"))
    backoffs_s = [
        min(first_s * policy["backoffMultiplier"] ** number, longest_s) for number in range(attempts_max - 1)
    ]
    # gRPC draws up to a fifth more: gRFC A6.
    assert pauses_s - 0.1 < sum(backoffs_s) * 1.2 <= pauses_s < GatewayConfig().heartbeat_s
