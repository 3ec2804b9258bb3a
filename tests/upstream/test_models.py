"""The models of several routes: merged, asked for once in a while, and kept where an upstream fails."""

import asyncio
import gzip
import json
import logging
from typing import Any

import orjson
import pytest

from mistralwire.errors import UpstreamError
from mistralwire.upstream import DEMONSTRATION, Key, MistralUpstream, ModelCatalog, ReplayUpstream, Route
from mistralwire.upstream._http1._exchange import PIECE_BYTES_MAX, Inflater
from mistralwire.upstream._models import LIST_BYTES_MAX
from tests.upstream_server import STALL, Answer, UpstreamServer, json_answer

FULL = {
    "id": "mistral-a",
    "object": "model",
    "created": 1700000000,
    "owned_by": "mistralai",
    "type": "base",
    "capabilities": {"completion_chat": True},
    "aliases": ["mistral-latest"],
    "of_tomorrow": [1, None],
}
# What an upstream says of itself alone.
BARE = {"object": "model", "created": 0, "owned_by": "mistralai", "type": "base", "capabilities": {}}
FRESH, STALE, PAUSE = (f"mistralwire.upstream._models.{name}" for name in ("FRESH_S", "STALE_S", "_PAUSE_S"))


def listed(*models: Any) -> Answer:
    return json_answer(json.dumps({"object": "list", "data": models}).encode())


async def ids_of(catalog: ModelCatalog) -> list[str]:
    return [model["id"] for model in await catalog.models()]


async def test_names_without_wildcards_are_listed_without_asking() -> None:
    async with UpstreamServer() as server:
        upstream = MistralUpstream(server.url)
        catalog = ModelCatalog([Route("a", upstream, ("org/b", "a"))], names=["c"])
        assert await ids_of(catalog) == ["a", "c", "org/b"]
        assert await catalog.find("org/b") == {"id": "org/b", **BARE}
        await upstream.close()
    assert not server.received


async def test_a_list_of_an_upstream_is_passed_on_whole_with_what_the_sdks_require() -> None:
    sparse = {"id": "mistral-b", "created": None, "owned_by": "vllm", "max_model_len": 4096}
    others = [{"id": 5}, {"name": "x"}, "mistral-x", None, {"id": ""}, {"id": "codestral-a"}]
    async with UpstreamServer(listed(sparse, FULL, *others)) as server:
        upstream = MistralUpstream(server.url, key=Key("the-key", "a test"))
        catalog = ModelCatalog([Route("a", upstream, ("mistral-*", "named"))])
        models = await catalog.models()
        assert await catalog.find("mistral-latest") == FULL
        await upstream.close()
    filled = {**BARE, "id": "mistral-b", "owned_by": "vllm", "max_model_len": 4096}
    assert models == [FULL, filled, {"id": "named", **BARE}]
    [asked] = server.received
    assert (asked.method, asked.path) == ("GET", "/v1/models")
    assert asked.headers["authorization"] == "Bearer the-key"


async def test_a_model_that_can_not_be_written_takes_nothing_from_the_others() -> None:
    deep: Any = {}
    for _ in range(300):
        deep = [deep]
    async with UpstreamServer(listed({"id": "m", "of_tomorrow": deep}, FULL)) as server:
        upstream = MistralUpstream(server.url)
        models = await ModelCatalog([Route("a", upstream)]).models()
        await upstream.close()
    assert models == [FULL]
    assert orjson.dumps({"object": "list", "data": models})


async def test_lists_are_merged_once_and_again_where_one_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    async with UpstreamServer(listed(FULL), listed({**FULL, "aliases": ["new"]})) as server:
        upstream = MistralUpstream(server.url)
        route = Route("a", upstream)
        catalog = ModelCatalog([route])
        matched: list[str] = []
        matches = Route.matches

        def note(route: Route, name: str) -> bool:
            matched.append(name)
            return matches(route, name)

        monkeypatch.setattr(Route, "matches", note)
        for _ in range(3):
            assert await ids_of(catalog) == ["mistral-a"]
            assert await catalog.find("mistral-latest") == FULL
        assert matched == ["mistral-a"]
        monkeypatch.setattr(FRESH, 0.0)
        assert (await catalog.find("new"))["id"] == "mistral-a"
        await upstream.close()
    assert matched[:2] == ["mistral-a", "mistral-a"]


async def test_the_first_route_that_has_a_model_counts() -> None:
    one, other = ({**FULL, "id": "m", "owned_by": owner} for owner in ("one", "other"))
    async with UpstreamServer(listed(one)) as first, UpstreamServer(listed(other, FULL)) as second:
        upstreams = [MistralUpstream(server.url) for server in (first, second)]
        catalog = ModelCatalog([Route(str(n), upstream) for n, upstream in enumerate(upstreams)])
        assert await catalog.models() == [one, FULL]
        for upstream in upstreams:
            await upstream.close()


async def test_recordings_have_the_models_that_answered() -> None:
    catalog = ModelCatalog([Route("demonstration", ReplayUpstream(DEMONSTRATION))])
    assert await ids_of(catalog) == ["codestral-latest", "mistral-small-latest"]


async def test_a_list_is_asked_for_once_a_minute_by_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async with UpstreamServer(listed(FULL), listed(FULL, {**FULL, "id": "new"})) as server:
        upstream = MistralUpstream(server.url)
        catalog = ModelCatalog([Route("a", upstream)])
        assert await asyncio.gather(*(ids_of(catalog) for _ in range(20))) == [["mistral-a"]] * 20
        assert await ids_of(catalog) == ["mistral-a"]
        assert len(server.received) == 1
        monkeypatch.setattr(FRESH, 0.0)
        assert await ids_of(catalog) == ["mistral-a", "new"]
        await upstream.close()
    assert len(server.received) == 2


async def test_the_json_of_all_models_is_written_once_for_each_list(monkeypatch: pytest.MonkeyPatch) -> None:
    async with UpstreamServer(listed(FULL), listed({**FULL, "id": "new"})) as server:
        upstream = MistralUpstream(server.url)
        catalog = ModelCatalog([Route("a", upstream)])
        data = await catalog.models_json()
        assert json.loads(data) == {"object": "list", "data": [FULL]}
        assert await catalog.models_json() is data
        monkeypatch.setattr(FRESH, 0.0)
        assert json.loads(await catalog.models_json())["data"] == [{**FULL, "id": "new"}]
        await upstream.close()


async def test_a_caller_who_leaves_takes_the_list_from_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async with UpstreamServer(
        Answer(200, {"content-type": "application/json"}, [0.3, b'{"data": []}'])
    ) as server:
        upstream = MistralUpstream(server.url)
        catalog = ModelCatalog([Route("a", upstream)])
        leaving, staying = (asyncio.create_task(catalog.models()) for _ in range(2))
        await asyncio.wait_for(server.arrived.wait(), 30)
        leaving.cancel()
        assert await staying == []
        await upstream.close()
    assert len(server.received) == 1


BROKEN = {
    "an error": json_answer(b'{"message": "no"}', 500),
    "no JSON": json_answer(b"<html>"),
    "no list": json_answer(b'{"data": {}}'),
    "a redirect": Answer(302, {"location": "http://127.0.0.1:1/", "content-length": "0"}),
    "too much": json_answer(b"[" + b" " * (4 * 1024 * 1024) + b"]"),
    "a key refused": json_answer(b'{"message": "the key sk-123456789012345678901234"}', 401),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_the_list_from_before_is_used_where_a_new_one_can_not_be_had(
    broken: Answer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FRESH, 0.0)
    async with UpstreamServer(listed(FULL), broken, broken, listed()) as server:
        upstream = MistralUpstream(server.url)
        catalog = ModelCatalog([Route("a", upstream)])
        assert await ids_of(catalog) == ["mistral-a"]
        with caplog.at_level(logging.WARNING):
            # One that has just failed is not asked again.
            for _ in range(3):
                assert await ids_of(catalog) == ["mistral-a"]
        assert len(server.received) == 2
        (line,) = [record.getMessage() for record in caplog.records if record.name.endswith("_models")]
        assert line.startswith("a: could not list the models of the upstream: ")
        monkeypatch.setattr(PAUSE, 0.0)
        monkeypatch.setattr(STALE, 0.0)
        with pytest.raises(UpstreamError):
            await catalog.models()
        # It has recovered.
        assert await ids_of(catalog) == []
        await upstream.close()


async def test_an_upstream_that_fails_takes_nothing_from_the_others() -> None:
    async with UpstreamServer(BROKEN["an error"]) as broken, UpstreamServer(listed(FULL)) as server:
        upstreams = [MistralUpstream(each.url) for each in (broken, server)]
        catalog = ModelCatalog(
            [Route("a", upstreams[0], ("named", "*")), Route("b", upstreams[1])], names=["other"]
        )
        assert await ids_of(catalog) == ["mistral-a", "named", "other"]
        assert (await catalog.find("named"))["id"] == "named"
        # It may be one of the upstream that failed.
        with pytest.raises(UpstreamError) as caught:
            await catalog.find("unheard-of")
        assert caught.value.status == 500
        for upstream in upstreams:
            await upstream.close()


async def test_a_mistake_of_a_programs_own_upstream_takes_nothing_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = "what nobody is to read"

    class Mistaken(ReplayUpstream):
        async def list_models(self) -> list[Any]:
            raise KeyError(text)

    mistaken = Route("mine", Mistaken(DEMONSTRATION), ("mine-*", "named"))
    assert await ids_of(ModelCatalog([mistaken], names=["other"])) == ["named", "other"]
    assert "listing the models of upstream mine ended with an unexpected KeyError" in caplog.text
    assert text not in caplog.text


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_an_upstream_without_a_list_has_the_models_that_its_route_names(status: int) -> None:
    async with UpstreamServer(json_answer(b"{}", status)) as server:
        upstream = MistralUpstream(server.url)
        catalog = ModelCatalog([Route("a", upstream, ("named", "*"))])
        assert await ids_of(catalog) == ["named"]
        with pytest.raises(UpstreamError) as caught:
            await catalog.find("unheard-of")
        assert (caught.value.code, caught.value.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")
        await upstream.close()


async def test_an_upstream_that_says_nothing_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mistralwire.upstream._models._LIST_S", 0.1)
    async with UpstreamServer(Answer(200, {}, [STALL])) as server:
        upstream = MistralUpstream(server.url)
        with pytest.raises(UpstreamError, match=r"none within 0\.1 s"):
            await ModelCatalog([Route("a", upstream)]).models()
        await asyncio.wait_for(server.gone.wait(), 30)
        await upstream.close()


@pytest.mark.slow
async def test_no_more_of_an_encoded_list_is_decoded_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded_bytes: list[int] = []
    read = Inflater.read

    def note(inflater: Inflater) -> bytes:
        piece = read(inflater)
        decoded_bytes.append(len(piece))
        return piece

    monkeypatch.setattr(Inflater, "read", note)
    bomb = gzip.compress(bytes(20 * LIST_BYTES_MAX), 9)
    async with UpstreamServer(json_answer(bomb, content_encoding="gzip")) as server:
        upstream = MistralUpstream(server.url)
        with pytest.raises(UpstreamError) as caught:
            await upstream.list_models()
        await upstream.close()
    assert caught.value.reason == "UPSTREAM_ANSWER_TOO_LARGE"
    assert sum(decoded_bytes) <= LIST_BYTES_MAX + PIECE_BYTES_MAX


async def test_a_long_list_is_cut() -> None:
    async with UpstreamServer(
        json_answer(json.dumps([{"id": f"m{n:05}"} for n in range(10_001)]).encode())
    ) as server:
        upstream = MistralUpstream(server.url)
        assert len(await upstream.list_models()) == 10_000
        await upstream.close()
