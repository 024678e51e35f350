"""``SELECT taskscheduler.schedule(...)``: storing a task in SQL, from any language and triggers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from taskscheduler import Context, Handlers, InvalidTask, Scheduler, TaskStatus, Worker
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.adapters.postgres.rights import Roles, grant
from taskscheduler.domain.errors import TaskExists
from taskscheduler.domain.ids import RecentIds
from taskscheduler.domain.query import TaskQuery

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scheduler(embedded_url: str, schema: str) -> AsyncGenerator[Scheduler]:
    await migrate(embedded_url, schema)
    async with Scheduler.postgres(embedded_url, schema=schema, pool_size=2) as scheduler:
        yield scheduler


class Caller:
    """Somebody with a connection, and no Python of ours."""

    def __init__(self, connection: psycopg.AsyncConnection, schema: str) -> None:
        self.connection = connection
        self.schema = schema

    async def sql(self, text: str, *values: object) -> Any:
        """Execute ``text``, in which {s} is the schema; return its first value."""
        query = text.replace("{s}", sql.Identifier(self.schema).as_string())
        cursor = await self.connection.execute(query.encode(), values or None)
        row = await cursor.fetchone() if cursor.description else None
        return None if row is None else row[0]

    async def schedule(self, **given: object) -> UUID:
        """Call the function with ``given``, each by its name."""
        names = ", ".join(f'"{name}" => %s' for name in given)
        values = [each.decode() if isinstance(each, bytes) else each for each in given.values()]
        return await self.sql(f"SELECT {{s}}.schedule({names})", *values)


@pytest.fixture
async def caller(scheduler: Scheduler, embedded_url: str, schema: str) -> AsyncGenerator[Caller]:
    del scheduler
    connection = await psycopg.AsyncConnection.connect(embedded_url)
    yield Caller(connection, schema)
    await connection.close()


async def test_a_kind_is_enough(scheduler: Scheduler, caller: Caller) -> None:
    task_id = await caller.sql("SELECT {s}.schedule('k')")
    await caller.connection.commit()
    task = await scheduler.get(task_id)
    plain = scheduler.prepare("k", id=task_id)
    assert plain.describes(task)
    assert (task.priority, task.max_attempts, task.timeout, task.expires_at) == (
        5,
        None,
        None,
        None,
    )
    assert task.process_at == task.created_at
    assert task_id.version == 7
    RecentIds(scheduler.store.new_task_id()).check(task_id)


async def test_all_fields_go_by_name_and_by_place(scheduler: Scheduler, caller: Caller) -> None:
    at = datetime(2031, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
    own = scheduler.store.new_task_id()
    by_name = await caller.schedule(
        kind="k", payload=b'{"a": "gr\xc3\xbcn"}', execute_at=at, queue="mail", priority=2,
        max_attempts=3, timeout=timedelta(seconds=90), unique_key="u", id=own,
        expires_at=at + timedelta(1),
    )  # fmt: skip
    await caller.connection.commit()
    assert by_name == own
    task = await scheduler.get(own)
    assert task.payload_json.decode() == '{"a": "grün"}'
    assert (task.kind, task.queue, task.priority, task.max_attempts) == ("k", "mail", 2, 3)
    assert (task.timeout, task.unique_key) == (timedelta(seconds=90), "u")
    assert task.execute_at == task.process_at == at
    assert task.expires_at == at + timedelta(1)
    by_place = await caller.sql("SELECT {s}.schedule('k', '[1]', '2031-02-03Z', 'mail', 7)")
    await caller.connection.commit()
    assert (await scheduler.get(by_place)).priority == 7


async def test_a_task_may_name_a_group(scheduler: Scheduler, caller: Caller) -> None:
    """Tasks that differ in nothing else are not mixed up."""
    names = [None, "customer-7", 'Zoë, "x" {y} 東京', None, "customer-7"]
    for name in names:
        await caller.sql("SELECT {s}.schedule('k', \"group\" => %s)", name)
    await caller.connection.commit()
    assert [task.group for task in await scheduler.list()] == names[::-1]


async def test_ids_are_in_the_order_of_their_making(caller: Caller) -> None:
    ids = [await caller.sql("SELECT {s}.schedule('k')") for _ in range(50)]
    assert ids == sorted(ids)
    many = await caller.sql(
        "SELECT count(DISTINCT {s}.schedule('k', to_json(n))) FROM generate_series(1, 2000) AS n"
    )
    assert many == 2000


async def test_a_rollback_leaves_no_task(scheduler: Scheduler, caller: Caller) -> None:
    await caller.sql("SELECT {s}.schedule('new-kind')")
    assert await scheduler.list() == []
    await caller.connection.rollback()
    assert await scheduler.list() == []
    # Nor does the lane that it made, and that nobody else has heard of.
    await scheduler.schedule("new-kind")
    assert len(await scheduler.list()) == 1


async def test_a_trigger_stores_and_a_waiting_worker_runs_at_the_commit(
    scheduler: Scheduler, caller: Caller
) -> None:
    ran: asyncio.Queue[dict[str, int]] = asyncio.Queue()
    handlers = Handlers()

    @handlers.register("ship")
    async def ship(context: Context, order: dict[str, int]) -> None:
        ran.put_nowait(order)

    await caller.sql("CREATE TABLE {s}.orders (number integer)")
    await caller.sql(
        "CREATE FUNCTION {s}.ordered() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM {s}.schedule('ship', json_build_object('number', NEW.number)); RETURN NULL; END $$"
    )
    await caller.sql(
        "CREATE TRIGGER ordered AFTER INSERT ON {s}.orders FOR EACH ROW "
        "EXECUTE FUNCTION {s}.ordered()"
    )
    await caller.connection.commit()
    worker = Worker(scheduler, handlers, poll_interval=timedelta(seconds=60))
    running = asyncio.create_task(worker.run())
    try:
        await asyncio.sleep(0.5)  # so that it waits
        await caller.sql("INSERT INTO {s}.orders VALUES (1)")
        await caller.connection.rollback()
        await caller.sql("INSERT INTO {s}.orders VALUES (2)")
        assert ran.empty()
        await caller.connection.commit()
        assert await asyncio.wait_for(ran.get(), 20) == {"number": 2}
    finally:
        worker.stop()
        await running
    assert ran.empty()


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("kind", {"kind": ""}),
    ("kind", {"kind": "no name"}),
    ("kind", {"kind": "k" * 129}),
    ("kind", {"kind": "k\n"}),
    ("queue", {"queue": "a/b"}),
    ("priority", {"priority": 10}),
    ("group", {"group": ""}),
    ("group", {"group": "g" * 257}),
    ("group", {"group": "a\nb"}),
    ("group", {"group": "a\u2028b"}),
    ("priority", {"priority": -1}),
    ("max_attempts", {"max_attempts": 0}),
    ("max_attempts", {"max_attempts": 32_768}),
    ("timeout", {"timeout": timedelta(0)}),
    ("timeout", {"timeout": timedelta(days=367)}),
    ("execute_at", {"execute_at": datetime(1, 1, 2, tzinfo=UTC)}),
    ("execute_at", {"execute_at": datetime(9001, 1, 1, tzinfo=UTC)}),
    ("expires_at", {"expires_at": datetime(9001, 1, 1, tzinfo=UTC)}),
    (
        "expires_at",
        {
            "execute_at": datetime(2031, 1, 1, tzinfo=UTC),
            "expires_at": datetime(2031, 1, 1, tzinfo=UTC),
        },
    ),
    ("unique_key", {"unique_key": ""}),
    ("tags", {"tags": [f"tag{n}" for n in range(11)]}),
    ("tags", {"tags": ["a b"]}),
    ("tags", {"tags": [""]}),
    ("unique_key", {"unique_key": "\x01u"}),
    ("unique_key", {"unique_key": "u" * 513}),
    ("payload", {"payload": b'"' + b"x" * 1024 * 1024 + b'"'}),
    ("payload", {"payload": b'"\\ud800"'}),
    ("id", {"id": UUID(int=0)}),
    ("id", {"id": UUID(int=2**128 - 1)}),
    ("id", {"id": UUID("018e0000-0000-7000-8000-000000000000")}),
    ("id", {"id": UUID("fffe0000-0000-7000-8000-000000000000")}),
]


@pytest.mark.parametrize(("field", "wrong"), WRONG)
async def test_what_the_library_refuses_is_refused(
    scheduler: Scheduler, caller: Caller, field: str, wrong: dict[str, Any]
) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        await caller.schedule(**{"kind": "k", **wrong})
    said = str(refused.value).partition("\n")[0]
    assert said.startswith(f"{field}: ")
    if field != "payload":
        with pytest.raises(InvalidTask) as ours:
            await cast("Any", scheduler).schedule(**{"kind": "k", **wrong})
        assert said.partition(": ")[2] in str(ours.value)


@pytest.mark.parametrize(
    "payload",
    [
        b'"\\ud83d\\ude00"',
        b'"\\u0000"',
        b'"\\\\ud800"',
        b"1e3",
        b'{"a": "\\u0000\\ud83d\\ude00"}',
    ],
)
async def test_what_it_takes_reaches_the_handler(
    scheduler: Scheduler, caller: Caller, payload: bytes
) -> None:
    seen: list[Any] = []
    handlers = Handlers()

    @handlers.register("k")
    async def k(context: Context, payload: Any) -> None:
        seen.append(payload)

    task_id = await caller.schedule(kind="k", payload=payload)
    await caller.connection.commit()
    await Worker(scheduler, handlers).run(until_drained=True)
    assert (await scheduler.get(task_id)).status is TaskStatus.COMPLETED
    assert len(seen) == 1


async def test_an_id_is_stored_once(scheduler: Scheduler, caller: Caller) -> None:
    own = uuid4()
    for _ in range(2):
        assert await caller.schedule(kind="k", payload=b"[1]", id=own) == own
    await caller.connection.commit()
    assert len(await scheduler.list()) == 1
    with pytest.raises(psycopg.errors.UniqueViolation, match="exists with other contents"):
        await caller.schedule(kind="k", payload=b"[2]", id=own)
    await caller.connection.rollback()
    assert await scheduler.schedule("k", [1], id=own) == own
    with pytest.raises(TaskExists):
        await scheduler.schedule("k", [2], id=own)


async def test_tags_are_kept_and_find_their_task(scheduler: Scheduler, caller: Caller) -> None:
    task_id = await caller.schedule(kind="k", tags=["b", "a", "b", "NULL"], unique_key="u")
    assert await caller.schedule(kind="k", tags=["c"], unique_key="u") == task_id
    own = uuid4()
    for _ in range(2):
        assert await caller.schedule(kind="k", tags=["a"], id=own) == own
    await caller.schedule(kind="k", tags=[])
    await caller.connection.commit()
    task = await scheduler.get(task_id)
    assert task.tags == ("b", "a", "NULL")
    assert {each.id for each in await scheduler.list(TaskQuery(tag="a"))} == {task_id, own}
    assert await scheduler.list(TaskQuery(tag="c")) == []


async def test_a_unique_key_keeps_its_holder(scheduler: Scheduler, caller: Caller) -> None:
    first = await scheduler.schedule("k", 1, unique_key="u")
    assert await caller.schedule(kind="k", payload=b"2", unique_key="u") == first
    second = await caller.schedule(kind="other", unique_key="u")
    await caller.connection.commit()
    assert second != first
    assert await scheduler.schedule("other", unique_key="u") == second
    assert len(await scheduler.list()) == 2


async def test_a_key_whose_time_is_up_is_taken_over(scheduler: Scheduler, caller: Caller) -> None:
    first = await caller.schedule(kind="k", unique_key="u", unique_for=timedelta(microseconds=1))
    await caller.connection.commit()
    second = await caller.schedule(kind="k", unique_key="u")
    await caller.connection.commit()
    assert first != second
    assert len(await scheduler.list()) == 2


async def test_a_lane_that_is_being_removed_stands_again(
    scheduler: Scheduler, caller: Caller
) -> None:
    await scheduler.delete(await scheduler.schedule("k"))
    await caller.sql("UPDATE {s}.lane SET retired_by = 7, asked_for_at = 'epoch'")
    await caller.connection.commit()
    await caller.schedule(kind="k")
    # Until the commit nobody removes it.
    async with await psycopg.AsyncConnection.connect(
        caller.connection.info.dsn, autocommit=True
    ) as other:
        beside = Caller(other, caller.schema)
        free = "SELECT count(*) FROM (SELECT FROM {s}.lane FOR UPDATE SKIP LOCKED) AS l"
        assert await beside.sql(free) == 0
        await caller.connection.commit()
        assert await beside.sql(free) == 1
    assert await caller.sql("SELECT retired_by FROM {s}.lane") is None
    assert await caller.sql("SELECT asked_for_at > 'epoch' FROM {s}.lane")


async def test_the_role_of_the_api_may_call_it_and_that_of_nobody_may_not(
    scheduler: Scheduler, embedded_url: str, schema: str
) -> None:
    api, nobody = (f"test_{each}_{uuid4().hex[:8]}" for each in ("api", "nobody"))
    with psycopg.connect(embedded_url, autocommit=True) as connection:
        for role in (api, nobody):
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'role'").format(sql.Identifier(role))
            )
        await grant(embedded_url, schema, Roles(api=api))
        try:
            url = make_conninfo(embedded_url, user=api, password="role")  # noqa: S106
            async with await psycopg.AsyncConnection.connect(url) as theirs:
                task_id = await Caller(theirs, schema).schedule(kind="k", unique_key="u")
            assert (await scheduler.get(task_id)).kind == "k"
            url = make_conninfo(embedded_url, user=nobody, password="role")  # noqa: S106
            async with await psycopg.AsyncConnection.connect(url) as theirs:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await Caller(theirs, schema).schedule(kind="k")
        finally:
            for role in (api, nobody):
                connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


async def test_a_callers_settings_do_not_matter(scheduler: Scheduler, caller: Caller) -> None:
    for each in ("DateStyle = 'German'", "search_path = ''", "TimeZone = 'Asia/Kathmandu'",
                 "IntervalStyle = 'sql_standard'", "client_encoding = 'LATIN1'"):  # fmt: skip
        await caller.sql(f"SET {each}")
    own = scheduler.store.new_task_id()
    for _ in range(2):
        assert await caller.schedule(kind="k", payload=b'"x"', id=own, unique_key="u") == own
    await caller.connection.commit()
    assert (await scheduler.get(own)).unique_key == "u"
