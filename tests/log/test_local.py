"""The index of responses: what runs is found without a look at all that has ended."""

import pytest

from mistralwire.log import MemoryLog, Opening, Query, StoredResponse, _local
from tests.log.exchanges import FINISHED, append


@pytest.mark.parametrize("query", [Query(is_running=True), Query(owner="o", is_running=True)])
async def test_what_runs_is_listed_without_a_look_at_what_has_ended(
    query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MemoryLog()
    for number in range(10):
        await log.open(Opening(id=f"{number}", owner="o"))
        if number not in (3, 7):
            await append(log, f"{number}", 1, "x", end=FINISHED)
    await log.delete("3")
    await log.open(Opening(id="3", owner="o"))
    looked_at: list[str] = []
    matches = _local.matches

    def watched(query: Query, response: StoredResponse) -> bool:
        looked_at.append(response.id)
        return matches(query, response)

    monkeypatch.setattr(_local, "matches", watched)
    assert [response.id for response in await log.list(query)] == looked_at == ["3", "7"]
