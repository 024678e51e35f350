"""No statement locks the tables of all days, however often a connection has executed it.

From the sixth time on a prepared statement may be given a plan for all parameters, and from the
eleventh on it has one as a rule. A plan for any id opens every day's table and its indexes. So each
statement is executed a dozen times here, among 400 days, and its locks are counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.pq import TransactionStatus

from taskscheduler import Limit, Scheduler, TaskQuery, TaskStatus
from taskscheduler.adapters.embedded import EmbeddedPostgres
from taskscheduler.adapters.postgres import partitions, tasks
from taskscheduler.adapters.postgres.database import Database
from taskscheduler.adapters.postgres.drivers import PsycopgAwaited
from taskscheduler.adapters.postgres.fast_connection import PooledConnection, Statement
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.adapters.system import new_task_id
from taskscheduler.domain.access import Caller, Scope
from taskscheduler.domain.bulk import BulkVerb
from taskscheduler.domain.errors import IllegalTransition
from taskscheduler.domain.fire import Due
from taskscheduler.domain.idempotency import Idempotency
from taskscheduler.domain.lease import Settlement
from taskscheduler.domain.notes import Report
from taskscheduler.domain.quota import Quota
from taskscheduler.domain.schedule import NewSchedule, Schedule
from taskscheduler.domain.status import Event
from taskscheduler.domain.trace import TraceContext
from taskscheduler.testing.contracts.fires import fire
from taskscheduler.testing.contracts.steps import ERROR, claim, join, new, subscribed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
    from typing import LiteralString

    from taskscheduler.application.store import Store
    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.values import TaskId

pytestmark = pytest.mark.anyio

DAYS: Final = 390
"""Beside those that a migration makes, a year in which nothing was dropped."""
TIMES: Final = 12
DAY: Final = timedelta(days=1)
LOCKS_MAX: Final = 150
"""A window of days with their indexes, and some; 400 days would be 800 locks at least."""
SCHEMA: Final = "s"
PARTITIONED: Final = tuple(f'"{SCHEMA}".{name}'.encode() for name in partitions.PARTITIONED)
IN_SQL: Final = f"""SELECT "{SCHEMA}".schedule('mail', id => %(id)s)""".encode()
TAGGED_IN_SQL: Final = f"""SELECT "{SCHEMA}".schedule('mail', tags => '{{a}}')""".encode()
LOCKS: Final = "SELECT count(*)::integer FROM pg_locks WHERE pid = pg_backend_pid()"
ALONE_AT_WORK: Final = (b"f.finished_at <", b"f.lane = g.lane")
"""What only retention sends, and whoever removes lanes: on one connection in the whole database."""
SOMEBODY: Final = Caller(name="somebody", scope=Scope.ADMIN)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A server with as much room for locks as it has by default."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("locks")) as postgres:
        yield postgres.url


class Counted:
    """Counts the locks that each statement holds once it was executed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: set[bytes] = set()
        self.locks: Counter[bytes] = Counter()
        self.times: Counter[bytes] = Counter()
        self._execute = PooledConnection.execute
        self._send = PooledConnection._send  # pyright: ignore[reportPrivateUsage]
        make, counted = Database.sql, self

        def sql(database: Database, text: LiteralString) -> bytes:
            statement = make(database, text)
            self.made.add(statement)
            return statement

        async def execute(connection: PooledConnection, query: Any, *args: Any, **how: Any) -> Any:
            return await counted.watch(
                connection,
                query if isinstance(query, bytes) else str(query).encode(),
                lambda: self._execute(connection, query, *args, **how),
            )

        async def send(
            connection: PooledConnection, statement: Statement, values: Mapping[str, str | None]
        ) -> Any:
            return await counted.watch(
                connection, statement.text, lambda: self._send(connection, statement, values)
            )

        def may_prepare(connection: PooledConnection) -> bool:
            return connection.prepare_threshold is not None

        async def join(joined: PsycopgAwaited, query: bytes, *args: Any, **how: Any) -> Any:
            connection: Any = vars(joined)["_connection"]
            return await counted.watch(
                connection, query, lambda: joined_execute(joined, query, *args, **how)
            )

        joined_execute = PsycopgAwaited.execute
        monkeypatch.setattr(PsycopgAwaited, "execute", join)
        monkeypatch.setattr(Database, "sql", sql)
        monkeypatch.setattr(PooledConnection, "execute", execute)
        monkeypatch.setattr(PooledConnection, "_send", send)
        # The transactions that are open here for counting are nobody's.
        monkeypatch.setattr(PooledConnection, "_may_prepare", may_prepare)

    async def watch(
        self, connection: PooledConnection, text: bytes, execute: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Execute ``text``; see what it has locked before its transaction ends."""
        alone = connection.pgconn.transaction_status == TransactionStatus.IDLE
        if alone:
            await self._execute(connection, "BEGIN", prepare=False)
        try:
            answer = await execute()
            row: Any = await (await self._execute(connection, LOCKS, prepare=False)).fetchone()
        except psycopg.Error:
            if alone and not connection.closed:
                await self._execute(connection, "ROLLBACK", prepare=False)
            raise
        self.times[text] += 1
        self.locks[text] = max(self.locks[text], row[0])
        if alone:
            await self._execute(connection, "COMMIT", prepare=False)
        return answer

    def unexecuted(self, functions: Sequence[bytes]) -> list[bytes]:
        """Return the statements on tables of days that nothing has executed often enough.

        And those that call one of ``functions``, which have statements on such tables in them.
        """
        names = (*PARTITIONED, *functions)
        made = {text for text in self.made if any(name in text for name in names)}
        seen = {text for text, times in self.times.items() if times >= TIMES}
        return [
            text
            for text in made
            if not {text, Statement.of(text).text} & seen
            and b"COPY" not in text
            and not any(each in text for each in ALONE_AT_WORK)
        ]


async def functions_on_days(url: str) -> list[bytes]:
    """Return how the functions are called that work on tables of days, or call those that do."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        rows = await connection.execute(
            "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = to_regnamespace(%s)", [SCHEMA]
        )
        sources = {
            f'"{SCHEMA}".{name}('.encode(): text.encode() for name, text in await rows.fetchall()
        }
    found, looked_for = set[bytes](), set(PARTITIONED)
    while looked_for:
        within = {
            call for call, text in sources.items() if any(each in text for each in looked_for)
        }
        looked_for = within - found
        found |= within
    return sorted(found)


async def round_of_all(scheduler: Scheduler) -> None:
    """Do everything that a scheduler and its workers do with tasks."""
    store = scheduler.store
    tomorrow = datetime.now(UTC) + DAY
    ids = [await scheduler.schedule("mail") for _ in range(8)]
    changes = await put_in_every_way(store)
    worker_id = await join(store)
    leases = await claim(store, worker_id, limit=10)
    events = [Event.COMPLETE, Event.RETRY, Event.FAIL, Event.CANCEL, Event.SNOOZE, Event.RELEASE]
    settlements = [
        Settlement(lease.task_id, lease.token, event, timedelta(0), ERROR)
        for lease, event in zip(leases, events, strict=False)
    ]
    await noted(store, leases[7])
    others = [
        Settlement(leases[7].task_id, leases[7].token, Event.COMPLETE, result=b"1"),
        Settlement(leases[8].task_id, leases[8].token, Event.EXPIRE),
        Settlement(leases[9].task_id, leases[9].token, Event.SNOOZE, DAY, waits_for="go"),
    ]
    assert not await store.tasks.settle([*settlements, *others])
    await store.notes.signal(leases[9].task_id, "go", b"1")
    await store.notes.awaited(leases[9].task_id)
    await store.notes.endings(ids)
    await store.notes.signals(ids[0])
    with pytest.raises(IllegalTransition):
        await store.notes.signal(leases[7].task_id, "late", b"1")
    await store.tasks.outcomes_of(settlements)
    async with store.tasks.completing(leases[6]) as connection:
        for change in changes:
            await store.tasks.put([new(store).but(**change)], transaction=connection)
        await scheduler.schedule("mail", unique_key=uuid4().hex, connection=connection)
    await store.tasks.traces_of(ids)
    await store.tasks.reconcile(worker_id, [])
    failed, cancelled = leases[2].task_id, leases[3].task_id
    for task_id in (ids[0], failed, cancelled):
        await scheduler.get(task_id)
        await scheduler.attempts(task_id)
        await scheduler.why(task_id)
    await scheduler.retry(failed)
    await scheduler.cancel(failed)
    later = await scheduler.schedule("mail", execute_at=tomorrow)
    await scheduler.edit(later, priority=1)
    await scheduler.edit(later, payload=2, execute_at=tomorrow)
    await scheduler.why(later)
    await scheduler.run_now(later)
    await scheduler.delete(cancelled)
    await waited(scheduler)
    await pages(scheduler, ids)
    await store.tasks.next_due(subscribed())
    await store.tasks.suspects(subscribed())
    await store.tasks.claim_suspects(worker_id, subscribed(), 2, 1)
    await scheduled_in_sql(store)
    await fired(store)
    await limited(scheduler)
    await store.workers.deregister(worker_id)
    await orphaned(scheduler)
    await scheduler.queues()
    await scheduler.workers()
    await store.backlog_stats.backlog(exact_up_to=10)
    await store.backlog_stats.usage("", up_to=Quota(waiting_bytes=10))


async def waited(scheduler: Scheduler) -> None:
    """Let tasks wait for another, and come to everything that they can come to."""
    store = scheduler.store
    parent = await scheduler.schedule("mail", execute_at=datetime.now(UTC) + DAY)
    child = scheduler.prepare("mail", after=[parent])
    await store.tasks.put([child])
    await store.tasks.put([child])
    await scheduler.why(child.id)
    await store.followers.after(child.id)
    await scheduler.cancel(child.id)
    await scheduler.retry(child.id)
    await scheduler.schedule("mail", after=[parent], when="ended")
    await scheduler.schedule("mail", after=[parent], otherwise="hold")
    await scheduler.cancel(parent)
    batch = await scheduler.batches.make(then=("mail", None))
    counted = await scheduler.schedule("mail", batch=batch.id)
    await scheduler.batches.get(batch.id)
    await scheduler.notes(counted)
    await scheduler.batches.seal(batch.id)
    await scheduler.why(batch.then or counted)
    await scheduler.cancel(counted)
    await scheduler.retry(counted)
    await scheduler.batches.get(batch.id)
    await scheduler.cancel(counted)
    await store.followers.release()


async def put_in_every_way(store: Store) -> Sequence[dict[str, Any]]:
    """Store tasks alone, some and many; return by what ways of storing differ."""
    trace = TraceContext("00-" + "1" * 32 + "-" + "2" * 16 + "-01", None)
    changes: Sequence[dict[str, Any]] = (
        {},
        {"by": SOMEBODY},
        {"trace": trace},
        {"by": SOMEBODY, "trace": trace},
        {"tags": ("a", "b")},
    )
    for number in (1, 3):
        for change in changes:
            plain = [new(store) for _ in range(number)]
            keyed = [new(store, unique_key=uuid4().hex) for _ in range(number)]
            for asked in (plain, keyed, keyed):
                await store.tasks.put([task.but(**change) for task in asked])
    await store.tasks.put([new(store) for _ in range(60)])
    for _ in range(2):
        await store.tasks.put([new(store, unique_key="again", on_conflict="replace")])
    await store.tasks.put([new(store)], idempotency=Idempotency(uuid4().hex, b"f"))
    return changes


async def pages(scheduler: Scheduler, ids: Sequence[TaskId]) -> None:
    """List tasks, watch them, and change them page by page."""
    board = scheduler.store.board
    for status in (None, *TaskStatus):
        for kind in (None, "mail"):
            query = TaskQuery(status=status, kind=kind, limit=5)
            await scheduler.list(query)
            await board.states(query)
            await scheduler.list(replace(query, tag=["a", "b"], bytes_max=10_000))
    await board.states(TaskQuery(), ids)
    await scheduler.change_page(BulkVerb.CANCEL, TaskQuery(status=TaskStatus.PENDING, limit=2))
    await scheduler.change_page(BulkVerb.RETRY, TaskQuery(status=TaskStatus.CANCELLED, limit=1))
    await scheduler.change_page(BulkVerb.DELETE, TaskQuery(status=TaskStatus.CANCELLED, limit=1))


async def noted(store: Store, lease: Lease) -> None:
    """Keep what handlers tell on their way, and look at it."""
    await store.notes.report([Report(lease.task_id, lease.token, 0.5, "half", None)])
    await store.notes.keep_step(lease, "first", b"1")
    await store.notes.steps(lease.task_id)
    await store.notes.progress([lease.task_id])
    await store.notes.of(lease.task_id)
    await store.tasks.begin(lease)


async def fired(store: Store) -> None:
    """Let a schedule store its tasks."""
    now = datetime.now(UTC)
    for tags in ((), ("a",)):
        definition = NewSchedule(name=uuid4().hex, kind="mail", every=DAY, tags=tags)
        schedule = Schedule.make(definition, now=now, next_fire_at=now)
        await store.schedules.add(schedule)
        made = await fire(store, schedule)
        assert made is not None
        assert made.task_ids
    definition = NewSchedule(name=uuid4().hex, kind="mail", every=DAY, pause_after_failures=1)
    schedule = Schedule.make(definition, now=now, next_fire_at=now)
    await store.schedules.add(schedule)
    assert not await store.schedules.pause_failing([Due.of(schedule)])
    await store.schedules.delete(schedule.name)


async def limited(scheduler: Scheduler) -> None:
    """Claim what a limit lets through, and groups in turns."""
    store = scheduler.store
    await store.limits.put(Limit(name="few", queue="few", concurrency=2, rate="1000/s"))
    ids = [await scheduler.schedule("mail", queue="few") for _ in range(3)]
    worker_id = await join(store, queues=["few", "turns"])
    leases = await store.tasks.claim(worker_id, subscribed(queues=["few"]), 10)
    assert len(leases) == 2
    await scheduler.why(ids[2])
    for group in ("a", "b"):
        await scheduler.schedule("mail", queue="turns", group=group)
    turns = await store.tasks.claim(worker_id, subscribed(queues=["turns"]), 10)
    assert len(turns) == 2
    await store.tasks.settle(
        [Settlement(each.task_id, each.token, Event.COMPLETE) for each in (*leases, *turns)]
    )
    await scheduler.delete(ids[2])
    await store.workers.deregister(worker_id)
    await store.limits.delete("few")


async def scheduled_in_sql(store: Store) -> None:
    """Store a task as other languages do, and again, under an id of their own."""
    database: Database = vars(store.workers)["_database"]
    values = {"id": new_task_id()}
    async with database.connection() as connection:
        for _ in range(2):
            await connection.execute(IN_SQL, values)
        await connection.execute(TAGGED_IN_SQL)


async def orphaned(scheduler: Scheduler) -> None:
    """Let a silent worker's tasks be rescued, and those of one that is gone."""
    store = scheduler.store
    worker_id = await join(store, lease=timedelta(milliseconds=1))
    await claim(store, worker_id, limit=2)
    (seen,) = await store.workers.registered()
    assert await store.workers.declare_dead(seen.id, seen.beats)
    worker_id = await join(store)
    await claim(store, worker_id, limit=2)
    database: Database = vars(store.workers)["_database"]
    async with database.connection() as connection:
        await connection.execute(f'DELETE FROM "{SCHEMA}".worker'.encode())  # noqa: S608 - a constant
    assert len(await store.workers.rescue_orphans()) == 2


@pytest.mark.timeout(300)
async def test_no_statement_locks_every_day(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await migrate(url, SCHEMA)
    today = datetime.now(UTC).date()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for number in range(2, DAYS):
            for table in partitions.PARTITIONED:
                day = today - timedelta(days=number)
                make = sql.SQL(partitions.MAKE).format(schema=sql.Identifier(SCHEMA))
                await connection.execute(make, [table, day, 0])
    monkeypatch.setattr(tasks, "COPIED_FROM", 50)
    counted = Counted(monkeypatch)
    async with Scheduler.postgres(url, schema=SCHEMA, pool_size=1) as scheduler:
        for _ in range(TIMES):
            await round_of_all(scheduler)
    assert counted.unexecuted(await functions_on_days(url)) == []
    excessive = {text.decode(): n for text, n in counted.locks.items() if n > LOCKS_MAX}
    assert excessive == {}
