"""The scheduler for callers that block: scripts, notebooks, Django, Flask, threads of any kind.

The verbs are those of ``Scheduler`` and ``Schedules``, with the same parameters and answers: each
is made of its asynchronous twin, so that there is nothing here to fall behind.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import weakref
from contextvars import Context as Variables
from functools import update_wrapper
from types import MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    NamedTuple,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from taskscheduler.application.client.batches import Batches
from taskscheduler.application.client.errands import Errands, Home, InCallersThread, home
from taskscheduler.application.client.limits import Limits
from taskscheduler.application.client.scheduler import OWN, Scheduler
from taskscheduler.application.client.schedules import Schedules
from taskscheduler.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from types import TracebackType

    from taskscheduler.application.client.kind_names import Alone, Payload, Taking
    from taskscheduler.application.client.scheduler import TaskOptions
    from taskscheduler.application.client.task_batch import TaskSpec
    from taskscheduler.domain.idempotency import Idempotency
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.values import TaskId

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")
Asynchronous = TypeVar("Asynchronous")
Twin_co = TypeVar("Twin_co", covariant=True)


class Blocks(Protocol[Twin_co]):
    """What lets an asynchronous thing work while its caller waits."""

    def run(self, work: Callable[[Twin_co, Errands], Coroutine[Any, Any, Answer]]) -> Answer:
        """Return what ``work`` comes to on the event loop."""
        ...


class Verb(Generic[Asynchronous, Parameters, Answer]):
    """A method that returns what its asynchronous twin returns to who awaits it."""

    def __init__(
        self,
        twin: Callable[Concatenate[Asynchronous, Parameters], Coroutine[Any, Any, Answer]],
    ) -> None:
        """Do what ``twin`` does."""
        self._twin = twin
        self.__doc__ = twin.__doc__

    @overload
    def __get__(self, blocking: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self, blocking: Blocks[Asynchronous], owner: type
    ) -> Callable[Parameters, Answer]: ...
    def __get__(
        self, blocking: Blocks[Asynchronous] | None, owner: type
    ) -> Self | Callable[Parameters, Answer]:
        """Return the method of ``blocking``."""
        if blocking is None:
            return self

        def verb(*arguments: Parameters.args, **options: Parameters.kwargs) -> Answer:
            return blocking.run(lambda thing, _: self._twin(thing, *arguments, **options))

        # As a method of ``blocking``, so that who inspects it is not told of ``self``.
        return update_wrapper(verb, MethodType(self._twin, blocking))


class SyncSchedules:
    """``Schedules``, blocking."""

    def __init__(self, scheduler: BlockingScheduler) -> None:
        """Those of ``scheduler``."""
        self._scheduler = scheduler

    def run(self, work: Callable[[Schedules, Errands], Coroutine[Any, Any, Answer]]) -> Answer:
        """Return what ``work`` comes to on the event loop."""
        return self._scheduler.run(lambda scheduler, errands: work(scheduler.schedules, errands))

    put = Verb(Schedules.put)
    make = Verb(Schedules.make)
    get = Verb(Schedules.get)
    list = Verb(Schedules.list)
    edit = Verb(Schedules.edit)
    delete = Verb(Schedules.delete)
    pause = Verb(Schedules.pause)
    resume = Verb(Schedules.resume)
    trigger = Verb(Schedules.trigger)
    preview = Verb(Schedules.preview)
    foresee = Verb(Schedules.foresee)
    fires = Verb(Schedules.fires)
    backfill = Verb(Schedules.backfill)


class SyncBatches:
    """``Batches``, blocking."""

    def __init__(self, scheduler: BlockingScheduler) -> None:
        """Those of ``scheduler``."""
        self._scheduler = scheduler

    def run(self, work: Callable[[Batches, Errands], Coroutine[Any, Any, Answer]]) -> Answer:
        """Return what ``work`` comes to on the event loop."""
        return self._scheduler.run(lambda scheduler, errands: work(scheduler.batches, errands))

    make = Verb(Batches.make)
    get = Verb(Batches.get)
    list = Verb(Batches.list)
    seal = Verb(Batches.seal)
    tasks = Verb(Batches.tasks)


class SyncLimits:
    """``Limits``, blocking."""

    def __init__(self, scheduler: BlockingScheduler) -> None:
        """Those of ``scheduler``."""
        self._scheduler = scheduler

    def run(self, work: Callable[[Limits, Errands], Coroutine[Any, Any, Answer]]) -> Answer:
        """Return what ``work`` comes to on the event loop."""
        return self._scheduler.run(lambda scheduler, errands: work(scheduler.limits, errands))

    put = Verb(Limits.put)
    get = Verb(Limits.get)
    list = Verb(Limits.list)
    edit = Verb(Limits.edit)
    delete = Verb(Limits.delete)


class _Opened(NamedTuple):
    """A scheduler, and on which event loop it was opened, or is being opened."""

    home: Home
    scheduler: Scheduler
    opening: asyncio.Task[Scheduler]


class BlockingScheduler:
    """``Scheduler``, blocking. It may be shared by threads, and used on in processes they fork.

    All schedulers of a process share one event loop, in a thread of its own. So it does not matter
    whether the calling thread runs one, which a call holds up for as long as it takes. The store
    is opened with the first call, and anew in a process that was forked; it is closed by ``close``,
    by the end of a ``with`` block, or when the process ends.
    """

    def __init__(self, make: Callable[[], Scheduler]) -> None:
        """Block for what ``make`` returns, which is called once in each process."""
        self._make = make
        self._made: Scheduler | None = make()  # so that what is wrong is said now
        self._opened: _Opened | None = None
        self._is_closed = False
        atexit.register(_close, weakref.ref(self))

    def __enter__(self) -> Self:
        """Open the store."""
        self._is_closed = False
        self.run(_nothing)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the store."""
        self.close()

    def close(self) -> None:
        """Finish what others wait for, and close the store."""
        self._is_closed = True
        opened, self._opened = self._opened, None
        if opened is not None and opened.home is home():
            opened.home.run(lambda _: _exit(opened))

    def run(self, work: Callable[[Scheduler, Errands], Coroutine[Any, Any, Answer]]) -> Answer:
        """Return what ``work`` comes to on the event loop. Raises StoreUnavailable: closed."""
        if self._is_closed:
            message = "the scheduler is closed"
            raise StoreUnavailable(message)
        here = home()

        async def working(errands: Errands) -> Answer:
            return await work(await self._ready(here), errands)

        return here.run(working)

    async def _ready(self, here: Home) -> Scheduler:
        opened = self._opened
        if opened is None or opened.home is not here:
            # No two do this at once: nothing is awaited in between.
            made, self._made = self._made, None
            scheduler = self._make() if made is None else made
            opening = asyncio.create_task(scheduler.__aenter__(), context=Variables())
            opened = self._opened = _Opened(here, scheduler, opening)
        try:
            return await asyncio.shield(opened.opening)
        except Exception:
            if self._opened is opened:
                self._opened = None
            raise

    @property
    def batches(self) -> SyncBatches:
        """Tasks that are counted together."""
        return SyncBatches(self)

    @property
    def limits(self) -> SyncLimits:
        """How many tasks run, and how fast they begin."""
        return SyncLimits(self)

    @property
    def schedules(self) -> SyncSchedules:
        """What is stored again and again, by itself."""
        return SyncSchedules(self)

    # -- storing ---------------------------------------------------------------------------------

    @overload
    def prepare(
        self, kind: str, payload: object = None, **options: Unpack[TaskOptions]
    ) -> NewTask: ...
    @overload
    def prepare(self, kind: Alone, **options: Unpack[TaskOptions]) -> NewTask: ...
    @overload
    def prepare(
        self, kind: Taking[Payload], payload: Payload, **options: Unpack[TaskOptions]
    ) -> NewTask: ...
    def prepare(
        self,
        kind: str | Callable[..., Any],
        payload: object = None,
        **options: Unpack[TaskOptions],
    ) -> NewTask:
        """Return the task that ``schedule`` would store. See ``Scheduler.prepare``."""

        async def prepare(scheduler: Scheduler, _: Errands) -> NewTask:
            return scheduler.prepare(cast("str", kind), payload, **options)  # or a function

        return self.run(prepare)

    @overload
    def schedule(
        self,
        kind: str,
        payload: object = None,
        *,
        connection: object = OWN,
        **options: Unpack[TaskOptions],
    ) -> TaskId: ...
    @overload
    def schedule(
        self, kind: Alone, *, connection: object = OWN, **options: Unpack[TaskOptions]
    ) -> TaskId: ...
    @overload
    def schedule(
        self,
        kind: Taking[Payload],
        payload: Payload,
        *,
        connection: object = OWN,
        **options: Unpack[TaskOptions],
    ) -> TaskId: ...
    def schedule(
        self,
        kind: str | Callable[..., Any],
        payload: object = None,
        *,
        connection: object = OWN,
        **options: Unpack[TaskOptions],
    ) -> TaskId:
        """Store one task and return its id once it is committed. See ``Scheduler.schedule``.

        ``connection`` is a blocking one, such as ``psycopg.Connection``, SQLAlchemy's ``Session``
        or ``Connection``, or Django's. It is used in the calling thread alone.
        """
        return self.run(
            lambda scheduler, errands: scheduler.schedule(
                cast("str", kind), payload, connection=_kept(connection, errands), **options
            )
        )

    def schedule_many(
        self, tasks: Iterable[TaskSpec], *, connection: object = OWN
    ) -> Sequence[TaskId]:
        """Store all ``tasks``, or none. See ``Scheduler.schedule_many``."""
        return self.run(
            lambda scheduler, errands: scheduler.schedule_many(
                tasks, connection=_kept(connection, errands)
            )
        )

    def put_many(
        self,
        tasks: Sequence[NewTask],
        *,
        connection: object = OWN,
        idempotency: Idempotency | None = None,
    ) -> Sequence[TaskId]:
        """Store prepared tasks in one transaction. See ``Scheduler.put_many``."""
        return self.run(
            lambda scheduler, errands: scheduler.put_many(
                tasks, connection=_kept(connection, errands), idempotency=idempotency
            )
        )

    put = Verb(Scheduler.put)
    require_known = Verb(Scheduler.require_known)

    # -- looking ---------------------------------------------------------------------------------

    get = Verb(Scheduler.get)
    list = Verb(Scheduler.list)
    attempts = Verb(Scheduler.attempts)
    notes = Verb(Scheduler.notes)
    why = Verb(Scheduler.why)
    ending = Verb(Scheduler.ending)
    result = Verb(Scheduler.result)
    signal = Verb(Scheduler.signal)

    # -- changing --------------------------------------------------------------------------------

    cancel = Verb(Scheduler.cancel)
    retry = Verb(Scheduler.retry)
    run_now = Verb(Scheduler.run_now)
    edit = Verb(Scheduler.edit)
    delete = Verb(Scheduler.delete)
    change_page = Verb(Scheduler.change_page)

    # -- operating -------------------------------------------------------------------------------

    queues = Verb(Scheduler.queues)
    queue = Verb(Scheduler.queue)
    pause_queue = Verb(Scheduler.pause_queue)
    resume_queue = Verb(Scheduler.resume_queue)
    workers = Verb(Scheduler.workers)


def _kept(connection: object, errands: Errands) -> object:
    """Return what stands for a caller's connection on the event loop."""
    if connection is OWN or connection is None:
        return connection
    return InCallersThread(connection, errands)


async def _nothing(_: Scheduler, __: Errands) -> None:
    """Only open the store."""


async def _exit(opened: _Opened) -> None:
    await (await opened.opening).__aexit__(None, None, None)


def _close(scheduler: weakref.ref[BlockingScheduler]) -> None:
    """Close at the end of the process what nobody has closed: somebody may wait for a wake-up."""
    found = scheduler()
    if found is not None:
        with contextlib.suppress(Exception):
            found.close()
