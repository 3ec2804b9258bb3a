"""Bodies that are sent as they come."""

import pytest

from mistralwire.upstream._http1 import Upload


class Sender:
    """Takes a body, and says whether it takes more."""

    def __init__(self) -> None:
        self.sent = b""
        self.takes_more = True
        self.error: Exception | None = None

    def send_body(self, data: bytes) -> bool:
        self.sent += data
        return self.takes_more

    def fail(self, error: Exception) -> None:
        self.error = error


@pytest.mark.parametrize(
    ("length", "expected"),
    [(5, b"12345"), (None, b"2\r\n12\r\n3\r\n345\r\n0\r\n\r\n")],
    ids=["sized", "chunked"],
)
def test_what_comes_before_the_connection_waits_for_it(length: int | None, expected: bytes) -> None:
    drained: list[None] = []
    upload, sender = Upload(length, lambda: drained.append(None)), Sender()
    assert not upload.write(b"12")
    upload.attach(sender)
    assert drained == [None]
    assert upload.write(b"345")
    assert not upload.is_ended
    upload.end()
    assert upload.is_ended
    assert sender.sent == expected


def test_a_connection_that_takes_no_more_says_when_it_does() -> None:
    drained: list[None] = []
    upload, sender = Upload(1, lambda: drained.append(None)), Sender()
    sender.takes_more = False
    upload.attach(sender)
    assert not drained
    assert not upload.write(b"1")
    upload.resume()
    assert drained == [None]
    upload.end()
    upload.resume()
    assert drained == [None]


def test_what_comes_behind_the_end_of_the_exchange_is_dropped() -> None:
    upload, sender = Upload(None, lambda: None), Sender()
    upload.attach(sender)
    upload.detach()
    assert upload.write(b"1")
    upload.end()
    assert sender.sent == b""


def test_an_end_before_the_connection_is_sent_with_it() -> None:
    upload, sender = Upload(None, lambda: None), Sender()
    upload.write(b"1")
    upload.end()
    upload.attach(sender)
    assert sender.sent == b"1\r\n1\r\n0\r\n\r\n"
    assert upload.is_ended


@pytest.mark.parametrize("is_connected", [True, False])
@pytest.mark.parametrize(("pieces", "found"), [([b"12", b"34"], 4), ([b"12"], 2), ([], 0)])
def test_a_body_of_another_length_ends_the_exchange(
    is_connected: bool, pieces: list[bytes], found: int
) -> None:
    upload, sender = Upload(3, lambda: None), Sender()
    if is_connected:
        upload.attach(sender)
    for piece in pieces:
        upload.write(piece)
    upload.end()
    if not is_connected:
        upload.attach(sender)
    assert str(sender.error) == f"expected a body of 3 bytes, found {found}"
    assert not upload.is_ended
    assert len(sender.sent) <= 3
