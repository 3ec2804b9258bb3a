"""Gather the pages of the documentation for mkdocs: `python -m tools.docs`.

The pages keep their places in the tree, so that their links work on the site as they do in the repository.
Files that they link to are copied; links to folders without a page become text. Each public package has a
page, which mkdocstrings fills from its docstrings.
"""

import pathlib
import re
import shutil

from pygments.formatters import HtmlFormatter

ROOT = pathlib.Path(__file__).parents[1]
SOURCE = ROOT / "build" / "docs-source"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    # By name: a folder that a user writes here, such as a vendored contract, has pages of its own.
    *(ROOT / folder / "README.md" for folder in ("deploy", "examples", "native", "proto")),
]
PACKAGES = [
    "mistralwire",
    *(
        f"mistralwire.{name}"
        for name in ("codec", "errors", "client", "service", "log", "upstream", "gateway")
    ),
]
# The theme's own tables are wider than a narrow window.
_TABLES = "table { display: block; overflow-x: auto; }\n"
_HIGHLIGHTING = {"light": "default", "dark": "github-dark"}
_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")


def gather(folder: pathlib.Path = SOURCE) -> None:
    """Write the pages and what they link to into a folder, in place of what it has."""
    shutil.rmtree(folder, ignore_errors=True)
    for page in PAGES:
        _write(folder / page.relative_to(ROOT), _with_links(page, folder))
    for package in PACKAGES:
        _write(folder / "api" / f"{package}.md", f"# {package}\n\n::: {package}\n")
    styles = (
        HtmlFormatter(style=style).get_style_defs(f"[data-bs-theme={mode}] .highlight")
        for mode, style in _HIGHLIGHTING.items()
    )
    _write(folder / "site.css", _TABLES + "\n".join(styles))


def _write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _with_links(page: pathlib.Path, folder: pathlib.Path) -> str:
    """Return the text of a page whose links lead to what is in the folder."""

    def replaced(link: re.Match[str]) -> str:
        target = (page.parent / link["path"]).resolve()
        if target.is_dir():
            if target / "README.md" not in PAGES:
                return link["text"]
            return f"[{link['text']}]({link['path'].rstrip('/')}/README.md{link['anchor'] or ''})"
        if target not in PAGES and target.exists():
            copy = folder / target.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, copy)
        return link[0]

    return _LINK.sub(replaced, page.read_text())


if __name__ == "__main__":
    gather()
