"""The conformance vectors, read by a program in another language from the folder that is exported."""

import pytest

from tests.interop.languages import LANGUAGES, Language, environment_of
from tests.interop.processes import run

COMMANDS = {
    # Keeps each message, and finds what is newer in it.
    "go": ("go", "test", "-count=1", "./vectors"),
    # Keeps each message byte for byte, except what is newer.
    "rust": ("cargo", "test", "--locked", "--quiet"),
}

pytestmark = [
    pytest.mark.interop,
    pytest.mark.parametrize(
        "language",
        [language for language in LANGUAGES if language.name in COMMANDS],
        ids=lambda language: language.name,
        indirect=True,
    ),
]


async def test_generated_code_keeps_each_message(language: Language) -> None:
    command = COMMANDS[language.name]
    code, output, errors = await run(*command, cwd=language.folder, env=environment_of(language))
    assert code == 0, f"{output}\n{errors}"
