"""Objects that nobody uses any more, without the garbage collector."""

import contextlib
import gc
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def uncollected(*types: type) -> Iterator[Callable[[], list[object]]]:
    """Turn the garbage collector off while the block runs; yield what returns the new objects of these types.

    Older ones may be there: pytest keeps the log records of earlier tests, and the tracebacks of these.
    """

    def found() -> list[object]:
        return [each for each in gc.get_objects() if isinstance(each, types)]

    gc.collect()
    gc.disable()
    older = found()
    known = set(map(id, older))
    try:
        yield lambda: [each for each in found() if id(each) not in known]
    finally:
        gc.enable()
