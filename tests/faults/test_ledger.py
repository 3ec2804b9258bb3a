"""The ledger sees what it is there to see."""

from tests.faults.ledger import Consumer, Ledger, content


def published(last: int, *, is_end: bool = False) -> tuple[Ledger, Consumer]:
    ledger = Ledger("a scenario")
    ledger.acknowledge("r", last, is_end=is_end)
    return ledger, ledger.consumer("r")


def events(first: int, last: int, *, epoch: int = 0) -> list[str]:
    return [content("r", epoch, number) for number in range(first, last + 1)]


def test_what_was_acknowledged_and_delivered_is_kept() -> None:
    ledger, consumer = published(3, is_end=True)
    consumer.got(1, events(1, 2))
    consumer.got(3, events(3, 3))
    consumer.has_ended = True
    result = ledger.check()
    assert (result.acknowledged, result.delivered) == (3, 3)


def test_an_event_whose_acknowledgement_is_lost_may_be_delivered() -> None:
    ledger, consumer = published(3)
    consumer.got(1, events(1, 4))
    ledger.check()


def test_a_missing_end_of_what_was_acknowledged_is_a_loss() -> None:
    ledger, consumer = published(3)
    consumer.got(1, events(1, 1))
    assert ledger.result().lost == 2


def test_a_reader_need_not_get_what_is_acknowledged_later() -> None:
    ledger, _ = published(1)
    ledger.consumers.clear()
    reader = ledger.reader("r")
    reader.got(1, events(1, 1))
    ledger.acknowledge("r", 2)
    ledger.check()
    ledger.reader("r").got(1, events(1, 1))
    assert ledger.result().lost == 1


def test_a_gap_is_a_loss() -> None:
    ledger, consumer = published(3)
    consumer.got(1, events(1, 1))
    consumer.got(3, events(3, 3))
    result = ledger.result()
    assert result.lost == 1
    assert result.violations == ["consumer 0 of r: 1 events are missing between others"]


def test_an_event_that_comes_again_is_doubled() -> None:
    ledger, consumer = published(3)
    consumer.got(1, events(1, 2))
    consumer.got(2, events(2, 3))
    result = ledger.result()
    assert (result.doubled, result.lost, result.delivered) == (1, 0, 3)


def test_other_events_than_those_acknowledged_are_seen() -> None:
    ledger, consumer = published(2)
    consumer.got(1, [*events(1, 1), *events(2, 2, epoch=1)])
    assert ledger.result().violations == ["consumer 0 of r: the events are others, or in another order"]


def test_consumers_see_the_same_beyond_what_was_acknowledged() -> None:
    ledger, consumer = published(1)
    consumer.got(1, events(1, 3))
    other = ledger.consumer("r")
    other.got(1, [*events(1, 1), *events(2, 2, epoch=1)])
    assert ledger.result().violations == ["consumer 1 of r: the events are others, or in another order"]


def test_a_consumer_that_does_not_end_is_seen() -> None:
    ledger, consumer = published(1, is_end=True)
    consumer.got(1, events(1, 1))
    assert ledger.result().violations == ["consumer 0 of r: it has not ended"]


def test_events_after_the_end_are_seen() -> None:
    ledger, consumer = published(1, is_end=True)
    consumer.got(1, events(1, 2))
    consumer.has_ended = True
    assert ledger.result().violations == ["consumer 0 of r: events after the end"]
