"""What every response log does."""

import asyncio
import time

import pytest

from mistralwire.errors import Reason, ResponseError
from mistralwire.log import Batch, KeyClaim, Opening, Query, ResponseLog, StoredResponse, Usage
from mistralwire.v1 import ResponseKind, ResponseState
from tests.log.exchanges import CANCELLED, FAILED, FINISHED, Follower, append, append_of, events, read


async def _described(log: ResponseLog, id: str) -> StoredResponse:
    found = await log.describe(id)
    assert found is not None
    return found


async def test_a_new_response_is_described_as_it_was_opened(log: ResponseLog) -> None:
    before = time.time()
    opening = Opening(
        id="a/1",
        owner="a",
        epoch=3,
        kind=ResponseKind.RESPONSE_KIND_FIM,
        is_published=True,
        model="m",
        state=b"s",
    )
    response = await log.open(opening)
    assert response == await log.describe("a/1")
    assert (response.id, response.owner, response.epoch, response.space) == ("a/1", "a", 3, "response")
    assert (response.kind, response.is_published) == (opening.kind, True)
    assert (response.model, response.state) == ("m", b"s")
    assert (response.last, response.size, response.end, response.ended_s) == (0, 0, None, None)
    assert (response.node, response.upstream_id) == (log.node, "")
    assert before - 1 <= response.created_s <= time.time() + 1
    assert response.response_state == ResponseState.RESPONSE_STATE_RUNNING


async def test_what_does_not_exist_is_none_or_not_found(log: ResponseLog) -> None:
    assert await log.describe("x") is None
    with pytest.raises(ResponseError) as caught:
        await log.read("x")
    assert caught.value.reason == Reason.RESPONSE_NOT_FOUND
    with pytest.raises(ResponseError) as caught:
        await append(log, "x", 1, "a")
    assert caught.value.reason == Reason.RESPONSE_NOT_FOUND
    with pytest.raises(ResponseError) as caught:
        await Follower(log, "x").ended()
    assert caught.value.reason == Reason.RESPONSE_NOT_FOUND
    with pytest.raises(ResponseError) as caught:
        await log.delete("x")
    assert caught.value.reason == Reason.RESPONSE_NOT_FOUND


@pytest.mark.parametrize("is_published", [False, True])
async def test_a_producer_does_not_take_over_a_response_of_a_call(
    log: ResponseLog, is_published: bool
) -> None:
    before = await log.open(Opening(id="r", is_published=is_published))
    with pytest.raises(ResponseError) as caught:
        await log.open(Opening(id="r", epoch=5, is_published=not is_published))
    assert caught.value.reason == Reason.RESPONSE_EXISTS
    assert await log.describe("r") == before
    assert await append(log, "r", 1, "a", end=FINISHED) == 1


async def test_a_new_response_must_not_exist_if_that_is_the_condition(log: ResponseLog) -> None:
    await log.open(Opening(id="r", is_new=True))
    with pytest.raises(ResponseError) as caught:
        await log.open(Opening(id="r", is_new=True))
    assert caught.value.reason == Reason.RESPONSE_EXISTS


async def test_batches_keep_their_bytes_and_numbers(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    assert await append(log, "r", 1, "a", "b") == 2
    assert await append(log, "r", 3, "c") == 3
    assert await log.read("r") == [Batch(1, 2, 0, events("a", "b")), Batch(3, 3, 0, events("c"))]
    assert await log.read("r", 2) == [Batch(3, 3, 0, events("c"))]
    assert (await log.read("r", 1))[-1].last == 3
    assert await log.read("r", 3) == []
    response = await _described(log, "r")
    assert (response.last, response.size) == (3, len(events("a", "b", "c")))


async def test_a_read_is_bounded_but_returns_one_batch_at_least(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    for number in range(1, 5):
        await append(log, "r", number, "x" * 100)
    size = len(events("x" * 100))
    assert [batch.first for batch in await log.read("r", 0, 2 * size)] == [1, 2]
    assert [batch.first for batch in await log.read("r", 1, 1)] == [2]


async def test_many_appends_of_one_call_are_stored_in_order(log: ResponseLog) -> None:
    for name in "rs":
        await log.open(Opening(id=name))
    appends = [append_of(name, first, f"{name}{first}") for first in range(1, 51) for name in "rs"]
    log.append([made for made, _ in appends])
    assert [await future for _, future in appends] == [first for first in range(1, 51) for _ in "rs"]
    for name in "rs":
        assert await read(log, name) == [f"{name}{first}" for first in range(1, 51)]


async def test_what_is_sent_again_is_stored_once(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    for _ in range(2):
        assert await append(log, "r", 1, "a", "b") == 2
    revision = (await _described(log, "r")).revision
    assert await append(log, "r", 1, "a") == 2
    assert (await _described(log, "r")).revision == revision
    assert await append(log, "r", 2, "b", "c", "d") == 4
    assert await read(log, "r") == ["a", "b", "c", "d"]
    assert (await _described(log, "r")).size == len(events("a", "b", "c", "d"))


async def test_a_gap_is_refused_with_the_number_that_is_expected(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    await append(log, "r", 1, "a")
    with pytest.raises(ResponseError) as caught:
        await append(log, "r", 3, "c")
    error = caught.value
    assert (error.code, error.reason) == ("OUT_OF_RANGE", Reason.SEQUENCE_GAP)
    assert error.metadata == {"expected_sequence": "2"}
    assert await read(log, "r") == ["a"]


async def test_a_refused_append_does_not_hold_up_those_around_it(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    appends = [append_of("r", 1, "a"), append_of("r", 9, "z"), append_of("x", 1, "z"), append_of("r", 2, "b")]
    log.append([made for made, _ in appends])
    outcomes = await asyncio.gather(*(future for _, future in appends), return_exceptions=True)
    assert [getattr(outcome, "reason", outcome) for outcome in outcomes] == [
        1,
        Reason.SEQUENCE_GAP,
        Reason.RESPONSE_NOT_FOUND,
        2,
    ]
    assert await read(log, "r") == ["a", "b"]


async def test_a_callback_that_fails_does_not_keep_the_others_from_theirs(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def fail(last: int, error: Exception | None) -> None:
        raise ZeroDivisionError(last)

    first, _ = append_of("r", 1, "a")
    first.on_done = fail
    second, stored = append_of("r", 2, "b")
    log.append([first, second])
    async with asyncio.timeout(10):
        assert await stored == 2
    assert [repr(failure) for failure in failures] == ["ZeroDivisionError(1)"]


async def test_a_higher_epoch_takes_over_and_shuts_out_the_lower_one(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    await append(log, "r", 1, "a")
    taken = await log.open(Opening(id="r", epoch=2, model="other"))
    assert (taken.epoch, taken.last, taken.model) == (2, 1, "")
    for made in (append(log, "r", 2, "b"), log.open(Opening(id="r", epoch=1))):
        with pytest.raises(ResponseError) as caught:
            await made
        assert (caught.value.code, caught.value.reason) == ("ABORTED", Reason.STALE_EPOCH)
        assert caught.value.metadata == {"epoch": "2"}
    assert await append(log, "r", 2, "B", epoch=2) == 2
    assert await read(log, "r") == ["a", "B"]
    assert [batch.epoch for batch in await log.read("r")] == [0, 2]


async def test_an_append_takes_over_at_the_expected_event_alone(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    await append(log, "r", 1, "a")
    with pytest.raises(ResponseError) as caught:
        await append(log, "r", 1, "a", "b", epoch=1)
    assert caught.value.reason == Reason.SEQUENCE_GAP
    assert await append(log, "r", 2, epoch=1, end=FAILED) == 1
    response = await _described(log, "r")
    assert (response.epoch, response.end) == (1, FAILED)


async def test_the_end_comes_with_the_last_events_and_is_final(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    await append(log, "r", 1, "a", "b", end=FINISHED)
    response = await _described(log, "r")
    assert (response.end, response.last) == (FINISHED, 2)
    assert response.ended_s is not None
    assert response.ended_s >= response.created_s
    assert await append(log, "r", 1, "a", "b", end=FINISHED) == 2
    assert await append(log, "r", 3, end=FINISHED) == 2
    for texts, end in ((("c",), None), ((), CANCELLED)):
        with pytest.raises(ResponseError) as caught:
            await append(log, "r", 3, *texts, end=end)
        assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", Reason.RESPONSE_ENDED)
    assert await log.open(Opening(id="r", epoch=9)) == response


async def test_state_model_and_upstream_id_are_stored_with_an_append(log: ResponseLog) -> None:
    await log.open(Opening(id="r", owner="o"))
    await append(log, "r", 1, "a", upstream_id="up", model="m", state=b"1")
    await append(log, "r", 2, "b", upstream_id="other", model="other")
    response = await _described(log, "r")
    assert (response.upstream_id, response.model, response.state) == ("up", "m", b"1")
    assert await log.list(Query(owner="o")) == [response]
    await log.open(Opening(id="named", model="n"))
    await append(log, "named", 1, "a", model="other")
    assert (await _described(log, "named")).model == "n"
    assert await log.find("o", "up") == "r"
    assert await log.find("o", "other") is None
    assert await log.find("p", "up") is None
    assert await log.find("o", "") is None


async def test_the_newest_of_an_upstreams_id_is_found(log: ResponseLog) -> None:
    for name in "ab":
        await log.open(Opening(id=name, owner="o"))
        await append(log, name, 1, "a", upstream_id="up", end=FINISHED)
    assert await log.find("o", "up") == "b"
    await log.delete("b")
    assert await log.find("o", "up") == "a"
    await log.delete("a")
    assert await log.find("o", "up") is None


async def test_an_append_fails_if_the_revision_is_another(log: ResponseLog) -> None:
    revision = (await log.open(Opening(id="r"))).revision
    await append(log, "r", 1, "a", revision=revision, state=b"1")
    with pytest.raises(ResponseError) as caught:
        await append(log, "r", 2, "b", revision=revision)
    assert (caught.value.code, caught.value.reason) == ("ABORTED", Reason.LOG_CONFLICT)
    assert (await _described(log, "r")).revision > revision


async def test_followers_get_what_is_stored_and_what_comes(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    await append(log, "r", 1, "a", "b")
    followers = [Follower(log, "r", after) for after in (0, 1, 2)]
    await followers[0].has("a", "b")
    await append(log, "r", 3, "c")
    for after, follower in enumerate(followers):
        await follower.has(*"abc"[after:])
        assert follower.end is None
    await append(log, "r", 4, "d", end=FINISHED)
    for after, follower in enumerate(followers):
        assert await follower.ended() == list("abcd"[after:])
        assert follower.end == FINISHED


async def test_a_follower_of_an_ended_response_replays_it(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    await append(log, "r", 1, "a", "b", "c")
    await append(log, "r", 4, end=CANCELLED)
    for after in range(4):
        follower = Follower(log, "r", after)
        assert await follower.ended() == list("abc"[after:])
        assert follower.end == CANCELLED
    with pytest.raises(ResponseError) as caught:
        await Follower(log, "r", 4).ended()
    assert (caught.value.code, caught.value.reason) == ("DATA_LOSS", Reason.RESPONSE_TRUNCATED)
    assert caught.value.metadata == {"last_sequence": "3"}


async def test_a_follower_beyond_the_last_event_waits_for_it(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    follower = Follower(log, "r", 2)
    await append(log, "r", 1, "a", "b")
    await append(log, "r", 3, "c", end=FINISHED)
    assert await follower.ended() == ["c"]


async def test_a_follower_far_behind_is_not_given_more_than_it_can_hold(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    text = "x" * 100_000
    follower = Follower(log, "r")
    for number in range(1, 31):
        await append(log, "r", number, text, end=FINISHED if number == 30 else None)
    assert await follower.ended() == [text] * 30
    async for batches, _ in log.follow("r"):
        assert sum(len(batch.data) for batch in batches) <= 1024 * 1024


async def test_cancelled_followers_leave_the_others_alone(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    followers = [Follower(log, "r") for _ in range(3)]
    await append(log, "r", 1, "a")
    for follower in followers:
        await follower.has("a")
    await followers[1].stop()
    await append(log, "r", 2, "b", end=FINISHED)
    assert [await follower.ended() for follower in followers[::2]] == [["a", "b"]] * 2


async def test_followers_of_a_deleted_response_end_and_its_id_begins_anew(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    follower = Follower(log, "r")
    await append(log, "r", 1, "a")
    await follower.has("a")
    await log.delete("r")
    await log.open(Opening(id="r"))
    again = Follower(log, "r")
    with pytest.raises(ResponseError) as caught:
        await follower.ended()
    assert caught.value.reason == Reason.RESPONSE_NOT_FOUND
    assert await append(log, "r", 1, "b", end=FINISHED) == 1
    assert await again.ended() == ["b"]
    assert await read(log, "r") == ["b"]


async def test_a_new_response_is_followed_while_somebody_has_not_noticed_that_the_old_one_is_deleted(
    log: ResponseLog,
) -> None:
    await log.open(Opening(id="r"))
    await append(log, "r", 1, "a")
    deliveries = log.follow("r")
    assert (await anext(deliveries)).batches == [Batch(1, 1, 0, events("a"))]
    await log.delete("r")
    await log.open(Opening(id="r"))
    await append(log, "r", 1, "b", end=FINISHED)
    assert await Follower(log, "r").ended() == ["b"]
    with pytest.raises(ResponseError) as caught:
        await anext(deliveries)
    assert caught.value.reason == Reason.RESPONSE_NOT_FOUND


async def test_a_closed_log_ends_its_followers(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    follower = Follower(log, "r")
    await append(log, "r", 1, "a")
    await follower.has("a")
    await log.close()
    with pytest.raises(ResponseError) as caught:
        await follower.ended()
    assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", Reason.LOG_UNAVAILABLE)


async def test_deleting_takes_events_keys_and_bytes(log: ResponseLog) -> None:
    for name, end in (("r", None), ("s", FINISHED)):
        await log.open(Opening(id=name, owner="o"))
        await append(log, name, 1, "abc", end=end)
        await log.claim_key("o", f"key of {name}", b"d", name)
    assert await log.usage("o") == Usage(1, 2 * len(events("abc")), 2)
    for name in "rs":
        await log.delete(name)
        assert await log.describe(name) is None
        assert (await log.claim_key("o", f"key of {name}", b"d", "t")).is_new
    assert await log.usage("o") == Usage(0, 0, 0)


async def test_a_response_is_deleted_as_it_was_read_if_that_is_the_condition(log: ResponseLog) -> None:
    read_as = await log.open(Opening(id="r"))
    await append(log, "r", 1, "a")
    with pytest.raises(ResponseError) as caught:
        await log.delete("r", revision=read_as.revision)
    assert (caught.value.code, caught.value.reason) == ("ABORTED", Reason.LOG_CONFLICT)
    stored = await log.describe("r")
    assert stored is not None
    await log.delete("r", revision=stored.revision)
    assert await log.describe("r") is None


async def test_a_key_belongs_to_whoever_claims_it_first(log: ResponseLog) -> None:
    assert await log.claim_key("o", "k", b"1", "r") == KeyClaim("r", b"1", is_new=True)
    assert await log.claim_key("o", "k", b"2", "s") == KeyClaim("r", b"1", is_new=False)
    assert await log.claim_key("p", "k", b"2", "s") == KeyClaim("s", b"2", is_new=True)
    await log.release_key("o", "k", "s")
    assert not (await log.claim_key("o", "k", b"2", "s")).is_new
    await log.release_key("o", "k", "r")
    assert await log.claim_key("o", "k", b"2", "s") == KeyClaim("s", b"2", is_new=True)


async def test_what_an_owner_has_is_counted_by_space(log: ResponseLog) -> None:
    for name, owner in (("a", "o"), ("b", "o"), ("c", "p")):
        await log.open(Opening(id=name, owner=owner))
        await append(log, name, 1, "xyz", end=FINISHED if name == "b" else None)
    await log.open(Opening(id="d", owner="o", space="stream"))
    size = len(events("xyz"))
    assert await log.usage("o") == Usage(1, 2 * size, 2)
    assert await log.usage("p") == Usage(1, size, 1)
    assert await log.usage("o", "stream") == Usage(1, 0, 1)
    assert await log.usage("q") == Usage(0, 0, 0)


async def test_what_is_reserved_counts_once_until_it_is_open_or_not_wanted(log: ResponseLog) -> None:
    async def counted() -> tuple[int, int]:
        usage = await log.usage("o")
        return usage.running, usage.total

    for _ in range(3):
        log.reserve("a", "o")
    log.reserve("b", "o")
    assert await counted() == (2, 2)
    log.unreserve("a", "o")
    assert await counted() == (2, 2)
    await log.open(Opening(id="a", owner="o"))
    assert await counted() == (2, 2)
    for _ in range(2):
        log.unreserve("a", "o")
        log.unreserve("b", "o")
    log.reserve("a", "o")
    assert await counted() == (1, 1)
    log.unreserve("a", "o")
    assert await counted() == (1, 1)


async def _listed(log: ResponseLog, **query: object) -> list[str]:
    return [response.id for response in await log.list(Query(**query))]  # type: ignore[arg-type]


async def test_responses_are_listed_by_their_properties(log: ResponseLog) -> None:
    openings = [
        Opening(id="a", owner="o", model="m"),
        Opening(id="b", owner="o", model="n"),
        Opening(id="c", owner="o", model="m"),
        Opening(id="d", owner="p", model="m"),
        Opening(id="e", owner="o", space="stream"),
    ]
    for opening in openings:
        await log.open(opening)
    await append(log, "b", 1, "x", end=FAILED)
    await append(log, "c", 1, "x", end=FINISHED)
    assert await _listed(log) == ["d", "c", "b", "a"]
    assert await _listed(log, owner="o") == ["c", "b", "a"]
    assert await _listed(log, owner="o", oldest_first=True) == ["a", "b", "c"]
    assert await _listed(log, is_running=True) == ["d", "a"]
    assert await _listed(log, is_running=False) == ["c", "b"]
    assert await _listed(log, is_running=True, owner="o") == ["a"]
    assert await _listed(log, space="stream") == ["e"]
    assert await _listed(log, ended_before_s=time.time() + 60) == ["c", "b"]
    assert await _listed(log, ended_before_s=time.time() - 60, oldest_first=True) == []
    assert await _listed(log, owner="q") == []


async def test_pages_of_a_list_follow_each_other(log: ResponseLog) -> None:
    for name in "abcdefg":
        await log.open(Opening(id=name))
        if name in "bdf":
            await append(log, name, 1, "x", end=FINISHED)
    for oldest_first, expected in ((True, "abcdefg"), (False, "gfedcba")):
        after = None
        pages = []
        while page := await log.list(Query(limit=3, after=after, oldest_first=oldest_first)):
            pages.append("".join(response.id for response in page))
            after = (page[-1].created_s, page[-1].id)
        assert pages == [expected[:3], expected[3:6], expected[6:]]


async def test_folded_batches_are_read_and_followed_like_those_before(log: ResponseLog) -> None:
    await log.open(Opening(id="r", owner="o"))
    for number, text in enumerate("abcde", 1):
        await append(log, "r", number, text, end=FINISHED if text == "e" else None)
    await log.fold("r", [Batch(1, 3, 0, events(*"abc")), Batch(4, 5, 0, events(*"de"))])
    assert [(batch.first, batch.last) for batch in await log.read("r")] == [(1, 3), (4, 5)]
    for after in range(6):
        follower = Follower(log, "r", after)
        assert await follower.ended() == list("abcde"[after:])
        assert follower.end == FINISHED
    response = await _described(log, "r")
    assert (response.last, response.size) == (5, len(events(*"abcde")))
    assert await log.usage("o") == Usage(0, response.size, 1)
    await log.delete("r")
    assert await log.usage("o") == Usage(0, 0, 0)


async def test_batches_of_an_older_response_replace_none_of_a_new_one_with_its_id(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    await append(log, "r", 1, "a")
    await append(log, "r", 2, "b", end=FINISHED)
    old = await log.describe("r")
    assert old is not None
    batches = await log.read("r")
    await log.delete("r")
    await log.open(Opening(id="r"))
    await append(log, "r", 1, "new")
    with pytest.raises(ResponseError) as caught:
        await log.fold("r", batches, revision=old.revision)
    assert caught.value.reason == Reason.LOG_CONFLICT
    assert await read(log, "r") == ["new"]


async def test_only_this_node_is_alive_and_answers(log: ResponseLog) -> None:
    async def answer(request: bytes) -> bytes:
        return b"re: " + request

    assert await log.ask(log.node, b"?", 0.05) is None
    log.serve(answer)
    assert await log.ask(log.node, b"?", 5) == b"re: ?"
    assert await log.ask("other", b"?", 0.05) is None
    assert await log.is_alive(log.node)
    while await log.is_alive("other"):  # noqa: ASYNC110 - no event is for this
        # A log of many nodes waits for a sign of life.
        await asyncio.sleep(0.05)


async def test_who_does_not_answer_in_time_has_not_answered(log: ResponseLog) -> None:
    async def answer(request: bytes) -> bytes:
        return await asyncio.Future()

    log.serve(answer)
    assert await log.ask(log.node, b"?", 0.05) is None


async def test_thousands_of_followers_come_and_go(log: ResponseLog) -> None:
    await log.open(Opening(id="r"))
    for _ in range(3):
        followers = [Follower(log, "r") for _ in range(400)]
        await append(log, "r", 1, "a")
        for follower in followers:
            await follower.has("a")
        for follower in followers:
            await follower.stop()
    await append(log, "r", 2, "b", end=FINISHED)
    assert await Follower(log, "r").ended() == ["a", "b"]
