"""The packages of Node.js that these tests need."""

import json

from tests.sdk_node.asking import FOLDER


def test_they_are_pinned_by_what_is_in_them_not_by_where_they_were() -> None:
    manifest = json.loads((FOLDER / "package.json").read_text())
    packages = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    root = packages.pop("")

    assert root["dependencies"] == manifest["dependencies"]
    for name, version in manifest["dependencies"].items():
        assert packages[f"node_modules/{name}"]["version"] == version
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not [name for name, package in packages.items() if "resolved" in package]
