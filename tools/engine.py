"""The codec's engine, as a line in the output of tests and demonstrations."""

from mistralwire.codec import ENGINE


def engine_line() -> str:
    """Return a line that names the engine, and how to get the native one if it is missing."""
    hint = (
        ""
        if ENGINE == "native"
        else "; `make native` or `pip install ./native` builds the native one, several times as fast "
        "(needs cargo)"
    )
    return f"codec: {ENGINE} engine{hint}"
