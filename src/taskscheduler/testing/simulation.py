"""One seed, one history: what a store does with a long run of calls drawn from a seed.

Two stores that keep the same contract have the same history under the same seed, as long as both
draw the same ids and start at the same time.
"""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Final
from uuid import UUID

from taskscheduler.domain.errors import TaskSchedulerError
from taskscheduler.domain.lease import SETTLING, AttemptError, Lease, Settlement
from taskscheduler.domain.new_task import NewTask
from taskscheduler.domain.query import LIMIT_MAX, TaskQuery
from taskscheduler.domain.status import Event
from taskscheduler.domain.task import Task
from taskscheduler.domain.task_edit import TaskEdit
from taskscheduler.domain.values import TaskId, WorkerId
from taskscheduler.domain.worker import Subscription, WorkerProfile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock

KINDS: Final = ("mail", "fax", "pigeon")
QUEUES: Final = ("default", "letters")
EVERYTHING: Final = Subscription(queues=frozenset(QUEUES), kinds=frozenset(KINDS))
ENOUGH: Final = 10_000


def ids() -> Callable[[], TaskId]:
    """Return a maker of version 7 ids that are the same in every run."""
    made = 0

    def new_task_id() -> TaskId:
        nonlocal made
        made += 1
        return TaskId(UUID(int=(1_767_225_600_000 << 80) | (7 << 76) | (2 << 62) | made))

    return new_task_id


async def simulate(store: Store, clock: ManualClock, seed: int, steps: int = 200) -> list[str]:
    """Do ``steps`` things to an empty ``store``; return what was seen, line by line."""
    simulation = Simulation(store, clock, Random(seed))
    for _ in range(steps):
        await simulation.step()
    await simulation.look()
    return simulation.history


class Simulation:
    """A run of calls drawn from ``random``, and what was seen.

    A claim takes either all that is due, or the first of one lane: the order across kinds and
    queues is the store's own affair. Tokens and worker ids are too; lines name neither.
    """

    def __init__(self, store: Store, clock: ManualClock, random: Random) -> None:
        """Start with nothing seen."""
        self.history: list[str] = []
        self._store = store
        self._clock = clock
        self._random = random
        self._ids: list[TaskId] = []
        self._leases: list[Lease] = []
        self._workers: list[WorkerId] = []

    async def step(self) -> None:
        """Do one thing."""
        things = (
            (self._put, 6),
            (self._claim, 6),
            (self._settle, 8),
            (self._change, 4),
            (self._join, 1),
            (self._beat, 2),
            (self._leave, 1),
            (self._bury, 2),
            (self._reconcile, 1),
            (self._pass_time, 4),
        )
        (thing,) = self._random.choices([t for t, _ in things], [weight for _, weight in things])
        if thing in {self._claim, self._beat, self._leave, self._reconcile} and not self._workers:
            thing = self._join
        if thing == self._settle and not self._leases:
            thing = self._claim if self._workers else self._join
        if thing == self._change and not self._ids:
            thing = self._put
        await thing()
        due = await self._store.tasks.next_due(EVERYTHING)
        self._saw(f"next due in {due}")

    async def look(self) -> None:
        """See every task and its history."""
        for task in await self._store.board.list(TaskQuery(limit=LIMIT_MAX)):
            attempts = await self._store.board.attempts(task.id)
            told = [(each.number, each.outcome, each.started_at) for each in attempts]
            self._saw(f"{_shown(task)} {told}")

    # -- things to do ----------------------------------------------------------------------------

    async def _put(self) -> None:
        choose = self._random.choice
        batch: list[NewTask] = []
        for _ in range(self._random.randint(1, 5)):
            after = choose((None, -60, 0, 1, 30, 300))
            batch.append(
                NewTask(
                    id=self._store.new_task_id(),
                    kind=choose(KINDS),
                    queue=choose(QUEUES),
                    priority=choose((0, 5, 9)),
                    execute_at=None if after is None else self._after(after),
                    max_attempts=choose((None, 1, 3)),
                    unique_key=choose((None, None, None, "a", "b")),
                )
            )
        self._ids += [task.id for task in batch]
        await self._see("put", self._store.tasks.put(batch))

    async def _claim(self) -> None:
        worker_id = self._random.choice(self._workers)
        if self._random.random() < 0.5:  # noqa: PLR2004
            subscription, limit = EVERYTHING, ENOUGH
        else:
            subscription = Subscription(
                queues=frozenset({self._random.choice(QUEUES)}),
                kinds=frozenset({self._random.choice(KINDS)}),
            )
            limit = self._random.randint(1, 3)
        leases = await self._store.tasks.claim(worker_id, subscription, limit)
        leases = sorted(leases, key=lambda lease: lease.task_id)
        self._leases += leases
        self._saw(f"claim {[lease._replace(token=0) for lease in leases]}")

    async def _settle(self) -> None:
        batch: dict[TaskId, Settlement] = {}
        for _ in range(self._random.randint(1, 4)):
            lease = self._random.choice(self._leases[-20:])
            event = self._random.choice(sorted(SETTLING))
            later = event in {Event.RETRY, Event.SNOOZE}
            delay = timedelta(seconds=self._random.choice((0, 5, 120)) if later else 0)
            error = None if event is Event.COMPLETE else AttemptError("Simulated", event.value)
            settlement = Settlement(lease.task_id, lease.token, event, delay, error)
            batch.setdefault(lease.task_id, settlement)
        events = sorted((str(each.task_id), each.event.value) for each in batch.values())
        not_held = await self._store.tasks.settle(list(batch.values()))
        self._saw(f"settle {events}: not held {sorted(not_held)}")

    async def _change(self) -> None:
        task_id = self._random.choice(self._ids)
        tasks = self._store.tasks
        force = self._random.random() < 0.5  # noqa: PLR2004
        verb = self._random.choice(("cancel", "retry", "run_now", "edit", "delete"))
        after = self._random.choice((None, None, -60, 30))
        at = None if after is None else self._after(after)
        edit = TaskEdit(
            execute_at=self._after(self._random.choice((-60, 0, 30))), payload_json=b"1"
        )
        work: dict[str, Callable[[], Awaitable[object]]] = {
            "cancel": lambda: tasks.cancel(task_id),
            "retry": lambda: tasks.retry(task_id, at=at),
            "run_now": lambda: tasks.run_now(task_id),
            "edit": lambda: tasks.edit(task_id, edit),
            "delete": lambda: tasks.delete(task_id, force=force),
        }
        await self._see(f"{verb} {task_id}", work[verb]())

    async def _join(self) -> None:
        profile = WorkerProfile(
            name="simulated",
            queues=frozenset(QUEUES),
            kinds={kind: self._random.randint(1, 3) for kind in KINDS},
            concurrency=1,
            lease=timedelta(seconds=30),
        )
        self._workers.append(await self._store.workers.register(profile))

    async def _beat(self) -> None:
        place = self._random.randrange(len(self._workers))
        await self._see(f"beat {place}", self._told(self._workers[place]))

    async def _told(self, worker_id: WorkerId) -> None:
        await self._store.workers.heartbeat(worker_id)

    async def _leave(self) -> None:
        place = self._random.randrange(len(self._workers))
        await self._see(f"leave {place}", self._store.workers.deregister(self._workers[place]))

    async def _bury(self) -> None:
        for seen in await self._store.workers.registered():
            if seen.expired:
                rescued = await self._store.workers.declare_dead(seen.id, seen.beats)
                place = self._workers.index(seen.id)
                self._saw(f"bury {place}: rescued {sorted(rescued)}")

    async def _reconcile(self) -> None:
        place = self._random.randrange(len(self._workers))
        known = [lease.token for lease in self._leases[::2]]
        work = self._store.tasks.reconcile(self._workers[place], known)
        await self._see(f"reconcile {place}", work)

    async def _pass_time(self) -> None:
        step = timedelta(seconds=self._random.choice((1, 10, 31, 600, 90_000)))
        self._saw(f"now {self._clock.advance(step).isoformat()}")

    # -- pieces ----------------------------------------------------------------------------------

    def _after(self, seconds: int) -> datetime:
        return self._clock.now() + timedelta(seconds=seconds)

    async def _see(self, what: str, work: Awaitable[object]) -> None:
        try:
            answer = await work
        except TaskSchedulerError as error:
            # A worker is known by its place: its id is the store's own affair.
            answer = type(error).__name__
        if isinstance(answer, Task):
            answer = _shown(answer)
        self._saw(f"{what}: {answer!s}")

    def _saw(self, line: str) -> None:
        self.history.append(line)


def _shown(task: Task) -> str:
    return (
        f"{task.id} {task.kind} {task.queue} {task.priority} {task.status} {task.attempt}"
        f" {task.max_attempts} {task.process_at} {task.execute_at} {task.started_at}"
        f" {task.finished_at}"
    )
