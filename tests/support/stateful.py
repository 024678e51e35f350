"""Any sequence of calls, judged by the model. The one module here that needs hypothesis.

Subclass ``RepositoryMachine`` with a way to open a store, and hand it to pytest::

    class Machine(RepositoryMachine):
        def opened(self) -> AbstractAsyncContextManager[tuple[Store, ManualClock]]: ...

    TestMachine = Machine.TestCase
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from taskscheduler.domain.bulk import BulkVerb
from taskscheduler.domain.errors import TaskSchedulerError, WorkerLost
from taskscheduler.domain.lease import SETTLING, Lease, Settlement
from taskscheduler.domain.new_task import NewTask
from taskscheduler.domain.query import LIMIT_MAX, TaskQuery
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.task_edit import TaskEdit
from taskscheduler.domain.values import TaskId, WorkerId
from taskscheduler.domain.worker import Subscription, WorkerProfile
from tests.support.model import RECORDED, Model

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock

Answer = TypeVar("Answer")

KINDS = ("mail", "fax")
QUEUES = ("default", "letters")
seconds = st.sampled_from((0, 1, 10, 40, 3600, 86_400)).map(lambda s: timedelta(seconds=s))
subscriptions = st.builds(
    Subscription,
    kinds=st.frozensets(st.sampled_from(KINDS), min_size=1),
    queues=st.frozensets(st.sampled_from(QUEUES), min_size=1),
)
specs = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "queue": st.sampled_from(QUEUES),
        "priority": st.sampled_from((0, 5, 9)),
        "max_attempts": st.sampled_from((None, 1, 2)),
        "unique_key": st.sampled_from((None, None, "a", "b")),
        "delay": st.one_of(st.none(), seconds, seconds.map(lambda s: -s)),
    }
)
EARLY = ("cancel", "retry", "cancel_all", "retry_all", "edit", "delete")
"""The verbs that leave a task its time, or give it one that is still to come."""
places = st.integers(0, 63)
"""Which of the things there are, counted round and round."""


class Ending(NamedTuple):
    """How one lease is to be ended."""

    place: int
    event: Event
    delay: timedelta


endings = st.builds(Ending, places, st.sampled_from(sorted(SETTLING)), seconds)


class RepositoryMachine(RuleBasedStateMachine):
    """Does anything, in any order, to a store and to the model, and compares the two."""

    def __init__(self) -> None:
        """Open a new store."""
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.store, self.clock = self.run(self.stack.enter_async_context(self.opened()))
        self.model = Model(self.clock)
        self.asked: list[NewTask] = []
        self.leases: list[Lease] = []
        self.worker_ids: list[WorkerId] = []

    def opened(self) -> AbstractAsyncContextManager[tuple[Store, ManualClock]]:
        """Open an empty store, whose time is the clock's."""
        raise NotImplementedError

    def teardown(self) -> None:
        """Close the store."""
        self.run(self.stack.aclose())
        self.runner.close()

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Run a coroutine to its end."""
        return self.runner.run(work)

    # -- storing ---------------------------------------------------------------------------------

    @rule(batch=st.lists(specs, min_size=1, max_size=5))
    def put(self, batch: Sequence[dict[str, Any]]) -> None:
        """Store new tasks."""
        tasks: list[NewTask] = []
        for spec in batch:
            fields = dict(spec)
            delay = fields.pop("delay")
            at = None if delay is None else self.clock.now() + delay
            tasks.append(NewTask(id=self.store.new_task_id(), execute_at=at, **fields))
        self.asked += tasks
        self.both(self.store.tasks.put(tasks), lambda: self.model.put(tasks))

    @precondition(lambda self: self.asked)
    @rule(chosen=st.lists(places, min_size=1, max_size=3), kind=st.sampled_from((None, *KINDS)))
    def put_again(self, chosen: Sequence[int], kind: str | None) -> None:
        """Store tasks that were asked for before, perhaps with another kind."""
        tasks = [at(self.asked, place) for place in chosen]
        if kind is not None:
            last = tasks[-1]
            changed = NewTask(id=last.id, kind=kind, queue=last.queue)
            # No port says who answers for a batch that contradicts itself about a held key.
            tasks = [*(task for task in tasks if task.id != last.id), changed]
        self.both(self.store.tasks.put(tasks), lambda: self.model.put(tasks))

    # -- claiming and settling -------------------------------------------------------------------

    @precondition(lambda self: self.worker_ids)
    @rule(place=places, subscription=subscriptions, limit=st.sampled_from((0, 1, 2, 5, 100)))
    def claim(self, place: int, subscription: Subscription, limit: int) -> None:
        """Claim for a worker, dead or alive."""
        worker_id = at(self.worker_ids, place)
        leases = self.run(as_coroutine(self.store.tasks.claim(worker_id, subscription, limit)))
        self.model.claim(worker_id, subscription, limit, leases)
        self.leases += leases

    @rule(spec=specs, count=st.integers(1, 4), worker=places)
    def begin(self, spec: dict[str, Any], count: int, worker: int) -> None:
        """Store tasks that are due, and claim all there is: without leases little can happen."""
        if not self.model.members:
            self.join(granted=1 + worker % 3, lease=30)
        self.put([{**spec, "delay": None}] * count)
        subscription = Subscription(queues=frozenset(QUEUES), kinds=frozenset(KINDS))
        worker_id = at(list(self.model.members), worker)
        leases = self.run(as_coroutine(self.store.tasks.claim(worker_id, subscription, 100)))
        self.model.claim(worker_id, subscription, 100, leases)
        self.leases += leases

    @precondition(lambda self: self.leases)
    @rule(chosen=st.lists(endings, min_size=1, max_size=4))
    def settle(self, chosen: Sequence[Ending]) -> None:
        """End leases, held or lost; ask after each."""
        settlements: dict[TaskId, Settlement] = {}
        for place, event, delay in chosen:
            lease = at(self.leases[::-1], place)
            wait = delay if event in {Event.RETRY, Event.SNOOZE} else timedelta(0)
            settlement = Settlement(lease.task_id, lease.token, event, wait)
            settlements.setdefault(lease.task_id, settlement)
        batch = list(settlements.values())
        not_held = self.run(as_coroutine(self.store.tasks.settle(batch)))
        assert set(not_held) == self.model.settle(batch)
        asked = [each for each in batch if each.event in RECORDED]
        made = self.run(as_coroutine(self.store.tasks.outcomes_of(asked)))
        for each in asked:
            told = self.model.was_made(each)
            assert told is None or told == (each.task_id in made)

    @precondition(lambda self: self.leases)
    @rule(place=places)
    def begin_attempt(self, place: int) -> None:
        """Let an attempt begin, under a lease that was taken lately or long ago."""
        lease = at(self.leases[::-1], place)
        self.both(self.store.tasks.begin(lease), lambda: self.model.begin(lease))

    @precondition(lambda self: self.leases)
    @rule(ending=endings)
    def finish(self, ending: Ending) -> None:
        """End a lease that was taken lately, and so perhaps holds."""
        newest = len(self.leases) - 1 - ending.place % min(4, len(self.leases))
        lease = self.leases[newest]
        wait = ending.delay if ending.event in {Event.RETRY, Event.SNOOZE} else timedelta(0)
        settlement = Settlement(lease.task_id, lease.token, ending.event, wait)
        not_held = self.run(as_coroutine(self.store.tasks.settle([settlement])))
        assert set(not_held) == self.model.settle([settlement])

    @precondition(lambda self: self.worker_ids)
    @rule(place=places, parity=st.sampled_from((0, 1, None)))
    def reconcile(self, place: int, parity: int | None) -> None:
        """Let a worker forget some of its leases."""
        worker_id = at(self.worker_ids, place)
        known = [lease.token for lease in self.leases if lease.token % 2 == parity]
        self.both(
            self.store.tasks.reconcile(worker_id, known),
            lambda: self.model.reconcile(worker_id, known),
        )

    @rule(subscription=subscriptions)
    def next_due(self, subscription: Subscription) -> None:
        """Ask when to look again."""
        self.both(
            self.store.tasks.next_due(subscription), lambda: self.model.next_due(subscription)
        )

    # -- one task, by hand -----------------------------------------------------------------------

    @precondition(lambda self: self.asked)
    @rule(place=places, verb=st.sampled_from(("cancel", "retry", "run_now")))
    def change(self, place: int, verb: str) -> None:
        """Change a task by hand."""
        task_id = at(self.asked, place).id
        real, model = getattr(self.store.tasks, verb), getattr(self.model, verb)
        self.both(real(task_id), lambda: model(task_id))

    @precondition(lambda self: self.asked)
    @rule(place=places, delay=st.one_of(seconds, seconds.map(lambda s: -s)))
    def retry_at(self, place: int, delay: timedelta) -> None:
        """Let a task that ended run again, at another time."""
        task_id = at(self.asked, place).id
        moment = self.clock.now() + delay
        self.both(
            self.store.tasks.retry(task_id, at=moment), lambda: self.model.retry(task_id, moment)
        )

    @precondition(lambda self: self.asked)
    @rule(
        chosen=st.lists(places, max_size=5),
        verb=st.sampled_from(BulkVerb),
        status=st.sampled_from(TaskStatus),
        delay=st.one_of(st.none(), seconds),
    )
    def change_all(
        self, chosen: Sequence[int], verb: BulkVerb, status: TaskStatus, delay: timedelta | None
    ) -> None:
        """Change many tasks at once."""
        ids = [at(self.asked, place).id for place in chosen]
        moment = None if delay is None else self.clock.now() + delay
        changed = self.run(as_coroutine(self.store.tasks.change_all(verb, status, ids, at=moment)))
        assert dict(changed) == self.model.change_all(verb, status, ids, moment)

    @rule(spec=specs, verbs=st.lists(st.sampled_from(EARLY), max_size=4))
    def try_to_run_early(self, spec: dict[str, Any], verbs: Sequence[str]) -> None:
        """Store a task for later, do anything but ask for its time, and claim all there is."""
        self.put([{**spec, "delay": timedelta(days=1)}])
        place = len(self.asked) - 1
        for verb in verbs:
            match verb:
                case "edit":
                    self.edit(place, timedelta(hours=1), None)
                case "delete":
                    self.delete(place, force=True)
                case "cancel_all":
                    self.change_all([place], BulkVerb.CANCEL, TaskStatus.PENDING, None)
                case "retry_all":
                    self.change_all([place], BulkVerb.RETRY, TaskStatus.CANCELLED, None)
                case _:
                    self.change(place, verb)
        self.begin({**spec, "unique_key": None}, 1, 0)

    @precondition(lambda self: self.asked)
    @rule(place=places, delay=seconds, payload=st.sampled_from((None, b"1", b"[2, 3]")))
    def edit(self, place: int, delay: timedelta, payload: bytes | None) -> None:
        """Change what a task is to do, and when."""
        task_id = at(self.asked, place).id
        edit = TaskEdit(execute_at=self.clock.now() + delay, payload_json=payload)
        self.both(self.store.tasks.edit(task_id, edit), lambda: self.model.edit(task_id, edit))

    @precondition(lambda self: self.asked)
    @rule(place=places, force=st.booleans())
    def delete(self, place: int, *, force: bool) -> None:
        """Delete a task."""
        task_id = at(self.asked, place).id
        self.both(
            self.store.tasks.delete(task_id, force=force),
            lambda: self.model.delete(task_id, force=force),
        )

    # -- workers ---------------------------------------------------------------------------------

    @rule(granted=st.integers(1, 3), lease=st.sampled_from((5, 30)))
    def join(self, granted: int, lease: int) -> None:
        """Let a worker come."""
        profile = WorkerProfile(
            name="machine",
            queues=frozenset(QUEUES),
            kinds=dict.fromkeys(KINDS, granted),
            concurrency=1,
            lease=timedelta(seconds=lease),
        )
        worker_id = self.run(as_coroutine(self.store.workers.register(profile)))
        assert worker_id not in self.worker_ids
        self.worker_ids.append(worker_id)
        self.model.join(worker_id, profile.kinds, profile.lease)

    @precondition(lambda self: self.worker_ids)
    @rule(place=places)
    def heartbeat(self, place: int) -> None:
        """Let a worker beat."""
        worker_id = at(self.worker_ids, place)
        try:
            told = self.run(as_coroutine(self.store.workers.heartbeat(worker_id)))
        except WorkerLost:
            assert worker_id not in self.model.members
        else:
            self.model.heartbeat(worker_id, told)

    @precondition(lambda self: self.worker_ids)
    @rule(place=places)
    def deregister(self, place: int) -> None:
        """Let a worker go."""
        worker_id = at(self.worker_ids, place)
        self.run(as_coroutine(self.store.workers.deregister(worker_id)))
        self.model.deregister(worker_id)

    @precondition(lambda self: self.model.members)
    @rule(place=places, late=st.sampled_from((0, 0, 1)), silent=st.booleans())
    def declare_dead(self, place: int, late: int, *, silent: bool) -> None:
        """Take a worker for dead, rightly or not."""
        if silent:
            self.clock.advance(seconds=31)
        seen = at(self.run(as_coroutine(self.store.workers.registered())), place)
        rescued = self.run(
            as_coroutine(self.store.workers.declare_dead(seen.id, seen.beats - late))
        )
        assert set(rescued) == self.model.declare_dead(seen.id, seen.beats - late)

    # -- time ------------------------------------------------------------------------------------

    @rule(step=seconds)
    def advance(self, step: timedelta) -> None:
        """Let time pass."""
        self.clock.advance(step + timedelta(microseconds=1))

    @rule(step=seconds)
    def jump_back(self, step: timedelta) -> None:
        """Set the store's clock back."""
        self.clock.jump(-step)
        self.model.in_order = False

    # -- what always holds -----------------------------------------------------------------------

    @invariant()
    def tasks_are_the_models(self) -> None:
        """The list shows every task, as the model has it."""
        listed = self.run(as_coroutine(self.store.board.list(TaskQuery(limit=LIMIT_MAX))))
        assert list(listed) == [task for _, task in sorted(self.model.tasks.items())][::-1]

    @invariant()
    def workers_are_the_models(self) -> None:
        """Those registered are seen, with their beats."""
        seen = self.run(as_coroutine(self.store.workers.registered()))
        assert {each.id: (each.beats, each.expired) for each in seen} == {
            worker_id: (member.beats, self.model.is_expired(worker_id))
            for worker_id, member in self.model.members.items()
        }

    @precondition(lambda self: self.asked)
    @rule(place=places)
    def attempts_are_the_models(self, place: int) -> None:
        """A task's history is whole."""
        task_id = at(self.asked, place).id
        attempts = self.run(as_coroutine(self.store.board.attempts(task_id)))
        expected: list[tuple[int, Event | None]] = [*self.model.history.get(task_id, ())]
        task = self.model.tasks.get(task_id)
        if task is not None and task.status is TaskStatus.IN_PROGRESS:
            expected.append((task.attempt, None))
        found = [(each.number, each.outcome) for each in attempts]
        assert found == expected if self.model.in_order else sorted_(found) == sorted_(expected)

    def both(self, real: Awaitable[object], model: Callable[[], object]) -> None:
        """Compare what the store answers, or raises, with what the model does."""
        assert self.run(answer_of(real)) == self.run(answer_of(as_coroutine(call(model))))


def sorted_(attempts: Sequence[tuple[int, Event | None]]) -> list[tuple[int, str]]:
    """Return attempts in an order that does not depend on the clock."""
    return sorted((number, str(outcome)) for number, outcome in attempts)


def at(things: Sequence[Answer], place: int) -> Answer:
    """Return the thing at ``place``, counted round and round."""
    return things[place % len(things)]


async def call(function: Callable[[], Answer]) -> Answer:
    """Call a function as a coroutine would be."""
    return function()


async def as_coroutine(work: Awaitable[Answer]) -> Answer:
    """Wait for ``work``."""
    return await work


async def answer_of(work: Awaitable[object]) -> object:
    """Return the answer, or the facts of the error raised."""
    try:
        answer = await work
    except TaskSchedulerError as error:
        return type(error), str(error)
    return [*cast("Sequence[object]", answer)] if isinstance(answer, list | tuple) else answer
