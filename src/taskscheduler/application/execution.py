"""One attempt: decode the payload, call the handler, turn what it did into a settlement."""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from taskscheduler.application.context import Context
from taskscheduler.domain.errors import LeaseLost
from taskscheduler.domain.lease import AttemptError, Settlement
from taskscheduler.domain.status import Event
from taskscheduler.domain.verdicts import Cancel, Discard, Retry, Snooze, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from taskscheduler.application.handlers import Handler, Handlers
    from taskscheduler.application.scheduler import Scheduler
    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.task import WorkerId

TRACEBACK_CHARACTERS_MAX: Final = 16_384
MESSAGE_CHARACTERS_MAX: Final = 4_096
THREAD_GRACE_S: Final = 5.0
"""How long a thread that was told to stop may take before its attempt is settled without it."""

log = logging.getLogger("taskscheduler.worker")


class Execution:
    """Runs attempts for one worker. It settles nothing itself: it returns what to settle."""

    def __init__(
        self,
        scheduler: Scheduler,
        handlers: Handlers,
        *,
        threads: Executor,
        random: Callable[[], float],
        may_begin: Callable[[], bool] = lambda: True,
    ) -> None:
        """``threads`` runs plain functions; ``random`` feeds the backoff's jitter.

        ``may_begin`` is asked in the thread once more before the function is called, so it must be
        callable from any: the process may have been stopped since the thread was asked for.
        """
        self._scheduler = scheduler
        self._handlers = handlers
        self._threads = threads
        self._random = random
        self._may_begin = may_begin

    def context(self, lease: Lease, worker_id: WorkerId) -> Context:
        """Return the context of the attempt under ``lease``."""
        policy = self._handlers[lease.kind].retry
        return Context(
            lease,
            worker_id=worker_id,
            max_attempts=lease.max_attempts or policy.max_attempts,
            scheduler=self._scheduler,
        )

    async def run(self, lease: Lease, context: Context) -> Settlement | None:
        """Run the attempt to its end; None when the handler's own transaction has settled it.

        A cancellation from outside passes through as ``asyncio.CancelledError``.
        """
        handler = self._handlers[lease.kind]
        if lease.expired:
            log.warning("task %s (%s) expired before it could begin", lease.task_id, lease.kind)
            return Settlement(lease.task_id, lease.token, Event.EXPIRE)
        try:
            payload = None if handler.decode is None else handler.decode(lease.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # Trying again cannot make it fit, so attempts are not spent on it.
            return self._end(lease, Event.FAIL, said("InvalidPayload", str(error)))
        try:
            timeout = lease.timeout or handler.timeout
            if timeout is None and handler.is_async:
                # What most attempts are, without a coroutine around the handler's own.
                result = await (
                    handler.function(context)
                    if handler.decode is None
                    else handler.function(context, payload)
                )
                verdict = result if isinstance(result, Verdict) else None
            elif timeout is None:
                verdict = await self._call(handler, context, payload)
            else:
                verdict = await self._call_within(timeout, handler, context, payload)
        except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - its outcome, whatever it is
            verdict = error
        if context.settled:
            if verdict is not None:
                log.warning("task %s raised after it was completed: %r", lease.task_id, verdict)
            return None
        if verdict is None:
            return Settlement(lease.task_id, lease.token, Event.COMPLETE)
        return self._judge(lease, context, verdict)

    async def _call(self, handler: Handler, context: Context, payload: Any) -> Verdict | None:
        arguments = (context,) if handler.decode is None else (context, payload)
        if handler.is_async:
            result = await handler.function(*arguments)
        else:
            result = await self._call_in_thread(handler, arguments, context)
            if inspect.isawaitable(result):
                # A plain function around a coroutine function: half of it is still to be run.
                result = await result
        return result if isinstance(result, Verdict) else None

    async def _call_within(
        self, span: timedelta, handler: Handler, context: Context, payload: Any
    ) -> Verdict | None:
        limit = asyncio.timeout(span.total_seconds())
        try:
            async with limit:
                return await self._call(handler, context, payload)
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"the attempt took longer than {span.total_seconds():g} s"
            raise AttemptTimedOut(message) from None

    async def _call_in_thread(
        self, handler: Handler, arguments: tuple[Any, ...], context: Context
    ) -> Any:
        loop = asyncio.get_running_loop()

        def begin() -> Any:
            if not self._may_begin():
                raise LeaseLost(context.id)
            return call_plain(handler.function, *arguments)

        call = partial(copy_context().run, begin)
        running = loop.run_in_executor(self._threads, call)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # A thread cannot be stopped from outside. Ask it, and wait a while, so that the next
            # attempt does not overlap with this one.
            context.cancelled = True
            await asyncio.wait([running], timeout=THREAD_GRACE_S)
            if not running.done():
                log.warning("task %s: its thread did not stop and was abandoned", context.id)
            elif not running.cancelled():
                running.exception()  # looked at, so that asyncio does not report it as unseen
            raise

    def _judge(self, lease: Lease, context: Context, verdict: BaseException) -> Settlement | None:
        match verdict:
            case Snooze(delay=delay):
                return Settlement(lease.task_id, lease.token, Event.SNOOZE, bounded(delay))
            case Cancel(reason=reason):
                return self._end(lease, Event.CANCEL, said("Cancel", reason))
            case Discard(reason=reason):
                return self._end(lease, Event.FAIL, said("Discard", reason))
            case LeaseLost():
                log.warning("task %s: %s; its outcome is another worker's", lease.task_id, verdict)
                return None
            case _:
                return self.failed(lease, context, verdict)

    def failed(self, lease: Lease, context: Context, error: BaseException) -> Settlement:
        """Return the settlement of an attempt that ``error`` ended: again, or never again."""
        facts = describe(error)
        if context.is_last_attempt:
            return self._end(lease, Event.FAIL, facts)
        delay = error.after if isinstance(error, Retry) else None
        if delay is None:
            delay = self._handlers[lease.kind].retry.delay(lease.attempt, self._random)
        log.info(
            "task %s (%s) failed attempt %d of %d, again in %.3f s: %s: %s",
            lease.task_id,
            lease.kind,
            lease.attempt,
            context.max_attempts,
            delay.total_seconds(),
            facts.type,
            facts.message,
        )
        return Settlement(lease.task_id, lease.token, Event.RETRY, bounded(delay), facts)

    def _end(self, lease: Lease, event: Event, error: AttemptError) -> Settlement:
        log.warning(
            "task %s (%s) ended by %s in attempt %d: %s: %s",
            lease.task_id,
            lease.kind,
            event.value,
            lease.attempt,
            error.type,
            error.message,
        )
        return Settlement(lease.task_id, lease.token, event, error=error)


DELAY_MAX: Final = timedelta(days=3660)


def bounded(delay: timedelta) -> timedelta:
    """Return ``delay`` kept to what any store can add to its clock."""
    return min(max(delay, timedelta(0)), DELAY_MAX)


def call_plain(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a plain function as a coroutine would: no future can carry ``StopIteration``."""
    try:
        return function(*arguments)
    except StopIteration as error:
        message = "the handler raised StopIteration"
        raise RuntimeError(message) from error


class AttemptTimedOut(TimeoutError):
    """The attempt took longer than its timeout allows."""


def said(type_: str, message: str) -> AttemptError:
    """Return what is kept of a message that came without an exception."""
    return AttemptError(type_, storable(message)[:MESSAGE_CHARACTERS_MAX])


def describe(error: BaseException) -> AttemptError:
    """Return what is kept of an exception: its type, its message, the end of its traceback."""
    if isinstance(error, Retry):
        return said("Retry", error.reason)
    # The first frames are this module's own; a reader wants the handler's.
    shown = error.__traceback__
    while shown is not None and shown.tb_frame.f_code.co_filename == __file__:
        shown = shown.tb_next
    text = "".join(traceback.format_exception(type(error), error, shown))
    try:
        message = storable(str(error))
    except Exception:  # noqa: BLE001 - a handler's exception may be broken itself
        message = "its message cannot be shown"
    return AttemptError(
        type(error).__qualname__,
        message[:MESSAGE_CHARACTERS_MAX],
        storable(text)[-TRACEBACK_CHARACTERS_MAX:],
    )


def storable(text: str) -> str:
    """Return ``text`` without what no database takes: NUL, and halves of surrogate pairs."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
