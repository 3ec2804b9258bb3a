"""What `mistralwire responses` does: calls of the service, and tables or lines of JSON."""

import datetime
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import click

from mistralwire.cli._answers import new_printer
from mistralwire.cli._wording import printable
from mistralwire.client import Client, response_failure
from mistralwire.codec import to_dict
from mistralwire.errors import CallError
from mistralwire.v1 import ResponseInfo, ResponseKind, ResponseState

_COLORS = {"running": "cyan", "finished": "green", "cancelled": "yellow", "failed": "red"}
_COLUMNS = ("ID", "STATE", "EVENTS", "CREATED", "MODEL")
_PAGE_SIZE_MAX = 100


async def list_responses(
    client: Client, limit: int, *, state: str | None, as_json: bool, **query: Any
) -> None:
    """Print the responses of a query, page by page, as many as `limit` says."""
    value = None if state is None else ResponseState.Value(f"RESPONSE_STATE_{state.upper()}")
    found: list[dict[str, Any]] = []
    token: str | None = None
    while len(found) < limit:
        size = min(limit - len(found), _PAGE_SIZE_MAX)
        page = await client.list_responses(page_size=size, page_token=token, state=value, **query)
        found += map(_described, page.responses)
        token = page.next_page_token
        if not token:
            break
    if as_json:
        for item in found:
            _print_json(item)
    else:
        _print_table(found)


def _print_table(items: list[dict[str, Any]]) -> None:
    rows = [_COLUMNS, *map(_cells, items)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[1] = _colored(cells[1], row[1])
        click.echo("  ".join(cells).rstrip())


def _colored(text: str, state: str) -> str:
    color = _COLORS.get(state)
    return click.style(text, fg=color) if color else text


def _cells(item: dict[str, Any]) -> tuple[str, ...]:
    texts = (item["id"], item["state"], str(item["events"]), _time(item["created"]), item["model"] or "-")
    return tuple(map(printable, texts))


def _time(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _show(client: Client, response_id: str, as_json: bool) -> None:
    found = await client.get_response(response_id)
    kind = found.WhichOneof("whole")
    whole = getattr(found, kind) if kind else None
    item = _described(found.info)
    if as_json:
        _print_json({**item, "response": None if whole is None else to_dict(whole)})
        return
    for name, value in item.items():
        if value is not None:
            click.echo(f"{name}: {printable(_shown(name, value))}")
    click.echo()
    printer = new_printer(sys.stdout, as_json=False)
    if whole is not None:
        printer.add(whole)
    printer.end(is_complete=True)
    sys.stdout.flush()


def _shown(name: str, value: Any) -> str:
    if name == "error":
        return f"{value['code']} ({value['reason']}): {value['message']}"
    return _time(value) if name in ("created", "ended") else str(value)


async def _cancel(client: Client, response_id: str, as_json: bool) -> None:
    item = _described((await client.cancel_response(response_id)).info)
    _print_outcome(item, item["state"], as_json=as_json)


async def _delete(client: Client, response_id: str, as_json: bool) -> None:
    item = _described((await client.delete_response(response_id)).info)
    _print_outcome(item, "deleted", as_json=as_json)


_ACTIONS: dict[str, Callable[[Client, str, bool], Awaitable[None]]] = {
    "show": _show,
    "cancel": _cancel,
    "delete": _delete,
}


async def act(client: Client, action: str, ids: Sequence[str], *, as_json: bool) -> None:
    """Show, cancel or delete responses, up to the first one that is refused."""
    for position, response_id in enumerate(ids):
        if position and action == "show" and not as_json:
            click.echo()
        try:
            await _ACTIONS[action](client, response_id, as_json)
        except CallError as error:
            if len(ids) > 1:
                error.add_note(f"the ID is {printable(response_id)}")
            if left := ids[position + 1 :]:
                error.add_note(f"not tried: {printable(' '.join(left))}")
            raise


def _print_outcome(item: dict[str, Any], outcome: str, *, as_json: bool) -> None:
    if as_json:
        _print_json(item)
    else:
        click.echo(f"{printable(item['id'])} {_colored(outcome, outcome)}")


def _described(info: ResponseInfo) -> dict[str, Any]:
    """Return a response as the object that --json prints; null for what is not known."""
    state = _name(ResponseState, info.state)
    item: dict[str, Any] = {
        "id": info.response_id,
        "kind": _name(ResponseKind, info.kind),
        "state": state,
        "events": info.last_sequence,
        "epoch": info.epoch,
        "created": info.created,
        "ended": info.ended or None,
        "upstream_id": info.upstream_id or None,
        "model": info.model or None,
    }
    error = response_failure(info) if state == "failed" else None
    if error is not None:
        item["error"] = {"code": error.code, "reason": error.reason, "message": error.message}
    return item


def _name(enum: Any, value: int) -> str:
    """Return the last word of an enum value's name, or the number of one that a newer service has."""
    return enum.Name(value).rpartition("_")[2].lower() if value in enum.values() else str(value)


def _print_json(item: dict[str, Any]) -> None:
    click.echo(json.dumps(item, ensure_ascii=False))
