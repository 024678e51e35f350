"""Asynchronous things for code that runs in a thread beside the event loop that they belong to.

A connection, or a pool of them, works on one event loop only. A plain function in a thread that
made a loop of its own for it would break it. So each call is handed over to the loop at home, and
the thread waits for the answer.
"""

from __future__ import annotations

import asyncio
import inspect
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from taskscheduler.application.client.errands import Errands, InCallersThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

Thing = TypeVar("Thing")

ASYNCHRONOUS: Final = ("__aenter__", "__aiter__", "__anext__", "__await__")


def for_this_thread(thing: Thing, home: asyncio.AbstractEventLoop | None) -> Thing:
    """Return ``thing`` itself where it may be awaited, or else a ``Blocking`` in front of it."""
    if home is None or _running_loop() is home:
        return thing
    return cast("Thing", Blocking(thing, home))


def is_at_home(home: asyncio.AbstractEventLoop | None) -> bool:
    """Tell whether what belongs to ``home`` may be awaited here."""
    return home is None or _running_loop() is home


def done_here(made: Any, home: asyncio.AbstractEventLoop | None) -> Any:
    """Return ``made`` itself where it may be awaited, or else what it comes to at ``home``."""
    if home is None or _running_loop() is home:
        return made
    running = asyncio.run_coroutine_threadsafe(_awaited(made), home)
    return running.result() if _running_loop() is None else asyncio.wrap_future(running)


class Blocking:
    """Stands before an asynchronous thing. What the thing has to be awaited for is returned.

    ``async with`` becomes ``with``, ``async for`` becomes ``for``, and what methods return is
    handed out in the same way. In a thread with a running loop of its own, which must not be held
    up, methods are awaited as ever, and are run at home nevertheless.
    """

    def __init__(self, thing: Any, home: asyncio.AbstractEventLoop) -> None:
        """Let ``thing``'s methods run on ``home``, from any thread but that of ``home``."""
        self._thing = thing
        self._home = home

    def __getattr__(self, name: str) -> Any:
        """Return the attribute; a method is wrapped."""
        value = getattr(self._thing, name)
        return self._method(value) if callable(value) else self._out(value)

    def __enter__(self) -> Any:
        """Enter what ``async with`` would enter."""
        return self._wait(self._thing.__aenter__())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Leave it."""
        return self._wait(self._thing.__aexit__(kind, error, traceback))

    async def __aenter__(self) -> Any:
        """Enter it from a loop of the thread's own."""
        return await self._hand_over(self._thing.__aenter__())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Leave it."""
        return await self._hand_over(self._thing.__aexit__(kind, error, traceback))

    def __iter__(self) -> Blocking:
        """Iterate as ``async for`` would."""
        return Blocking(self._thing.__aiter__(), self._home)

    def __next__(self) -> Any:
        """Return the next item."""
        try:
            return self._wait(self._thing.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def __aiter__(self) -> Blocking:
        """Iterate from a loop of the thread's own."""
        return Blocking(self._thing.__aiter__(), self._home)

    async def __anext__(self) -> Any:
        """Return the next item."""
        return await self._hand_over(self._thing.__anext__())

    def _method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            errands = Errands()
            given = {key: _in(each) for key, each in options.items()}
            blocks = _running_loop() is None
            if blocks and given.get("connection") is options.get("connection") is not None:
                # One of the thread's own, which is to be used in it.
                given["connection"] = InCallersThread(given["connection"], errands)
            made = method(*map(_in, arguments), **given)
            if not inspect.isawaitable(made):
                return self._out(made)
            return self._wait(made, errands) if blocks else self._hand_over(made)

        return call

    def _wait(self, made: Any, errands: Errands | None = None) -> Any:
        return self._out((errands or Errands()).wait(self._home, _awaited(made)))

    async def _hand_over(self, made: Any) -> Any:
        running = asyncio.run_coroutine_threadsafe(_awaited(made), self._home)
        return self._out(await asyncio.wrap_future(running))

    def _out(self, value: Any) -> Any:
        return Blocking(value, self._home) if _is_asynchronous(value.__class__) else value


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _in(value: Any) -> Any:
    """Return what stands behind an argument: at home nobody knows of ``Blocking``."""
    return vars(value)["_thing"] if isinstance(value, Blocking) else value


async def _awaited(made: Any) -> Any:
    return await made


@lru_cache(maxsize=256)
def _is_asynchronous(kind: type) -> bool:
    """Tell whether things of ``kind`` have something to await."""
    if any(hasattr(kind, name) for name in ASYNCHRONOUS):
        return True
    return any(
        inspect.iscoroutinefunction(getattr(kind, name, None))
        for name in dir(kind)
        if not name.startswith("_")
    )
