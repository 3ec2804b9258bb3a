"""docs/production.md names and quotes what exists, and explains each alert of deploy/."""

import ast
import functools
import pathlib
import re

import pytest

from mistralwire.errors import Reason
from tests.prometheus_names import REFERENCE, labels_by_metric
from tests.test_pages import anchors

ROOT = pathlib.Path(__file__).parents[1]
ALERTS = (ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text()
PAGE = (ROOT / "docs" / "production.md").read_text()
# Members of log lines and of error bodies that the page names besides settings.
LOGGED = {"chunks", "http_status", "request_id", "upstream_status"}
# Of Compose.
FOREIGN = {"stop_grace_period"}


@functools.cache
def _messages() -> list[re.Pattern[str]]:
    """Return patterns for the texts of the source that are long enough to be recognised."""
    patterns = []
    for path in (ROOT / "src" / "mistralwire").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.JoinedStr(values):
                    parts = [str(part.value) if isinstance(part, ast.Constant) else "%s" for part in values]
                    text = "".join(parts)
                case ast.Constant(str(text)):
                    pass
                case _:
                    continue
            fixed = re.split(r"%[.\d]*\w", text)
            if " " in text and sum(map(len, fixed)) > 12:
                patterns.append(re.compile(".+?".join(map(re.escape, fixed))))
    return patterns


@pytest.mark.slow
def test_the_page_quotes_messages_of_the_source() -> None:
    quotes = [
        text for text in re.findall(r"`([^`\n]+)`", PAGE.partition("## Failures")[2]) if text.count(" ") > 2
    ]
    assert len(quotes) > 20
    # Some messages are put together from others.
    for quote in quotes:
        spans = [found.span() for pattern in _messages() if (found := pattern.search(quote))]
        covered = {place for span in spans for place in range(*span)}
        assert len(covered) >= len(quote) / 2, quote


def test_the_page_names_settings_metrics_and_reasons_that_exist() -> None:
    code = re.findall(r"`([^`\n]+)`", PAGE)
    names = {
        word
        for text in code
        if " " not in text
        for word in re.findall(r"(?<![\w/.-])[a-z]+(?:_[a-z]+)+\b", text)
    }
    listed = set(re.findall(r"^\| `(\w+)`", REFERENCE.read_text(), re.MULTILINE))
    reasons = {reason.lower() for reason in Reason.__members__}
    assert len(names) > 40
    assert names - listed - reasons - labels_by_metric().keys() - _labels() - LOGGED - FOREIGN == set()
    words = {word for word in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", PAGE) if not word.startswith("MISTRAL")}
    assert len(words) > 15
    assert words <= {*Reason.__members__}


def _labels() -> set[str]:
    return {label for labels in labels_by_metric().values() for label in labels}


def test_the_page_explains_each_alert() -> None:
    rules = re.findall(r"- alert: (\w+)$", ALERTS, re.MULTILINE)
    assert rules
    assert sorted(re.findall(r"`(Mistralwire\w+)`", PAGE)) == sorted(rules)


def test_each_alert_leads_to_a_section_of_the_page() -> None:
    runbooks = re.findall(r"runbook: (\S+)#(\S+)$", ALERTS, re.MULTILINE)
    assert len(runbooks) == ALERTS.count("- alert: ")
    assert [anchor for page, anchor in runbooks if anchor not in anchors(ROOT / page)] == []
