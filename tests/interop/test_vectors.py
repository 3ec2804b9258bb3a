"""The conformance vectors, read by a program in another language from the folder that is exported."""

import pytest

from tests.interop.languages import LANGUAGES, Language, environment_of
from tests.interop.processes import run

GO = [language for language in LANGUAGES if language.name == "go"]

pytestmark = [
    pytest.mark.interop,
    pytest.mark.parametrize("language", GO, ids=["go"], indirect=True),
]


async def test_generated_code_keeps_each_message_and_finds_what_is_newer(language: Language) -> None:
    command = ("go", "test", "-count=1", "./vectors")
    code, output, errors = await run(*command, cwd=language.folder, env=environment_of(language))
    assert code == 0, f"{output}\n{errors}"
