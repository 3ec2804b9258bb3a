"""`mistralwire convert` between the two contracts."""

import pytest

from tests.fleet.documents import NEWEST_ANSWER, NEWEST_REQUEST, REQUESTS, told
from tests.fleet.fleet import CONTRACTS
from tests.fleet.processes import NEW, OLD, Packages

pytestmark = pytest.mark.process

ANSWER = ("--type", "ChatCompletionResponse")
REQUEST = ("--type", "ChatCompletionRequest")


def converted(packages: Packages, contract: str, *arguments: str, stdin: bytes) -> bytes:
    status, output, errors = packages.run(contract, "convert", *arguments, stdin=stdin)
    assert (status, errors) == (0, "")
    return output


@pytest.mark.parametrize("format_", ["binpb", "txtpb"])
@pytest.mark.parametrize("reader", CONTRACTS)
def test_protobuf_is_written_for_every_reader_by_default(
    format_: str, reader: str, packages: Packages
) -> None:
    data = converted(packages, NEW, "--to", format_, *ANSWER, stdin=NEWEST_ANSWER.encode())
    text = converted(
        packages, reader, "--from", format_, "--to", "json", *ANSWER, "--no-validate", stdin=data
    )
    assert told(text) == told(NEWEST_ANSWER)


def test_it_is_typed_for_the_readers_that_an_option_names(packages: Packages) -> None:
    options = ("--contract-revision", "2")
    older = converted(packages, NEW, "--to", "binpb", *ANSWER, stdin=NEWEST_ANSWER.encode())
    lines = converted(packages, NEW, "--from", "binpb", "--to", "txtpb", *ANSWER, *options, stdin=older)
    assert b"FINISH_REASON_CONTENT_FILTER" in lines
    assert b"generation_report {" in lines


def test_an_older_program_converts_a_newer_answer_with_warnings(packages: Packages) -> None:
    options = ("--to", "binpb", "--contract-revision", "2")
    data = converted(packages, NEW, *options, *ANSWER, stdin=NEWEST_ANSWER.encode())
    status, output, errors = packages.run(
        OLD, "convert", "--from", "binpb", *ANSWER, "--no-validate", stdin=data
    )
    assert status == 0
    assert told(output)["choices"][0]["finish_reason"] == "unrecognized"
    found = [line.partition(", found ")[2] for line in errors.splitlines()]
    assert [text.partition(", which it does not have; upgrade mistralwire")[0] for text in found] == [
        "the value 6 of FinishReason",
        "the field 10 of ContentChunk",
        "the field 3 of IntegerOrString",
        "the field 5 of FunctionCall",
        "the field 6 of ToolCall",
        "the field 8 of ChatCompletionResponse",
    ]


@pytest.mark.parametrize("options", [(), ("--no-validate",)])
def test_an_older_program_does_not_convert_a_newer_request(
    options: tuple[str, ...], packages: Packages
) -> None:
    arguments = ("--to", "binpb", "--contract-revision", "2", *REQUEST)
    data = converted(packages, NEW, *arguments, stdin=NEWEST_REQUEST.text.encode())
    status, output, errors = packages.run(
        OLD, "convert", "--from", "binpb", "--to", "json", *REQUEST, *options, stdin=data
    )
    assert (status, output) == (1, b"")
    assert "the field 34 of ChatCompletionRequest, which it does not have; upgrade mistralwire" in errors


def test_a_newer_program_converts_what_an_older_one_does(packages: Packages) -> None:
    for request in REQUESTS:
        if request.old and not request.new:
            data = converted(packages, OLD, "--to", "binpb", *REQUEST, stdin=request.text.encode())
            for stdin, source in ((data, "binpb"), (request.text.encode(), "json")):
                arguments = ("--from", source, "--to", "txtpb", *REQUEST)
                assert converted(packages, NEW, *arguments, stdin=stdin)
