"""Tests that go through many cases: to parametrize one costs more than a case that takes a millisecond."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


def each_case(
    names: str | tuple[str, ...], cases: Iterable[Any], ids: Callable[[Any], object] = repr
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Run a test for each case, as one test; a failure names its case.

    Args:
        names: The parameters that a case fills, as for `pytest.mark.parametrize`.
        cases: The cases: values, tuples of them, or `pytest.param` with an id.
        ids: Returns the name of a case that has no id.
    """
    named = [_named(names, case, ids) for case in cases]
    assert named, "expected cases, found none"

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(test)
        filled = {*named[0][1]}
        rest = [each for each in signature.parameters.values() if each.name not in filled]

        @functools.wraps(test)
        def run(**arguments: Any) -> None:
            for name, values in named:
                with _noted(name):
                    test(**values, **arguments)

        @functools.wraps(test)
        async def run_async(**arguments: Any) -> None:
            for name, values in named:
                with _noted(name):
                    await test(**values, **arguments)

        made: Any = run_async if inspect.iscoroutinefunction(test) else run
        # What pytest takes for fixtures.
        made.__signature__ = signature.replace(parameters=rest)
        return made  # type: ignore[no-any-return]

    return decorate


def _named(
    names: str | tuple[str, ...], case: Any, ids: Callable[[Any], object]
) -> tuple[object, Mapping[str, Any]]:
    id_, values = getattr(case, "id", None), getattr(case, "values", None)
    if not isinstance(values, tuple):  # No pytest.param.
        id_, values = ids(case), case if isinstance(names, tuple) else (case,)
    filled = (names,) if isinstance(names, str) else names
    return id_ or ids(values), dict(zip(filled, values, strict=True))


@contextlib.contextmanager
def _noted(case: object) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the case {case}")
        raise
