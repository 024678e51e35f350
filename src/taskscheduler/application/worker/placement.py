"""Where a handler runs: on the event loop, in a thread, or outside of the worker's process."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from taskscheduler.domain.errors import InvalidHandler

if TYPE_CHECKING:
    from collections.abc import Callable

RunsIn: TypeAlias = 'Literal["loop", "thread", "process", "dask"]'
WORDS = ("loop", "thread", "process", "dask")
OUTSIDE = frozenset({"process", "dask"})


def placed(
    kind: str, function: Callable[..., Any], runs_in: str | None, *, is_async: bool
) -> tuple[Callable[..., Any], bool, str | None]:
    """Return what is called for ``function``, whether that is awaited, and the engine outside.

    Raises:
        InvalidHandler: there is no such place, or the function cannot be found from there.
    """
    if runs_in is None or (runs_in == "loop") is is_async is True:
        return function, is_async, None
    if runs_in not in WORDS:
        message = f"handler of {kind!r}: runs_in must be one of {', '.join(WORDS)}"
        raise InvalidHandler(message)
    if runs_in in OUTSIDE:
        name = getattr(function, "__qualname__", "<locals>")
        if "<" in name or not hasattr(function, "__module__"):
            message = (
                f"handler of {kind!r}: what runs in {runs_in!r} is found by its name, so it must "
                "be a function at the top of a module"
            )
            raise InvalidHandler(message)
        return function, False, runs_in
    if runs_in == "thread":
        return (_in_loop_of_its_own(function) if is_async else function), False, None
    return _at_once(function), True, None


def _in_loop_of_its_own(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return asyncio.run(function(*arguments))

    return call


def _at_once(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call
