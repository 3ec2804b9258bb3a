"""Settings: their types, their ranges, and which go together."""

import dataclasses
import math
import pathlib
from typing import Any

import pytest

from mistralwire.service import ServerConfig, settings
from mistralwire.service._server import server_options

FILE = pathlib.Path("file.pem")
TLS = {"tls_certificate": FILE, "tls_key": FILE}


def config_with(name: str, value: Any) -> ServerConfig:
    values: dict[str, Any] = {name: value}
    if name == "drain_notice_s":
        values["drain_s"] = settings()["drain_s"].most
    return ServerConfig(**values)


def test_the_notice_of_a_drain_is_a_part_of_it() -> None:
    with pytest.raises(ValueError, match=r"^drain_notice_s must be at most drain_s, which is 2, not 3$"):
        ServerConfig(drain_s=2, drain_notice_s=3)


def test_the_defaults_are_sound() -> None:
    config = ServerConfig()
    assert config.is_local
    assert not config.insecure


def test_every_setting_is_explained() -> None:
    for name, setting in settings().items():
        assert setting.help.endswith("."), name
        assert (setting.least is None) == (setting.most is None), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, setting in settings().items()
        if setting.least is not None and setting.most is not None
        for value in (setting.least - 1, setting.most + 1)
    ],
)
def test_a_number_beyond_its_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be "):
        config_with(name, value)


@pytest.mark.parametrize("name", [name for name, setting in settings().items() if setting.least is not None])
def test_the_ends_of_a_range_are_taken(name: str) -> None:
    setting = settings()[name]
    assert setting.least is not None
    assert setting.most is not None
    config_with(name, setting.most)
    if setting.is_above:
        with pytest.raises(ValueError, match=f"^{name} must be a number above "):
            config_with(name, setting.least)
    else:
        config_with(name, setting.least)


@pytest.mark.parametrize("name", [name for name in settings() if name.endswith("_s")])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_time_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be "):
        config_with(name, value)


@pytest.mark.parametrize("field", dataclasses.fields(ServerConfig), ids=lambda field: field.name)
def test_a_value_of_another_type_is_refused(field: dataclasses.Field[Any]) -> None:
    with pytest.raises(TypeError, match=f"^{field.name} must be "):
        config_with(field.name, b"x")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"host": ""}, "host must not be empty"),
        ({"tls_certificate": FILE}, "tls_certificate and tls_key go together"),
        ({"tls_key": FILE}, "tls_certificate and tls_key go together"),
        ({"tls_client_ca": FILE}, "tls_client_ca needs tls_certificate"),
        ({**TLS, "insecure": True}, "expected insecure or tls_certificate, found both"),
        ({"host": "0.0.0.0"}, "host must be a loopback address"),
        ({"host": "0.0.0.0", "token_file": FILE}, "host must be a loopback address"),
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServerConfig(**values)


@pytest.mark.parametrize("values", [{"insecure": True}, TLS])
def test_another_address_needs_tls_or_the_word_insecure(values: dict[str, Any]) -> None:
    assert not ServerConfig(host="0.0.0.0", **values).is_local


@pytest.mark.parametrize("value", [1e-9, 7_200.0])
def test_times_become_numbers_that_grpc_takes(value: float) -> None:
    config = ServerConfig(keepalive_s=value, keepalive_timeout_s=value, keepalive_caller_s_min=value)
    for name, number in server_options(config, config.calls_max):
        assert type(number) is int, name
        assert 0 <= number < 2**31, name


def test_no_option_is_given_twice() -> None:
    names = [name for name, _ in server_options(ServerConfig(), 1)]
    assert len(names) == len(set(names))
