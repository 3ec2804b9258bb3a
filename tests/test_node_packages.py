"""The packages of Node.js that tests and tools need."""

import json
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = sorted(
    path.parent
    for folder in ("tests", "tools")
    for path in (ROOT / folder).rglob("package-lock.json")
    if "node_modules" not in path.parts
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_they_are_pinned_by_what_is_in_them_not_by_where_they_were(folder: pathlib.Path) -> None:
    manifest = json.loads((folder / "package.json").read_text())
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]
    root = packages.pop("")

    assert root["dependencies"] == manifest["dependencies"]
    for name, version in manifest["dependencies"].items():
        assert packages[f"node_modules/{name}"]["version"] == version
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not [name for name, package in packages.items() if "resolved" in package]
