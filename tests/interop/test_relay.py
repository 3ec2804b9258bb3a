"""A response that a program in Go publishes, and one in TypeScript follows."""

import asyncio
import os
import pathlib

import pytest

from tests.interop.languages import LANGUAGES, Language, build
from tests.interop.peers import call
from tests.interop.processes import serving

pytestmark = pytest.mark.interop


def built(name: str) -> Language:
    """Return a language whose programs are built; skip the test without its toolchain, but not in CI."""
    (found,) = [language for language in LANGUAGES if language.name == name]
    if found.missing_tools() and not os.environ.get("CI"):
        pytest.skip(f"{name}: {', '.join(found.missing_tools())} not installed")
    build(found)
    return found


@pytest.mark.usefixtures("contract")
async def test_a_response_crosses_languages(tmp_path: pathlib.Path) -> None:
    producer, consumer = built("go"), built("typescript")
    lines = [f"word {number} " for number in range(100)]
    async with serving("--data", str(tmp_path / "data")) as (_, address):
        published = await call(producer, address, "publish", "resp_1", stdin="\n".join(lines).encode())
        followed, missing = await asyncio.gather(
            call(consumer, address, "follow", "resp_1"), call(consumer, address, "follow", "resp_2")
        )
    assert (published["code"], published["acknowledged"], published["ended"]) == ("OK", 100, True)
    assert (followed["code"], followed["last_sequence"]) == ("OK", 100)
    assert followed["text"] == "".join(lines)
    assert followed["state"] == "FINISHED"
    assert (missing["code"], missing["reason"]) == ("NOT_FOUND", "RESPONSE_NOT_FOUND")
