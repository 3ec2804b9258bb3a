"""PyInstaller's hooks, which it finds by the entry point `pyinstaller40`."""

import pathlib


def hook_folders() -> list[str]:
    """Return the folders with hooks.

    Source: https://pyinstaller.org/en/stable/hooks.html#provide-hooks-with-package
    """
    return [str(pathlib.Path(__file__).parent)]
