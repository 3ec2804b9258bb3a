"""docs/interop.md says of each client what the tests expect of it."""

import pathlib

from tests.real_clients.matrix import NODE, PYTHON, table_row

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "interop.md"


def test_the_table_of_clients_has_what_the_tests_expect() -> None:
    _, table = PAGE.read_text().split("\n## Clients\n")
    rows = [line for line in table.partition("\n## ")[0].splitlines() if line.startswith("|")]
    assert rows[2:] == [table_row(client) for client in (*PYTHON, *NODE)]
