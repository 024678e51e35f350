"""What the core needs from the outside world. The docstrings are the specification.

Every adapter is proved against them by the contract suites in ``taskscheduler.testing``. All
methods may raise ``StoreUnavailable``; an operation that raised it may or may not have happened,
and each docstring says why repeating it is safe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime, timedelta

    from taskscheduler.domain.access import ApiKey, Caller, LivingKey, NewKey
    from taskscheduler.domain.audit import Action, AuditEntry, AuditQuery, Pruned
    from taskscheduler.domain.bulk import BulkVerb
    from taskscheduler.domain.census import Census
    from taskscheduler.domain.change import TaskState
    from taskscheduler.domain.edit import TaskEdit
    from taskscheduler.domain.fire import Due, Fire, Fired, Outlook, Taken, Waiting
    from taskscheduler.domain.hints import Hints
    from taskscheduler.domain.lease import Attempt, Lease, Settlement, Suspects
    from taskscheduler.domain.ledger import LedgerEntry, NewEntry, Place
    from taskscheduler.domain.notes import Awaited, Ending, Progress, Report, TaskNotes
    from taskscheduler.domain.query import TaskQuery
    from taskscheduler.domain.queue import Queue
    from taskscheduler.domain.quota import Quota, Usage
    from taskscheduler.domain.retention import Expiry, RetentionPolicy
    from taskscheduler.domain.schedule import Schedule
    from taskscheduler.domain.schema import SchemaVersion
    from taskscheduler.domain.status import TaskStatus
    from taskscheduler.domain.task import Idempotency, NewTask, Task, TaskId, WorkerId
    from taskscheduler.domain.tracing import TraceContext
    from taskscheduler.domain.why import Standing
    from taskscheduler.domain.worker import (
        Cancellation,
        Subscription,
        WorkerProfile,
        WorkerSighting,
    )


class TaskRepository(Protocol):
    """Where tasks live. Its clock alone decides what is due.

    Where a change is made ``by`` somebody, or a task is stored with a ``by``, that is written into
    the audit trail: one entry for what was done, with it or not at all, and none for what was not.
    """

    async def put(
        self,
        tasks: Sequence[NewTask],
        *,
        transaction: object | None = None,
        idempotency: Idempotency | None = None,
    ) -> Sequence[TaskId]:
        """Store all ``tasks`` or none; return their ids in the same order.

        * A task that is due in the past is due now.
        * Storing the same id with the same contents again changes nothing, so repeating is safe.
        * A task whose ``unique_key`` is held by an earlier task of its kind is not stored; the
          holder's id is returned in its place. The key is held for the store's time to live,
          beyond completion, and is let go when the task is deleted.
        * With ``idempotency``, a request whose key was used before stores nothing: it returns the
          ids of the first, for as long as unique keys live. Of concurrent ones, one is the first.
        * With ``transaction``, everything happens within it and is seen by others at its commit.

        Raises:
            TaskExists: an id is taken by a task with other contents; nothing was stored.
            IdempotencyConflict: the key was used with another fingerprint; nothing was stored.
        """
        ...

    async def get(self, task_id: TaskId) -> Task:
        """Return the task as it is now.

        Raises:
            TaskNotFound: there is none.
        """
        ...

    async def claim(
        self, worker_id: WorkerId, subscription: Subscription, limit: int
    ) -> Sequence[Lease]:
        """Lease up to ``limit`` tasks to ``worker_id``, each with a token that no lease had before.

        Nor will one have it again, though the store be restored from an earlier moment.

        A task is claimable when all of this holds:

        * it is Pending and its ``process_at`` has passed on the store's clock;
        * its kind and its queue are in ``subscription``, and the queue is not paused;
        * it is no suspect, unless ``subscription`` has those, too;
        * ``worker_id`` is registered.

        More urgent priorities come first; within a kind, queue and priority the earliest
        ``process_at`` does. A task that becomes visible only after later ones were claimed is
        found by the next claim that finds nothing else, and within a second by those that do. No
        task is ever leased to two claims at once. A claim whose answer was lost leaves leases
        that nobody knows of: ``reconcile`` gives them back.
        """
        ...

    async def suspects(self, subscription: Subscription) -> Suspects | None:
        """Return which suspects are due; of those that were excused least often, how many.

        None if none are. Up to some hundreds are counted. Tasks of paused queues are not looked at.
        """
        ...

    async def claim_suspects(
        self, worker_id: WorkerId, subscription: Subscription, excused: int, limit: int
    ) -> Sequence[Lease]:
        """Lease up to ``limit`` due suspects that were excused so often, as ``claim`` does."""
        ...

    async def begin(self, lease: Lease) -> bool:
        """Write down that the attempt under ``lease`` begins; return whether the lease holds.

        Asked of tasks that were excused before, for ``WorkerRegistry.bury`` to know of. Repeating
        changes nothing.
        """
        ...

    async def traces_of(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, TraceContext]:
        """Return the traces of those of the tasks that were stored with one.

        A trace is stored with its task, stays with it through every change, and goes with it. One
        that an earlier task of the same id or key was stored with is not replaced.
        """
        ...

    async def next_due(
        self, subscription: Subscription, *, roughly: bool = False
    ) -> timedelta | None:
        """Return how long until a task of ``subscription`` is due, on the store's clock.

        Zero or less when one is due already; None when there is none at all. Tasks of paused
        queues are not looked at. With ``roughly``, what the last claim saw will do, if it found
        nothing; and a task may be overlooked, for a while, that came late and is dear to find.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> Collection[TaskId]:
        """End leases; return the ids of those that no longer held.

        What comes with a ``result`` is kept with the outcome, or neither is; see ``Notes``. What
        ``waits_for`` a signal is due when that comes, at once if it has come before, and at the
        latest after its delay.

        A lease holds while the task is InProgress under exactly this token. Where it does not,
        nothing changes: a stale worker cannot alter an outcome. Repeating is safe: what
        was settled the first time is returned as not held the second time, and ``outcomes_of``
        tells the two apart.
        """
        ...

    def completing(
        self, lease: Lease, result: Callable[[], bytes | None] = lambda: None
    ) -> AbstractAsyncContextManager[object]:
        """Open a transaction that completes ``lease`` when the block ends.

        Yields the open transaction. What the block writes and the completion are one commit;
        what the block raises rolls back both. At the end ``result`` is asked for what is kept
        with the outcome; what it raises rolls back both, too.

        Raises:
            LeaseLost: the lease no longer held at the end; both were rolled back.
        """
        ...

    async def outcomes_of(self, settlements: Sequence[Settlement]) -> Collection[TaskId]:
        """Return the ids of those ``settlements`` that are on record as made.

        To be asked after a ``settle`` whose answer was lost.
        """
        ...

    async def reconcile(self, worker_id: WorkerId, known: Collection[int]) -> int:
        """Release every lease of ``worker_id`` whose token is not in ``known``; return how many.

        The released attempts do not count: their handlers never began.
        """
        ...

    async def cancel(self, task_id: TaskId, *, by: Caller | None = None) -> Task:
        """Cancel a Pending or InProgress task and return it.

        An InProgress task is Cancelled at once: its lease is lost, and its worker learns of it
        with its next heartbeat, or sooner.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: the task has ended.
        """
        ...

    async def retry(
        self, task_id: TaskId, *, at: datetime | None = None, by: Caller | None = None
    ) -> Task:
        """Make a Failed or Cancelled task Pending, with at least one more attempt.

        A Failed task is due now. A Cancelled one is due at its ``execute_at``, or now if that has
        passed: no task begins before the time that was asked for. With ``at``, an aware time, that
        is its ``execute_at`` from now on, whatever it was; a time in the past means now.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: the task is in another status.
        """
        ...

    async def run_now(self, task_id: TaskId, *, by: Caller | None = None) -> Task:
        """Make a Pending task due now.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: the task is not Pending.
        """
        ...

    async def edit(
        self,
        task_id: TaskId,
        edit: TaskEdit,
        *,
        expected: Task | None = None,
        by: Caller | None = None,
    ) -> Task:
        """Change a Pending task and return it.

        Either the change comes before any claim of the task, which then sees all of it, or it is
        refused. Unless the time is changed, the task keeps its place in time. With ``expected``,
        only a task that still equals it is changed; so after a lost answer a repeat is refused
        with ``TaskChanged``, and without ``expected`` a repeat changes nothing more.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: the task is not Pending.
            InvalidTask: its new time is not before its ``expires_at``.
            TaskChanged: it is not as ``expected``.
        """
        ...

    async def change_all(
        self,
        verb: BulkVerb,
        status: TaskStatus,
        task_ids: Sequence[TaskId],
        *,
        at: datetime | None = None,
        by: Caller | None = None,
    ) -> Mapping[TaskId, bool]:
        """Do ``verb`` to those of the tasks that are in ``status``; tell which of them wait.

        Returns the ids of those that were changed, each with whether it is Pending now and its time
        is still to come. Each is changed as ``cancel``, ``retry`` (with ``at``) or a forced
        ``delete`` would change it, all in one transaction. In a status in which ``verb`` is not
        allowed nothing is changed. Repeating is safe: what was changed is in another status.
        """
        ...

    async def delete(
        self, task_id: TaskId, *, force: bool = False, by: Caller | None = None
    ) -> None:
        """Remove every trace of a task; with ``force`` even of one in progress, cancelling it.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: the task is InProgress and ``force`` is not set.
        """
        ...


class TaskBoard(Protocol):
    """What may be read of tasks, beside a single one."""

    async def list(self, query: TaskQuery) -> Sequence[Task]:
        """Return up to ``query.limit`` tasks that match, newest id first.

        Ids that cannot be of now or before, for they are of another version or of a future day,
        come last (see ``domain/ids.py``). With ``query.bytes_max``, the list ends soon after the
        first task whose payload brings all of them to more bytes than that, and not before it: a
        reader with more in hand than fits knows that there are more; see ``fitting``.
        """
        ...

    async def states(
        self, query: TaskQuery, task_ids: Collection[TaskId] = ()
    ) -> Sequence[TaskState]:
        """Return the states of the tasks with ``task_ids``, or if none are given of ``list``'s.

        Bodies are not read: it costs the same however large they are.
        """
        ...

    async def attempts(
        self, task_id: TaskId, *, before: int | None = None, limit: int | None = None
    ) -> Sequence[Attempt]:
        """Return the task's attempts by number, the running one included.

        With ``before``, only those with smaller numbers; with ``limit``, the newest of them.
        Attempts that did not count (snoozed, released) are left out. Empty for an unknown task.
        """
        ...

    async def standing(self, task_id: TaskId, count_max: int) -> Standing | None:
        """Return where a Pending task stands; None if it is not Pending, or not there.

        Before it come the due tasks of its queue, of whatever kind, that are more urgent, or as
        urgent and of an earlier time. They are counted up to ``count_max``; of a task that is not
        due nothing is counted.
        """
        ...


class Notes(Protocol):
    """What is kept of tasks beside their bodies and outcomes. It goes when the task goes."""

    async def of(self, task_id: TaskId) -> TaskNotes:
        """Return what the task has to show; of an unknown task, that is nothing."""
        ...

    async def endings(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Ending | None]:
        """Return how those of the tasks ended that have; None for those that are not there.

        Tasks that go on are left out. It is one look, however many tasks are asked for.
        """
        ...

    async def report(self, reports: Sequence[Report]) -> None:
        """Keep how far attempts are, at the store's now, in place of what they said before.

        What comes under a lease that no longer holds is dropped. Repeating is safe.
        """
        ...

    async def progress(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Progress]:
        """Return how far those of the tasks are that have said so."""
        ...

    async def steps(self, task_id: TaskId) -> Mapping[str, bytes]:
        """Return what is kept of the task's steps, by their names: JSON text."""
        ...

    async def signal(
        self, task_id: TaskId, name: str, value: bytes, *, by: Caller | None = None
    ) -> None:
        """Keep a signal for a task that has not ended; make the task due if it waits for it.

        Raises:
            TaskNotFound: there is no such task.
            IllegalTransition: it has ended.
            SignalExists: a signal of the name has come before, perhaps by this very call, whose
                answer was lost.
        """
        ...

    async def signals(self, task_id: TaskId) -> Mapping[str, bytes]:
        """Return the signals that have come for the task, by their names: JSON text."""
        ...

    async def awaited(self, task_id: TaskId) -> Awaited | None:
        """Return which signal the task waited for last, and until when.

        It still waits if it is Pending and that is its ``process_at``.
        """
        ...

    async def keep_step(self, lease: Lease, name: str, value: bytes) -> None:
        """Keep what a step came to, for later attempts. Repeating is safe.

        Raises:
            LeaseLost: the lease no longer holds; nothing was kept.
        """
        ...


class WorkerRegistry(Protocol):
    """Who is at work, and who has fallen silent."""

    async def join(self, profile: WorkerProfile) -> WorkerId:
        """Register a worker under a new id and make its kinds known."""
        ...

    async def beat(self, worker_id: WorkerId, *, abandoned: int = 0) -> Sequence[Cancellation]:
        """Extend the worker's lease from the store's now; return leases taken away since.

        ``abandoned`` is how many of its threads run on though their attempts have ended.

        Raises:
            WorkerLost: the worker is not registered; its leases are void.
        """
        ...

    async def leave(self, worker_id: WorkerId) -> None:
        """Strike the worker out and release what it still holds; those attempts do not count."""
        ...

    async def sightings(self) -> Sequence[WorkerSighting]:
        """Return every registered worker."""
        ...

    async def bury(self, worker_id: WorkerId, beats: int) -> Collection[TaskId]:
        """Strike out a silent worker and rescue its tasks; return their ids.

        Only if it is expired on the store's clock and has not beaten since ``beats`` was seen;
        otherwise nothing happens. A rescued task is Pending and due. If one attempt alone had
        begun there, it counts: one that was its last makes the task Failed with the error
        ``WorkerLost``. If several had, any of them may be to blame, and all are excused. Of a task
        that was never excused before it is taken for granted that it had begun; of another,
        ``begin`` must have said so, or else it is put back as if it had never been claimed.

        It waits for nobody. What a transaction that does not end keeps locked stays, and so does
        the worker in the list, marked; a repeat rescues the rest, and this worker cannot beat any
        more.
        """
        ...

    async def rescue_orphans(self) -> Collection[TaskId]:
        """Rescue the tasks that are leased to workers which are not registered; return their ids.

        There are none as long as nobody else changes the store's tables: ``leave`` and ``bury``
        take a worker's tasks with it. Each is rescued as ``bury`` would have done it. This looks
        at all tasks that have not ended, so it is not asked for all the time.
        """
        ...


class QueueRegistry(Protocol):
    """Queues: what they hold, and whether their tasks may begin.

    What is done ``by`` somebody is written into the audit trail, here as with tasks: a queue that
    is paused already is not paused again.
    """

    async def list(self, *, after: str = "", limit: int) -> Sequence[Queue]:
        """Return up to ``limit`` queues by name, those after ``after``, by bytes.

        A queue is there while a task, a worker or a pause names it, and for a while after that.
        """
        ...

    async def get(self, name: str) -> Queue:
        """Return the queue of that name, which may be empty: nobody has to make one."""
        ...

    async def pause(self, name: str, *, by: Caller | None = None) -> None:
        """Let no task of the queue begin until ``resume``.

        When this returns, no claim returns a task of the queue that is not leased by now. What
        is leased goes on. Repeating changes nothing; the queue is paused since the first time.
        """
        ...

    async def resume(self, name: str, *, by: Caller | None = None) -> None:
        """Let tasks of the queue begin again. Repeating changes nothing."""
        ...

    async def running(self) -> tuple[Mapping[WorkerId, int], bool]:
        """Return how many tasks each worker holds, and whether that is all.

        Of a worker that is left out none was found.
        """
        ...


class ScheduleRepository(Protocol):
    """Schedules, and the tasks that they fire. What calendars mean is decided elsewhere.

    What is done ``by`` somebody is written into the audit trail, in the same transaction.
    """

    async def now(self) -> datetime:
        """Return the time on the store's clock, in UTC."""
        ...

    async def add(self, schedule: Schedule, *, by: Caller | None = None) -> None:
        """Keep a new schedule.

        Raises:
            ScheduleExists: the name is taken, perhaps by this very call, whose answer was lost.
        """
        ...

    async def get(self, name: str) -> Schedule:
        """Return the schedule as it is now.

        Raises:
            ScheduleNotFound: there is none.
            ScheduleUnread: this program does not understand it.
        """
        ...

    async def list(
        self, *, after: str = "", limit: int, queue_prefix: str | None = None
    ) -> Sequence[Schedule]:
        """Return up to ``limit`` schedules by name, those after ``after``, by bytes.

        With ``queue_prefix``, only those whose queue begins so. Those that this program does not
        understand are left out.
        """
        ...

    async def replace(
        self, old: Schedule, new: Schedule, *, action: Action, by: Caller | None = None
    ) -> None:
        """Keep ``new`` in place of ``old``, if that is still there in this revision.

        A repeat after a lost answer is refused with ``ScheduleChanged``.

        Raises:
            ScheduleNotFound: there is none of that name.
            ScheduleChanged: it has another revision.
        """
        ...

    async def delete(self, name: str, *, by: Caller | None = None) -> None:
        """Remove the schedule. The tasks that it has fired stay.

        Raises:
            ScheduleNotFound: there is none.
        """
        ...

    async def outlook(self, *, zone_data: str, aside: Collection[str] = ()) -> Outlook:
        """Return when to look at schedules again; see ``take`` for what is left out.

        It writes nothing, and costs one look into an index.
        """
        ...

    async def watch(self) -> None:
        """Say that schedules are watched: somebody with a clock and a worker looks at them now.

        Whoever says so for the first time after more than ``GRACE`` ends an outage: from then on
        ``Taken.watched_since`` is now. A clock that is set back begins no outage, and one that was
        ahead when the last one ended leaves the last ``GRACE`` watched. Those who say it within
        ``WATCH_EVERY`` of another need not.
        """
        ...

    async def take(
        self, limit: int, *, zone_data: str, aside: Collection[str] = ()
    ) -> Taken | None:
        """Take up to ``limit`` schedules that are due, for ``TAKE``; None if there are none.

        Of any number of callers each is given others, and none waits. What is taken is to be fired
        or put aside; if it is neither, because the caller died or stands still, others are given it
        once ``TAKE`` has passed. Half are those that have been due for longest, half those that
        became due last, so that no backlog is in the way of what is punctual.

        Left out are those named in ``aside``, and those whose time was reckoned by zones newer than
        ``zone_data``. One that this program does not understand is ``unread``, and harms no other.
        """
        ...

    async def fire(self, fires: Sequence[Fire]) -> Sequence[Fired | None]:
        """Store the tasks of each fire and let its schedule go on, both or neither.

        Of any number of callers with the same fire one does it; the others are returned None, as
        is who finds the schedule's rule or next time changed, or it paused or deleted. So repeating
        is safe: after a lost answer it is None, and the tasks are there. No schedule may be fired
        twice in one call. What else is changed meanwhile, such as the payload, holds already.

        Where the schedule skips overlaps and its last task has not ended, nothing is stored, and
        it goes on. A task whose unique key is held is not stored, as in ``TaskRepository.put``.

        It is one transaction, which waits for nobody else's for long: any error is that of all.
        """
        ...

    async def fires(
        self, name: str, *, queue_prefix: str | None = None, before: Place | None = None, limit: int
    ) -> Sequence[LedgerEntry]:
        """Return up to ``limit`` entries of a schedule's ledger, the latest fires first.

        They are those behind ``before``; with ``queue_prefix`` those that were written while its
        tasks went into such queues. The ledger outlives its schedule: who makes another of the
        name goes on with it.
        """
        ...

    async def note(self, schedule: Schedule, entry: NewEntry) -> None:
        """Write into the ledger of ``schedule`` what was done beside its fires.

        A repeat after a lost answer writes it twice.
        """
        ...

    async def put_aside(self, problems: Mapping[str, str]) -> None:
        """Let go of taken schedules that could not be fired, and keep why, by name."""
        ...

    async def waiting(self, after: str, limit: int) -> Waiting:
        """Return up to ``limit`` schedules whose time has not come, by name, those after ``after``.

        Those that this program does not understand are left out.
        """
        ...

    async def reckon(
        self, due: Due, *, next_fire_at: datetime | None, zone_data: str | None
    ) -> bool:
        """Let a schedule go on to another time, if its rule and its next time are those of ``due``.

        Return whether they were.
        """
        ...


class KindCatalogue(Protocol):
    """Which kinds have a handler somewhere."""

    async def register(self, kinds: Mapping[str, int]) -> None:
        """Make ``kinds`` known, each with the attempts that its handler's policy grants."""
        ...

    async def known(self) -> frozenset[str]:
        """Return every kind that was ever registered."""
        ...


class KeyRing(Protocol):
    """The keys that open the service. Its clock alone decides which have expired."""

    async def add(self, key: NewKey, *, by: Caller | None = None) -> ApiKey:
        """Keep a new key and return it. Repeating is safe: the same id is kept once.

        What is done ``by`` somebody is written into the audit trail, here as with tasks.
        """
        ...

    async def revoke(self, key_id: str, *, by: Caller | None = None) -> ApiKey:
        """Revoke a key, for good, and return it; one that is revoked stays as it is.

        Raises:
            KeyNotFound: there is none.
        """
        ...

    async def list(self) -> Sequence[ApiKey]:
        """Return every key, expired and revoked ones too, the newest first."""
        ...

    async def living(self) -> Sequence[LivingKey]:
        """Return the keys that are neither revoked nor expired, in no particular order."""
        ...


class AuditTrail(Protocol):
    """What was done, and by whom. Entries come from the changes themselves."""

    async def list(self, query: AuditQuery) -> Sequence[AuditEntry]:
        """Return up to ``query.limit`` entries that match, newest first."""
        ...

    async def prune(self, keep: timedelta, *, dry_run: bool = False) -> Pruned:
        """Delete entries that are older than ``keep``, the oldest first; how many is bounded.

        Any number may call it at once. With ``dry_run`` nothing is deleted, and what would be is
        counted. Repeating is safe. The ids of what is deleted are never given again.
        """
        ...


class Upkeep(Protocol):
    """What a store wants done from time to time. Any worker may do it, at any moment."""

    async def turn(self) -> Sequence[str]:
        """Do what is due: prepare storage for the days ahead, drop what has lived its time.

        Return what could not be done, each in a sentence that says why; the rest is done.
        """
        ...

    async def schema_version(self) -> SchemaVersion:
        """Return which version of its schema the store has, and which one this program needs."""
        ...


class Archive(Protocol):
    """The tasks that have ended, for as long as they are kept."""

    async def expire(
        self,
        policy: RetentionPolicy,
        *,
        export: Callable[[Sequence[Task]], None] | None = None,
        dry_run: bool = False,
    ) -> Expiry:
        """Drop tasks that ended longer ago than ``policy`` keeps them; how many is bounded.

        Histories and unique keys go with them. Tasks that have not ended are never touched. Any
        number may call it at once: one works, the others find nothing to do. ``export`` is handed
        the tasks before they go, some perhaps twice; what it raises keeps them. With ``dry_run``
        nothing is changed. Repeating is safe.
        """
        ...


class Gauge(Protocol):
    """How full the store is. Looking costs milliseconds, however much there is."""

    async def census(self, *, exact_up_to: int) -> Census:
        """Count the Pending tasks of every queue in which some wait.

        Other queues are told of as empty ones. Where tasks wait in thousands of lanes, or there
        are thousands of queues, some are left out, the latest first, and that is said.

        Of one queue, kind and priority up to ``exact_up_to`` due and as many scheduled tasks are
        counted; where there are more, the number is an estimate, and never below that.
        """
        ...

    async def usage(self, prefix: str, *, up_to: Quota) -> Usage:
        """Count what the queues hold whose names begin with ``prefix``.

        Only what ``up_to`` limits is counted, and no further than one more than that. The size of
        very many payloads is reckoned from that of some.
        """
        ...

    def connections(self) -> Mapping[str, int]:
        """Return how many connections to the store are ``used``, ``idle``, and at most, ``max``.

        ``waiting`` callers wait for one. Empty where there are no connections.
        """
        ...


class Listener(Protocol):
    """One worker's ear for wake-ups."""

    @property
    def degraded(self) -> str | None:
        """Why wake-ups may be missed at present, or None. While they are, polling finds work."""
        ...

    @property
    def since(self) -> datetime:
        """When they began to be heard, or to be missed, by this process's own clock."""
        ...

    async def wait(self, within_s: float) -> bool:
        """Wait for a wake-up for at most ``within_s`` seconds; return whether one came.

        One that came between two waits counts for the later one. Several may come as one.
        """
        ...


class WakeUps(Protocol):
    """Hints that work was stored. Losing, doubling or reordering them costs latency, no task.

    There are four ways: PostgreSQL's own notices, RabbitMQ, SQS, and none at all. SQS hands a hint
    to one listener, the others to all. None carries more than the names of queues: what is to be
    done, and when, is asked of the repository.
    """

    @property
    def by(self) -> str:
        """Which way it is: ``postgres``, ``rabbitmq``, ``sqs``, ``poll`` or ``memory``."""
        ...

    @property
    def hints(self) -> Hints:
        """How giving hints goes; while it does not, workers find work by polling."""
        ...

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Return the context within which hints are given. Leaving it takes seconds at most."""
        ...

    def ring(self, queues: Collection[str]) -> None:
        """Hint, after the commit, that ``queues`` have new work. Never raises, never blocks.

        What cannot be told is told later, as one hint, unless the process ends before.
        """
        ...

    def ring_cancellation(self) -> None:
        """Hint that some worker's lease was taken away. Never raises, never blocks."""
        ...

    def listen(
        self, queues: Collection[str], *, on_cancellation: Callable[[], None]
    ) -> AbstractAsyncContextManager[Listener]:
        """Listen for hints about ``queues``.

        ``on_cancellation`` is called when some worker's lease was taken away: the next heartbeat
        tells whose.
        """
        ...


class Clock(Protocol):
    """The process's own time, for waiting only: the store's clock decides what is due."""

    def monotonic(self) -> float:
        """Return seconds that only ever grow."""
        ...
