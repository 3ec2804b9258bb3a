"""Errors for packages of an optional extra that are not installed."""

from mistralwire.errors import MistralwireError, Reason


def missing_text(purpose: str, package: str, extra: str) -> str:
    """Return a message that names a missing package, and a command that installs it in a checkout.

    Args:
        purpose: What needs the package, as the subject of a sentence.
        package: Name of the package, or of several, as `the packages a and b`.
        extra: Name of the extra that installs it.
    """
    what = package if " " in package else f"the package {package}"
    return f"{purpose} needs {what}, found none; in a checkout of mistralwire run pip install '.[{extra}]'"


def missing_error(purpose: str, package: str, extra: str) -> MistralwireError:
    """Return an error with the message of `missing_text` and the reason EXTRA_MISSING."""
    return MistralwireError(
        missing_text(purpose, package, extra), code="FAILED_PRECONDITION", reason=Reason.EXTRA_MISSING
    )


def missing_import(purpose: str, error: ModuleNotFoundError, extra: str) -> ModuleNotFoundError:
    """Return the error for a module of this package whose imports failed; see `missing_text`.

    An error about a missing module of this package is returned unchanged.
    """
    package = (error.name or "").partition(".")[0]
    if package in ("", "mistralwire"):
        return error
    return ModuleNotFoundError(missing_text(purpose, package, extra), name=package)
