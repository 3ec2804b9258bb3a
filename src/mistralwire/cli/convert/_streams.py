"""Between the chunks of a stream and one response, for `convert --accumulate` and `--explode`."""

from collections.abc import Iterator
from typing import Any, cast

from mistralwire.cli.convert._message_types import RESPONSE_TYPES
from mistralwire.cli.convert._reader import Item
from mistralwire.cli.convert._report import Report
from mistralwire.codec import Accumulator, SseMessage, check_answer, explode
from mistralwire.errors import DecodeError, EncodeError
from mistralwire.v1 import CompletionChunk


def accumulated(
    items: Iterator[Item], response_type: Any, report: Report, *, validate: bool
) -> Iterator[Item]:
    """Merge the chunks of a stream into one response, which holds no more than they do.

    Args:
        items: The chunks.
        response_type: Type of the response, one of RESPONSE_TYPES.
        report: Where failures are printed.
        validate: Whether to check the response against the contract.

    Raises:
        click.exceptions.Exit: If the report ends the run.
    """
    accumulator, place = Accumulator[Any](response_type), None
    for place, item in items:
        try:
            accumulator.add(cast("CompletionChunk", item.message))
        except EncodeError as error:
            report.fail(place, str(error))
    if place is None:
        report.fail("", "expected the chunks of a stream, found none")
        return
    response = accumulator.result()
    try:
        if validate:
            check_answer(response)
    except DecodeError as error:
        report.fail_decoding(": the response", error)
    else:
        yield "", SseMessage(response)


def exploded(items: Iterator[Item], report: Report) -> Iterator[Item]:
    """Split one response into the chunks of a stream.

    Raises:
        click.exceptions.Exit: If the report ends the run.
    """
    is_first = True
    for place, item in items:
        if not is_first:
            report.fail(place, "expected the end, as --explode splits one response, found another message")
            return
        is_first = False
        if not isinstance(item.message, RESPONSE_TYPES):
            name = item.message.DESCRIPTOR.name
            report.fail(place, f"expected a response to split into chunks, found a {name}")
            continue
        try:
            for chunk in explode(item.message):
                yield place, SseMessage(chunk)
        except EncodeError as error:
            report.fail(place, str(error))
    if is_first:
        report.fail("", "expected a response, found none")
