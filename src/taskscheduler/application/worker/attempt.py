"""One attempt: decode the payload, call the handler, turn what it did into a settlement."""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextlib import suppress
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from taskscheduler.application.client.results import encode_result
from taskscheduler.application.worker.context import Context, SignalsNotAskedFor
from taskscheduler.application.worker.error_description import describe, said
from taskscheduler.application.worker.outside import packed, perform, report_from, unpacked
from taskscheduler.application.worker.progress import Reporter
from taskscheduler.application.worker.uncounted_time import counted
from taskscheduler.domain.errors import (
    InvalidConfiguration,
    InvalidProgress,
    InvalidResult,
    LeaseLost,
    TaskSchedulerError,
)
from taskscheduler.domain.lease import AttemptError, Settlement
from taskscheduler.domain.notes import RESULT_BYTES_MAX
from taskscheduler.domain.retry import RetryPolicy, bounded
from taskscheduler.domain.status import Event
from taskscheduler.domain.verdicts import Cancel, Discard, Retry, Snooze, Verdict, Wait, in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.application.worker.handlers import Handler, Handlers
    from taskscheduler.application.worker.threads import Threads
    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.ports.engines import Engine
    from taskscheduler.domain.values import WorkerId

THREAD_GRACE_S: Final = 5.0
"""How long a thread that was told to stop may take before its attempt is settled without it."""
NO_THREAD_WAIT: Final = timedelta(seconds=1)
"""After so long a task is claimed again for which there was no thread."""

log = logging.getLogger("taskscheduler.worker")


class AttemptRunner:
    """Runs attempts for one worker. It settles nothing itself: it returns what to settle."""

    def __init__(
        self,
        scheduler: Scheduler,
        handlers: Handlers,
        *,
        threads: Threads,
        random: Callable[[], float],
        may_begin: Callable[[], bool] = lambda: True,
        result_bytes_max: int = RESULT_BYTES_MAX,
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
        self._result_bytes_max = result_bytes_max
        self._signalled: set[str] = set()
        self._reporter = Reporter(scheduler.store.notes)
        self._engines: dict[str, Engine] = {}
        self.on_raised: Callable[[BaseException], None] | None = None
        """Told of what handlers raise that is no verdict, and of payloads that do not fit."""

    def context(self, lease: Lease, worker_id: WorkerId) -> Context:
        """Return the context of the attempt under ``lease``."""
        policy = self._handlers[lease.kind].retry
        return Context(
            lease,
            worker_id=worker_id,
            max_attempts=lease.max_attempts or policy.max_attempts,
            scheduler=self._scheduler,
            loop=asyncio.get_running_loop(),
            result_bytes_max=self._result_bytes_max,
            reporter=self._reporter,
        )

    async def run(self, lease: Lease, context: Context) -> Settlement | None:
        """Run the attempt to its end; None when the handler's own transaction has settled it.

        A cancellation from outside passes through as ``asyncio.CancelledError``, and a coroutine
        that is closed as ``GeneratorExit``.
        """
        handler = self._handlers[lease.kind]
        if lease.expired or lease.excused or self._wants_signals(handler):
            begins, settlement = await self._before(lease, context)
            if not begins:
                return settlement
        try:
            payload = None if handler.decode is None else handler.decode(lease.payload_json)
        except Exception as error:  # noqa: BLE001 - a type of the handler's decides what it raises
            # Trying again cannot make it fit, so attempts are not spent on it.
            return self._unfit(lease, error)
        result: Any = None
        raised: BaseException | None = None
        try:
            timeout = lease.timeout or handler.timeout
            if timeout is None and handler.is_async:
                # What most attempts are, without a coroutine around the handler's own.
                result = await (
                    handler.function(context)
                    if handler.decode is None
                    else handler.function(context, payload)
                )
            elif timeout is None:
                result = await self._call(handler, context, payload)
            else:
                result = await self._call_within(timeout, handler, context, payload)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - its outcome, whatever it is
            raised = error
        if context.reported and not context.settled:
            await self._reporter.settle(lease.token)
        return self._outcome(lease, context, result, raised)

    async def _before(self, lease: Lease, context: Context) -> tuple[bool, Settlement | None]:
        """Return whether the attempt begins, and if not, how it is settled."""
        if lease.expired:
            log.warning("task %s (%s) expired before it could begin", lease.task_id, lease.kind)
            return False, Settlement(lease.task_id, lease.token, Event.EXPIRE)
        if lease.excused and not await self._noted(lease):
            return False, None
        if self._wants_signals(self._handlers[lease.kind]):
            await context.ask_for_signals()
        return True, None

    def _wants_signals(self, handler: Handler) -> bool:
        return handler.asks_for_signals or handler.kind in self._signalled

    async def _noted(self, lease: Lease) -> bool:
        """Let the store know that this attempt begins, and return whether it may.

        Only of a task that was there when a worker went down: should this one go down too, what
        had not begun is not to blame.
        """
        if await self._scheduler.store.tasks.begin(lease):
            return True
        log.warning("task %s: its lease was lost before it began", lease.task_id)
        return False

    async def _call(
        self,
        handler: Handler,
        context: Context,
        payload: Any,
        begins: Callable[[], None] | None = None,
    ) -> Any:
        arguments = (context,) if handler.decode is None else (context, payload)
        if handler.is_async:
            result = await handler.function(*arguments)
        elif handler.engine is not None:
            result = await self._call_outside(handler.engine, handler, arguments, begins)
        else:
            result = await self._call_in_thread(handler, arguments, context, begins)
            if inspect.isawaitable(result):
                # A plain function around a coroutine function: half of it is still to be run.
                result = await result
        return result

    async def _call_within(
        self, span: timedelta, handler: Handler, context: Context, payload: Any
    ) -> Any:
        span_s = span.total_seconds()
        limit = asyncio.timeout(span_s if handler.is_async else None)

        def begins() -> None:
            """Count a plain function's time from when it is called, and not before."""
            with suppress(RuntimeError):  # it has ended by now
                limit.reschedule(asyncio.get_running_loop().time() + span_s)

        try:
            async with limit:
                with counted(limit):
                    return await self._call(handler, context, payload, begins)
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"the attempt took longer than {span_s:g} s"
            raise AttemptTimedOut(message) from None

    async def _call_outside(
        self,
        engine: str,
        handler: Handler,
        arguments: tuple[Any, ...],
        begins: Callable[[], None] | None,
    ) -> Any:
        context: Context = arguments[0]
        if engine not in self._engines:
            if self._scheduler.engines is None:
                message = f"this scheduler runs nothing in {engine!r}"
                raise InvalidConfiguration(message)
            self._engines[engine] = self._scheduler.engines(engine)

        def begin() -> None:
            if context.cancelled or not self._may_begin():
                raise NotBegunError
            if begins is not None:
                begins()

        call = packed(handler.function, context, arguments[1:])
        hears = partial(self._hear, context)
        return unpacked(await self._engines[engine].run(perform, call, begins=begin, hears=hears))

    def _hear(self, context: Context, said: bytes) -> None:
        """Take note of the progress of an attempt that runs outside."""
        with suppress(InvalidProgress):
            if (report := report_from(context, said)) is not None:
                context.reported = True
                self._reporter.add(report)

    async def close(self) -> None:
        """Let go of what runs handlers outside of this process."""
        for engine in self._engines.values():
            await engine.close()
        self._engines.clear()

    async def _call_in_thread(
        self,
        handler: Handler,
        arguments: tuple[Any, ...],
        context: Context,
        begins: Callable[[], None] | None,
    ) -> Any:
        loop = asyncio.get_running_loop()

        def begin() -> Any:
            if context.cancelled or not self._may_begin():
                raise NotBegunError
            if begins is not None:
                loop.call_soon_threadsafe(begins)
            return call_plain(handler.function, *arguments)

        try:
            future = self._threads.submit(partial(copy_context().run, begin))
        except RuntimeError as error:
            log.error("task %s is not begun, there can be no further thread: %s", context.id, error)  # noqa: TRY400 - the error says it all
            raise NotBegunError(NO_THREAD_WAIT) from error
        running = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if running.done():
                raise  # by the function itself
            # A thread cannot be stopped from outside. Ask it, and wait a while, so that the next
            # attempt does not overlap with this one.
            context.cancelled = True
            try:
                await asyncio.wait([running], timeout=THREAD_GRACE_S)
            finally:
                if not running.done():
                    self._threads.abandon(future)
                    log.warning(
                        "task %s: its thread did not stop and was abandoned; %d are by now",
                        context.id,
                        self._threads.abandoned,
                    )
                # Looked at when it ends, so that asyncio does not report it as unseen.
                running.add_done_callback(_look_at)
            raise

    def _completed(self, lease: Lease, context: Context, result: object) -> Settlement | None:
        """Return the settlement of an attempt whose handler returned ``result``."""
        if result is None and not context.settled:
            if context.result is None:
                return Settlement(lease.task_id, lease.token, Event.COMPLETE)
            result = context.result
        if context.settled:
            if result is not None:
                log.warning(
                    "task %s: what its handler returned is not kept, for it was completed before "
                    "by context.transaction(): set context.result within that",
                    lease.task_id,
                )
            return None
        try:
            kept = encode_result(result, self._result_bytes_max)
        except InvalidResult as error:
            return self.failed(lease, context, error)
        return Settlement(lease.task_id, lease.token, Event.COMPLETE, result=kept)

    def _outcome(
        self, lease: Lease, context: Context, result: object, raised: BaseException | None
    ) -> Settlement | None:
        """Return the settlement of an attempt whose handler returned ``result``, or ``raised``."""
        verdict = result if isinstance(result, Verdict) else raised
        if verdict is None:
            return self._completed(lease, context, result)
        if not context.settled:
            return self._judge(lease, context, verdict)
        facts = describe(verdict)
        log.warning(
            "task %s raised after it was completed: %s: %s",
            lease.task_id,
            facts.type,
            facts.message,
        )
        return None

    def _judge(self, lease: Lease, context: Context, verdict: BaseException) -> Settlement | None:
        match verdict:
            case Snooze() | Wait():
                return self._later(lease, context, verdict)
            case Cancel(reason=reason):
                return self._end(lease, Event.CANCEL, said("Cancel", in_words(reason)))
            case Discard(reason=reason):
                return self._end(lease, Event.FAIL, said("Discard", in_words(reason)))
            case NotBegunError(wait=wait):
                event = Event.SNOOZE if wait else Event.RELEASE
                return Settlement(lease.task_id, lease.token, event, wait)
            case LeaseLost() if context.lease_lost:
                log.warning("task %s: %s; its outcome is another worker's", lease.task_id, verdict)
                return None
            case _:
                return self.failed(lease, context, verdict)

    def _later(self, lease: Lease, context: Context, verdict: Snooze | Wait) -> Settlement:
        if isinstance(verdict, SignalsNotAskedFor):
            self._signalled.add(lease.kind)
        if isinstance(verdict, Snooze):
            return Settlement(lease.task_id, lease.token, Event.SNOOZE, bounded(verdict.delay))
        name = verdict.name
        if context.has_signal(name):
            error = said("Wait", f"waits for the signal {name!r}, which it has")
            return self._end(lease, Event.FAIL, error)
        span = bounded(verdict.timeout)
        return Settlement(lease.task_id, lease.token, Event.SNOOZE, span, waits_for=name)

    def failed(self, lease: Lease, context: Context, error: BaseException) -> Settlement:
        """Return the settlement of an attempt that ``error`` ended: again, or never again."""
        if not isinstance(error, Verdict):
            self._tell(error)
            self._report_failure(lease.kind, context, error)
        facts = describe(error)
        if context.is_last_attempt:
            return self._end(lease, Event.FAIL, facts)
        delay = self._delay(lease, error)
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
        return Settlement(lease.task_id, lease.token, Event.RETRY, delay, facts)

    def _delay(self, lease: Lease, error: BaseException) -> timedelta:
        """Return how long to wait before the next attempt. A policy may be of a user's own."""
        try:
            if isinstance(error, Retry) and error.after is not None:
                return bounded(error.after)
            return bounded(self._handlers[lease.kind].retry.delay(lease.attempt, self._random))
        except Exception:
            log.exception("the retry policy of %r gives no wait; the usual one holds", lease.kind)
            return bounded(RetryPolicy().delay(lease.attempt, self._random))

    def _unfit(self, lease: Lease, error: Exception) -> Settlement:
        self._tell(error)
        plain = isinstance(error, (msgspec.MsgspecError, UnicodeDecodeError, RecursionError))
        message = str(error) if plain else in_words(error)
        return self._end(lease, Event.FAIL, said("InvalidPayload", message))

    def _report_failure(self, kind: str, context: Context, error: BaseException) -> None:
        """Let whoever gathers errors know. Nothing that happens there changes the outcome."""
        on_failure = self._handlers[kind].on_failure
        if on_failure is not None:
            try:
                on_failure(context, error)
            except Exception:
                log.exception("on_failure itself failed for task %s", context.id)

    def _tell(self, error: BaseException) -> None:
        if self.on_raised is not None:
            self.on_raised(error)

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


class NotBegunError(TaskSchedulerError):
    """The function was not called, so this is no attempt; it may be called after ``wait``."""

    def __init__(self, wait: timedelta = timedelta(0)) -> None:
        """Without a ``wait``: the lease may have passed on, or the attempt was told to stop."""
        self.wait = wait
        super().__init__("the function was not called")


class AttemptTimedOut(TimeoutError):
    """The attempt took longer than its timeout allows."""


def call_plain(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a plain function as a coroutine would: no future can carry ``StopIteration``."""
    try:
        return function(*arguments)
    except StopIteration as error:
        message = "the handler raised StopIteration"
        raise RuntimeError(message) from error


def _look_at(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
