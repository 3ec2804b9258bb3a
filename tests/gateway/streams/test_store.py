"""Streams on a log: restarts, several gateways on one log, and what crashes leave behind."""

import asyncio
import dataclasses
import pathlib
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire.errors import OverloadError, Reason, ResponseError
from mistralwire.gateway._streams import _store
from mistralwire.gateway._streams._requests import Creation
from mistralwire.gateway._streams._store import StreamStore
from mistralwire.gateway._streams._stream import Appending, Fork, Producer, StreamError, StreamState
from mistralwire.log import MemoryLog, Opening, ResponseLog, SqliteLog
from tests.log.conftest import nats_log
from tests.log.nats_servers import NatsServer, running

PLAIN = Creation(
    content_type="text/plain",
    ttl_s=None,
    expires_at=None,
    deadline_s=None,
    is_closed=False,
    source=None,
    offset=None,
    sub_offset=0,
)
JSON = dataclasses.replace(PLAIN, content_type="application/json")


def fork_of(source: str, offset: int | None = None, sub_offset: int = 0) -> Creation:
    return dataclasses.replace(PLAIN, content_type="", source=source, offset=offset, sub_offset=sub_offset)


def appending(
    *contents: bytes,
    media_type: str = "text/plain",
    is_closing: bool = False,
    writer_seq: str | None = None,
    producer: Producer | None = None,
) -> Appending:
    return Appending(
        media_type=media_type,
        contents=[*contents],
        is_closing=is_closing,
        writer_seq=writer_seq,
        producer=producer,
    )


async def contents_of(store: StreamStore, name: str, owner: str = "") -> list[bytes]:
    found = await store.find(owner, name)
    contents: list[bytes] = []
    after = 0
    while after < found.tail:
        piece = await store.read(found, after)
        contents += piece.contents
        after = piece.last
    return contents


async def status_of(store: StreamStore, name: str, owner: str = "") -> int:
    try:
        await store.find(owner, name)
    except StreamError as error:
        return error.status
    return 200


async def idle(store: StreamStore) -> None:
    """Wait for what the store does by itself."""
    while store._tasks:
        await asyncio.wait(store._tasks)


@pytest.fixture
async def log() -> AsyncIterator[MemoryLog]:
    made = MemoryLog()
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def store(log: MemoryLog) -> StreamStore:
    return StreamStore(log, None)


async def test_a_restart_keeps_everything(tmp_path: pathlib.Path) -> None:
    first = SqliteLog(tmp_path)
    await first.start()
    store = StreamStore(first, None)
    await store.create("o", "a", dataclasses.replace(JSON, ttl_s=3600), b"[1,2,3]")
    producer = Producer("p", 4, 0)
    request = appending(b"4", media_type="application/json", writer_seq="b", producer=producer)
    await store.append("o", "a", request)
    await store.create("o", "fork", fork_of("a", 2), b"[5]")
    await store.delete("o", "a")
    await store.create("o", "closed", PLAIN, b"x")
    closing = appending(b"y", is_closing=True, producer=producer)
    await store.append("o", "closed", closing)
    await store.create("o", "b", JSON, b"1")
    await store.append("o", "b", request)
    await first.close()

    second = SqliteLog(tmp_path)
    await second.start()
    store = StreamStore(second, None)
    assert await contents_of(store, "fork", "o") == [b"1", b"2", b"5"]
    assert (await store.find("o", "fork")).state.ttl_s == 3600
    assert await status_of(store, "a", "o") == 410
    assert await store.append("o", "b", request) == (await store.find("o", "b"), True)
    with pytest.raises(StreamError, match="epoch 4 or a later one") as raised:
        await store.append("o", "b", dataclasses.replace(request, producer=Producer("p", 3, 1)))
    assert raised.value.headers == {"producer-epoch": "4"}
    with pytest.raises(StreamError, match="Stream-Seq above the last one"):
        await store.append("o", "b", dataclasses.replace(request, producer=None, writer_seq="a"))
    assert (await store.append("o", "closed", closing))[1]
    with pytest.raises(StreamError, match="found a closed one"):
        await store.append("o", "closed", appending(b"z"))
    await store.delete("o", "fork")
    assert await status_of(store, "a", "o") == 404
    await second.close()


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running(NatsServer(tmp_path_factory.mktemp("nats"))) as server:
        yield server


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.process)])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[list[StreamStore]]:
    """Two gateways on one log: in NATS, each with a connection of its own."""
    if request.param == "nats":
        server, stream = request.getfixturevalue("nats_server"), f"s{secrets.token_hex(8)}"
        logs: list[ResponseLog] = [nats_log(server, stream) for _ in range(2)]
    else:
        logs = [MemoryLog()] * 2
    for log in logs:
        await log.start()
    yield [StreamStore(log, None) for log in logs]
    for log in logs:
        await log.close()


async def test_gateways_know_many_producers_with_long_ids(stores: list[StreamStore]) -> None:
    ids = [str(number).rjust(256, "x") for number in range(1000)]
    await stores[0].create("", "a", PLAIN, b"")
    await stores[0].append("", "a", appending(b"x", producer=Producer(ids[0], 0, 0)))
    found = await stores[0].find("", "a")
    producers = dict.fromkeys(ids, found.state.producers[ids[0]])
    assert await stores[0]._change(found, dataclasses.replace(found.state, producers=producers)) is not None
    for store in stores:
        assert (await store.append("", "a", appending(b"x", producer=Producer(ids[0], 0, 0))))[1]
    await stores[1].append("", "a", appending(b"y" * 700_000, producer=Producer(ids[-1], 0, 1)))
    assert await contents_of(stores[0], "a") == [b"x", b"y" * 700_000]


@pytest.mark.process
async def test_a_message_that_is_too_large_leaves_its_path_free(nats_server: NatsServer) -> None:
    log = nats_log(nats_server)
    await log.start()
    store = StreamStore(log, None)
    with pytest.raises(ResponseError) as caught:
        await store.create("o", "a", JSON, b'["%s"]' % (b"x" * 1_100_000))
    assert caught.value.reason == Reason.EVENT_TOO_LARGE
    assert (await store.create("o", "a", JSON, b"[1]"))[1]
    assert await contents_of(store, "a", "o") == [b"1"]
    await log.close()


async def test_gateways_append_to_one_stream(stores: list[StreamStore]) -> None:
    await stores[0].create("", "a", PLAIN, b"")

    async def produce(number: int) -> None:
        for seq in range(10):
            request = appending(b"%d.%d" % (number, seq), producer=Producer(str(number), 0, seq))
            # A retry after a timeout goes to the other gateway, perhaps before the first has ended.
            await asyncio.gather(*(store.append("", "a", request) for store in stores))

    await asyncio.gather(*map(produce, range(4)))
    contents = await contents_of(stores[1], "a")
    assert len(contents) == 40
    for number in range(4):
        own = [content for content in contents if content.startswith(b"%d." % number)]
        assert own == [b"%d.%d" % (number, seq) for seq in range(10)]


async def test_gateways_create_one_stream(stores: list[StreamStore]) -> None:
    for name in map(str, range(5)):
        made = await asyncio.gather(*(store.create("", name, PLAIN, b"first") for store in stores * 2))
        assert sorted(is_new for _, is_new in made) == [False, False, False, True]
        assert await contents_of(stores[0], name) == [b"first"]


async def test_a_source_is_deleted_while_it_is_forked(stores: list[StreamStore]) -> None:
    for name in map(str, range(5)):
        await stores[0].create("", name, PLAIN, b"x")
        made, deleted = await asyncio.gather(
            stores[0].create("", f"fork{name}", fork_of(name), b"y"),
            stores[1].delete("", name),
            return_exceptions=True,
        )
        assert deleted is None
        if isinstance(made, BaseException):
            assert isinstance(made, StreamError)
            assert await status_of(stores[0], f"fork{name}") == 404
            assert await status_of(stores[0], name) == 404
        else:
            assert await contents_of(stores[1], f"fork{name}") == [b"x", b"y"]
            assert await status_of(stores[0], name) == 410


async def test_a_fork_that_a_crash_has_prevented_keeps_no_source(
    log: MemoryLog, store: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.create("", "a", PLAIN, b"x")
    found = await store.find("", "a")
    never = Fork("//never", "token", int(time.time()))
    assert await store._change(found, dataclasses.replace(found.state, forks=(never,)))
    await store.delete("", "a")
    # Somebody may be creating it now.
    assert await status_of(store, "a") == 410
    monkeypatch.setattr(_store, "_CREATION_S", 0)
    monkeypatch.setattr(_store, "_EXPIRY_SWEEP_S", 0)
    await store.create("", "b", PLAIN, b"x")
    await idle(store)
    assert await status_of(store, "a") == 404
    assert await log.describe("//a") is None


async def test_a_deletion_that_a_crash_has_cut_short_is_finished(log: MemoryLog, store: StreamStore) -> None:
    await store.create("", "a", PLAIN, b"x")
    found = await store.find("", "a")
    assert await store._change(found, dataclasses.replace(found.state, is_gone=True)) is not None
    assert (await store.create("", "a", JSON, b"[1]"))[1]
    assert await contents_of(store, "a") == [b"1"]


async def test_a_creation_that_a_crash_has_cut_short_can_be_repeated(
    log: MemoryLog, store: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = StreamState(content_type="text/plain", token="t", used_s=time.time(), is_ready=False)
    await log.open(Opening(id="//a", space="stream", state=state.encode()))
    assert await status_of(store, "a") == 404
    with pytest.raises(OverloadError, match="retry"):
        await store.create("", "a", PLAIN, b"x")
    monkeypatch.setattr(_store, "_CREATION_S", 0)
    assert (await store.create("", "a", PLAIN, b"x"))[1]
    assert await contents_of(store, "a") == [b"x"]


async def test_a_change_ends_though_its_caller_has_gone(store: StreamStore) -> None:
    await store.create("", "a", PLAIN, b"x")
    creating = asyncio.create_task(store.create("", "b", fork_of("a"), b"y"))
    await asyncio.sleep(0)
    creating.cancel()
    await asyncio.wait([creating])
    await idle(store)
    assert await contents_of(store, "b") == [b"x", b"y"]


async def test_reads_renew_a_stream_without_a_write_each(log: MemoryLog, store: StreamStore) -> None:
    await store.create("", "a", dataclasses.replace(PLAIN, ttl_s=1000), b"x")
    found = await store.find("", "a")
    await store.renew(found)
    assert (await store.find("", "a")).record.revision == found.record.revision

    await store._change(found, dataclasses.replace(found.state, used_s=time.time() - 900))
    await store.renew(await store.find("", "a"))
    assert time.time() - (await store.find("", "a")).state.used_s < 60
    assert (await store.find("", "a")).tail == 1


async def test_what_has_expired_is_swept_though_nobody_asks_for_it(
    log: MemoryLog, store: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in map(str, range(150)):
        await store.create("", name, dataclasses.replace(PLAIN, ttl_s=100), b"x")
    await store.create("", "kept", PLAIN, b"x")
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + 200)
    monkeypatch.setattr(_store, "_EXPIRY_SWEEP_S", 0)
    await store.append("", "kept", appending(b"y"))
    await idle(store)
    assert (await log.usage("", "stream")).total == 1


async def test_streams_belong_to_their_callers(store: StreamStore) -> None:
    await store.create("o", "a", PLAIN, b"x")
    assert await status_of(store, "a") == 404
    assert await status_of(store, "a", "p") == 404
    with pytest.raises(StreamError, match="Stream-Forked-From"):
        await store.create("p", "b", fork_of("a"), b"")


async def test_callers_have_limits(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    store = StreamStore(log, 10)
    await store.create("o", "a", PLAIN, b"12345")
    for _ in range(2):
        with pytest.raises(OverloadError, match="at their limit of 10 bytes; delete some") as raised:
            await store.append("o", "a", appending(b"123456"))
        assert raised.value.reason == Reason.TOO_MANY_STORED_BYTES
    await store.create("p", "a", PLAIN, b"12345")
    monkeypatch.setattr(_store, "_STREAMS_MAX", 1)
    with pytest.raises(OverloadError, match="limit of 1 streams"):
        await store.create("p", "b", PLAIN, b"")
    await store.delete("p", "a")
    assert (await store.create("p", "b", PLAIN, b""))[1]


async def test_a_burst_makes_as_many_streams_as_its_caller_may(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SqliteLog(tmp_path)
    await log.start()
    store = StreamStore(log, None)
    monkeypatch.setattr(_store, "_STREAMS_MAX", 2)
    # What is being made counts although the log does not have it.
    monkeypatch.setattr(_store, "_USAGE_S", -1)
    creations = [store.create("p", str(number), PLAIN, b"x") for number in range(5)]
    outcomes = await asyncio.gather(*creations, return_exceptions=True)
    assert [isinstance(each, OverloadError) for each in outcomes].count(True) == 3
    assert (await log.usage("p", "stream")).total == 2
    await log.close()


async def test_what_was_refused_takes_no_room(log: ResponseLog) -> None:
    store = StreamStore(log, 10)
    await store.create("o", "a", PLAIN, b"12345")
    with pytest.raises(OverloadError):
        await store.append("o", "a", appending(b"123456"))
    await store.append("o", "a", appending(b"12345"))


async def test_producers_have_a_limit(store: StreamStore) -> None:
    await store.create("", "a", PLAIN, b"")
    found = await store.find("", "a")
    first = appending(b"x", producer=Producer("0", 0, 0))
    await store.append("", "a", first)
    found = await store.find("", "a")
    old = found.state.producers["0"]
    for used_s, is_refused in ((old.used_s, True), (0, False)):
        producers = {str(number): old._replace(used_s=used_s) for number in range(1000)}
        changed = await store._change(
            await store.find("", "a"), dataclasses.replace(found.state, producers=producers)
        )
        assert changed is not None
        # Those that are known go on.
        await store.append("", "a", appending(b"y", producer=Producer("999", 0, 1)))
        another = appending(b"z", producer=Producer("another", 0, 0))
        if is_refused:
            with pytest.raises(StreamError, match="at most 1000 producers"):
                await store.append("", "a", another)
        else:
            await store.append("", "a", another)
    assert {*(await store.find("", "a")).state.producers} == {"999", "another"}


async def test_a_stream_has_a_limit_of_forks(store: StreamStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_store, "_FORKS_MAX", 2)
    monkeypatch.setattr(_store, "_SEGMENTS_MAX", 2)
    await store.create("", "a", PLAIN, b"x")
    await store.create("", "b", fork_of("a"), b"y")
    await store.create("", "c", fork_of("b"), b"y")
    await store.create("", "d", fork_of("a"), b"y")
    with pytest.raises(StreamError, match="at most 2 forks of a stream"):
        await store.create("", "e", fork_of("a"), b"")
    with pytest.raises(StreamError, match="at most 2 forks of forks"):
        await store.create("", "e", fork_of("c"), b"")
    await store.delete("", "d")
    await store.create("", "e", fork_of("a"), b"")


async def test_a_refused_fork_leaves_nothing(store: StreamStore) -> None:
    await store.create("", "a", PLAIN, b"abc")
    await store.create("", "b", JSON, b"")
    for creation, match in (
        (fork_of("a", 0, 4), "at most 3 bytes"),
        (fork_of("a", 1, 1), "at most 0 bytes"),
        (fork_of("a", 2), "up to 0000000000000000_0000000000000001"),
        (fork_of("b", 0, 1), "at most 0 messages"),
        (dataclasses.replace(fork_of("a"), content_type="application/json"), "the type of the source"),
    ):
        with pytest.raises(StreamError, match=match):
            await store.create("", "c", creation, b"")
    with pytest.raises(StreamError, match="expected JSON"):
        await store.create("", "c", fork_of("b"), b"{")
    assert (await store.find("", "b")).state.forks == ()
    await store.delete("", "a")
    assert await status_of(store, "a") == 404


async def test_a_follower_sees_what_follows_and_the_end(store: StreamStore) -> None:
    await store.create("", "a", PLAIN, b"x")
    await store.create("", "b", fork_of("a"), b"y")
    pieces = store.follow(await store.find("", "b"), 2)
    following = asyncio.ensure_future(anext(pieces))
    await store.append("", "a", appending(b"not for the fork"))
    await store.append("", "b", appending(b"z", is_closing=True))
    assert await following == ([b"z"], 3, True)
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)


@pytest.mark.parametrize("has_fork", [False, True])
async def test_a_follower_ends_with_its_stream(store: StreamStore, *, has_fork: bool) -> None:
    await store.create("", "a", PLAIN, b"x")
    if has_fork:
        await store.create("", "b", fork_of("a"), b"")

    async def follow() -> Sequence[object]:
        return [piece async for piece in store.follow(await store.find("", "a"), 1)]

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    await store.delete("", "a")
    assert await following == []


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 9), st.integers(1, 3)),
        st.tuples(st.just("fork"), st.integers(0, 9), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.integers(0, 9), st.just(0)),
    ),
    max_size=30,
)


@given(STEPS, st.booleans())
def test_a_tree_of_forks_is_like_copies(steps: list[tuple[str, int, int]], is_json: bool) -> None:
    async def run() -> None:
        log = MemoryLog()
        store = StreamStore(log, None)
        root = JSON if is_json else PLAIN
        await store.create("", "0", root, b"")
        # What each stream holds; None once it was deleted.
        model: list[list[bytes] | None] = [[]]
        made = 0
        for step, which, number in steps:
            name = str(which % len(model))
            expected = model[which % len(model)]
            if expected is None:
                assert await status_of(store, name) in (404, 410)
            elif step == "append":
                new = [b"%d" % (made + index) for index in range(number)]
                made += number
                await store.append("", name, appending(*new, media_type=root.content_type))
                expected += new
            elif step == "fork":
                offset = min(number, len(expected))
                await store.create("", str(len(model)), fork_of(name, offset), b"")
                model.append(expected[:offset])
            else:
                await store.delete("", name)
                model[which % len(model)] = None
        kept = {str(number): expected for number, expected in enumerate(model) if expected is not None}
        for name, expected in kept.items():
            assert await contents_of(store, name) == expected
        for name in reversed(kept):
            await store.delete("", name)
        assert (await log.usage("", "stream")).total == 0

    asyncio.run(run())
