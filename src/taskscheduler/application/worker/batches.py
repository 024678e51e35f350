"""Handlers that take many tasks in one call: their attempts gather, and share the call.

Each attempt is one as any other: it has a slot, a lease, a time-out and an outcome of its own. All
that is different is that it waits for the others and is then told what became of it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from contextvars import Context as Variables
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from weakref import WeakKeyDictionary

from taskscheduler.application.worker.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from datetime import timedelta
    from types import TracebackType

    from taskscheduler.application.worker.context import Context

SIZE_MAX: Final = 10_000
THREADS_KEPT: Final = 4


class Member(NamedTuple):
    """An attempt that gathers with others; ``told`` is what becomes of it."""

    context: Context
    payload: Any
    told: asyncio.Future[Any]


class Raised(NamedTuple):
    """An error that ends attempts, as it was when it came out of the call."""

    error: BaseException
    traceback: TracebackType | None


class Round:
    """Attempts that share a call, while they gather and while it runs."""

    def __init__(self) -> None:
        """Wait for the first."""
        self.members: list[Member] = []
        self.timer: asyncio.TimerHandle | None = None
        self.call: asyncio.Task[None] | None = None


class Batch:
    """What calls a function with many attempts at once.

    A round is called when ``size`` attempts are in it, or as many as the worker runs at once, or
    ``linger`` after the first has come.
    """

    def __init__(
        self, function: Callable[..., Any], *, size: int, linger: timedelta, takes_payloads: bool
    ) -> None:
        """Gather for ``function``."""
        self._function = function
        self._size = size
        self._linger_s = linger.total_seconds()
        self._takes_payloads = takes_payloads
        self._is_async = inspect.iscoroutinefunction(inspect.unwrap(function))
        self._threads = Threads(THREADS_KEPT)
        self._rounds: MutableMapping[asyncio.AbstractEventLoop, Round] = WeakKeyDictionary()

    def at_most(self, concurrency: int) -> None:
        """Gather no more than ``concurrency``: a worker that runs no more would wait in vain."""
        self._size = min(self._size, concurrency)

    async def alone(self, context: Context) -> Any:
        """As ``__call__``, where the function takes no payloads."""
        return await self(context, None)

    async def __call__(self, context: Context, payload: Any) -> Any:
        """Share a call with other attempts; return or raise what it came to for this one."""
        loop = asyncio.get_running_loop()
        member = Member(context, payload, loop.create_future())
        gathering = self._rounds.get(loop)
        if gathering is None:
            gathering = self._rounds[loop] = Round()
            gathering.timer = loop.call_later(self._linger_s, self._begin, loop, gathering)
        gathering.members.append(member)
        if len(gathering.members) >= self._size:
            self._begin(loop, gathering)
        try:
            value = await member.told
        except asyncio.CancelledError:
            self._leave(loop, gathering, member)
            raise
        if isinstance(value, Raised):
            # Of an error that many share the traceback would grow with each of them.
            raise value.error.with_traceback(value.traceback)
        return value

    def _begin(self, loop: asyncio.AbstractEventLoop, gathered: Round) -> None:
        if self._rounds.get(loop) is gathered:
            del self._rounds[loop]
        if gathered.timer is not None:
            gathered.timer.cancel()
        # Done for many: no log line of it belongs to the one that came last.
        gathered.call = loop.create_task(self._run(tuple(gathered.members)), context=Variables())

    def _leave(self, loop: asyncio.AbstractEventLoop, gathered: Round, member: Member) -> None:
        """Let an attempt go that was told to stop; with the last of them the call ends."""
        member.context.cancelled = True
        gathered.members.remove(member)
        if gathered.members:
            return
        if gathered.call is not None:
            gathered.call.cancel()
        elif self._rounds.get(loop) is gathered:
            del self._rounds[loop]
            if gathered.timer is not None:
                gathered.timer.cancel()

    async def _run(self, members: Sequence[Member]) -> None:
        told: Sequence[Any]
        try:
            told = _each(await self._call(members), len(members))
        except asyncio.CancelledError:
            # Nobody is left, or the function has cancelled itself.
            error = RuntimeError("the call of the batch was cancelled")
            told = [Raised(error, None)] * len(members)
        except BaseException as error:  # noqa: BLE001 - the outcome of each, whatever it is
            told = [Raised(error, error.__traceback__)] * len(members)
        for member, value in zip(members, told, strict=True):
            if not member.told.done():
                member.told.set_result(value)

    async def _call(self, members: Sequence[Member]) -> Any:
        contexts = [member.context for member in members]
        payloads = [member.payload for member in members]
        arguments = (contexts, payloads) if self._takes_payloads else (contexts,)
        if self._is_async:
            return await self._function(*arguments)
        running = self._threads.submit(partial(self._function, *arguments))
        returned = await asyncio.wrap_future(running)
        return await returned if inspect.isawaitable(returned) else returned


def _each(returned: Any, number: int) -> Sequence[Any]:
    """Return what was returned for each of ``number`` tasks. Raises TypeError."""
    if returned is None:
        return [None] * number
    if isinstance(returned, str | bytes) or not isinstance(returned, Sequence):
        message = f"must return a list, or None for all, not {type(returned).__name__}"
        raise TypeError(message)
    found = cast("Sequence[Any]", returned)
    if len(found) != number:
        message = f"must return as many as there are tasks, {number}, or None, not {len(found)}"
        raise TypeError(message)
    return [
        Raised(each, each.__traceback__) if isinstance(each, BaseException) else each
        for each in found
    ]
