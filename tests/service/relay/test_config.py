"""The settings of stored responses."""

import math
import pathlib
from typing import Any

import pytest

from mistralwire.log import MemoryLog, NatsLog, SqliteLog
from mistralwire.service import RelayConfig, create_log, create_relay
from mistralwire.service._config import parse_on_disconnect


def test_nothing_is_stored_by_default() -> None:
    assert create_log(RelayConfig()) is None
    assert not RelayConfig().stores
    with pytest.raises(ValueError, match=r"^expected data or log, found neither: "):
        create_relay(RelayConfig())
    for config in (RelayConfig(log="memory"), RelayConfig(data=pathlib.Path("a"))):
        assert config.stores
        assert create_relay(config).config is config


def test_the_settings_name_the_log(tmp_path: pathlib.Path) -> None:
    assert isinstance(create_log(RelayConfig(log="memory")), MemoryLog)
    assert isinstance(create_log(RelayConfig(data=tmp_path)), SqliteLog)
    monitors = "http://a:8222, http://b:8222"
    assert isinstance(create_log(RelayConfig(log="nats://a,nats://b", log_monitors=monitors)), NatsLog)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": pathlib.Path("a"), "log": "memory"}, "expected data or log, found both"),
        ({"log": "redis://a"}, "log must be memory, or a URL such as nats://127.0.0.1:4222, not 'redis://a'"),
        ({"log_replicas": 3}, "log_replicas needs a log on NATS: set log to its URL, such as nats://127"),
        ({"log_monitors": "http://a:8222", "log": "memory"}, "log_monitors needs a log on NATS"),
        ({"log_durability": "replicated", "log_replicas": 3}, "log_durability needs a log on NATS"),
        ({"log_replicas": 3, "data": pathlib.Path("a")}, "log_replicas needs a log on NATS"),
        ({"log": "nats://a", "log_monitors": "a:8222"}, "log_monitors must be URLs .*, not 'a:8222'"),
        (
            {"log": "nats://a", "log_monitors": "http://a, http://:8222"},
            "log_monitors .*, not 'http://:8222'",
        ),
        ({"log": "nats://a", "log_monitors": "http://a:x"}, "log_monitors must be URLs"),
        ({"log": "nats://a", "log_monitors": "http://u:secret@a:8222"}, "log_monitors .*, not 'a:8222'$"),
        ({"log": "nats://a", "log_monitors": "nats://a:4222"}, "log_monitors must be URLs"),
        (
            {"log": "nats://a", "log_durability": "replicated"},
            "log_durability replicated needs log_replicas of 3 or more",
        ),
        ({"on_disconnect": "keep"}, "on_disconnect must be cancel, finish or keep with seconds"),
        ({"on_disconnect": "keep 86401"}, "on_disconnect must be"),
    ],
)
def test_values_that_do_not_go_together_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        RelayConfig(**values)


def test_what_happens_when_a_caller_disconnects_is_a_time() -> None:
    texts = ["cancel", "finish", "keep 30", "keep 0", "keep", "Keep 30", "keep 1e3", ""]
    assert [*map(parse_on_disconnect, texts)] == [0, math.inf, 30, 0, None, None, None, None]


def test_one_process_uses_what_is_stored_within_it() -> None:
    assert RelayConfig(log="memory").is_embedded
    assert RelayConfig(data=pathlib.Path("a")).is_embedded
    assert not RelayConfig(log="nats://a").is_embedded
