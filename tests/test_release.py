"""Version, changelog and tags agree."""

import itertools
import pathlib
import re
import subprocess
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
HEADINGS = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", CHANGELOG, re.MULTILINE)


def _released() -> list[str]:
    """Return the released versions, the newest first."""
    return [version for version, date in HEADINGS if date]


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _version(pyproject: str) -> str:
    return str(tomllib.loads(pyproject)["project"]["version"])


def test_the_versions_of_the_changelog_have_dates_and_descend() -> None:
    assert len(HEADINGS) == len(re.findall("^## ", CHANGELOG, re.MULTILINE))
    versions = [version for version, date in HEADINGS if date or version != "Unreleased"]
    assert versions == _released() == sorted(versions, key=_parts, reverse=True)
    dates = [date for _, date in HEADINGS if date]
    assert dates == sorted(dates, reverse=True)


def test_the_version_is_above_the_released_ones_while_there_are_unreleased_changes() -> None:
    version = _version((ROOT / "pyproject.toml").read_text())
    section = CHANGELOG.partition("## [Unreleased]")[2].partition("\n## ")[0]
    if section.strip():
        assert _parts(version) > _parts(_released()[0])
    else:
        assert version == _released()[0]


def test_the_native_engine_has_the_packages_version() -> None:
    version = _version((ROOT / "pyproject.toml").read_text())
    workspace = tomllib.loads((ROOT / "native" / "Cargo.toml").read_text())["workspace"]
    assert workspace["package"]["version"] == version
    packages = tomllib.loads((ROOT / "native" / "Cargo.lock").read_text())["package"]
    locked = {package["version"] for package in packages if package["name"].startswith("mistralwire-")}
    assert locked == {version}


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.process
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone of the repository")
def test_each_released_version_has_a_tag_on_its_commit() -> None:
    tags = _git("for-each-ref", "--format=%(objecttype) %(refname:short)", "refs/tags/v*").splitlines()
    if not tags:
        pytest.skip("the tags were not cloned")
    assert sorted(tags) == sorted(f"tag v{version}" for version in _released())
    for newer, older in itertools.pairwise(_released()):
        _git("merge-base", "--is-ancestor", f"v{older}", f"v{newer}")
    for version in _released():
        assert _version(_git("show", f"v{version}:pyproject.toml")) == version
        # Nothing of a later version is in its changelog.
        first = re.findall(r"^## \[(\d.+?)\]", _git("show", f"v{version}:CHANGELOG.md"), re.MULTILINE)[0]
        assert first == version
