"""A page of a list, and one task, cost what their own rows cost, however many others there are."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING, Any, Final, LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from taskscheduler.adapters.postgres import audit, statements
from taskscheduler.adapters.postgres.mapping import STATUSES
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.adapters.postgres.reader import LOWEST, PAGE, PAGE_WITHIN, page
from taskscheduler.domain.audit import AuditQuery
from taskscheduler.domain.query import PAGE_BYTES_MAX
from taskscheduler.domain.status import FINAL, TaskStatus

if TYPE_CHECKING:
    Connection = psycopg.Connection[Any]

pytestmark = pytest.mark.anyio

MANY: Final = 30_000
LANES: Final = 4
LIMIT: Final = 101  # a page of a hundred, and one more to know whether there is a next
TOUCHED_MAX: Final = LIMIT * 8
"""Outcome, body and lane of each row of the page, in two partitions, and of a second source."""
BUFFERS_MAX: Final = LIMIT * 12 + 100
BUFFERS_OF_ONE_MAX: Final = 20
LOOKED_AT_FOR_ONE_MAX: Final = 6

# Ids of today, as the library makes them; one in ten has not ended, one in a hundred has failed.
FILL: Final[tuple[LiteralString, ...]] = (
    """
INSERT INTO {schema}.lane (queue, kind, priority)
SELECT 'default', 'kind' || n, 5 FROM generate_series(1, 4) n""",
    """
INSERT INTO {schema}.task (id, execute_at, created_at, payload)
SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0')
        || '7000800' || lpad(to_hex(n), 13, '0'))::uuid, now(), now(), 'null'
FROM generate_series(1, %(many)s::integer) n""",
    """
INSERT INTO {schema}.live (id, process_at, lane)
SELECT id, now() + interval '1 day', 1 + n %% 4
FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM {schema}.task) AS t WHERE n %% 10 = 0""",
    """
INSERT INTO {schema}.finished
    (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused, status)
SELECT id, now(), now(), now(), n, 1, 1 + n %% 4, 1, 0, CASE WHEN n %% 100 = 1 THEN 3 ELSE 2 END
FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM {schema}.task) AS t WHERE n %% 10 > 0""",
)
# Of the audit trail every thousandth entry is of a queue; the rest are of tasks.
TOLD: Final[LiteralString] = """
INSERT INTO {schema}.audit (at, action, actor, task, target)
SELECT now() - interval '1 day' + n * interval '1 second', 'x', 'ada',
       CASE WHEN n %% 1000 > 0 THEN gen_random_uuid() END, CASE WHEN n %% 1000 = 0 THEN 'mail' END
FROM generate_series(1, %(many)s::integer) n"""

PAGES: Final = {
    "all": (set(TaskStatus), False),
    "Pending": ({TaskStatus.PENDING}, False),
    "Completed": ({TaskStatus.COMPLETED}, False),
    "Failed": ({TaskStatus.FAILED}, False),
    "Failed or Cancelled": ({TaskStatus.FAILED, TaskStatus.CANCELLED}, False),
    "Completed of a kind": ({TaskStatus.COMPLETED}, True),
    "Failed of a kind": ({TaskStatus.FAILED}, True),
    "of a kind": (set(TaskStatus), True),
}


class Reader:
    """A schema with many tasks in it, and what it costs to look at them."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = sql.Identifier(schema)
        for statement in FILL:
            self.run(statement, many=MANY)
        self.ids: list[UUID] = [
            row[0] for row in self.run("SELECT id FROM {schema}.task ORDER BY id").fetchall()
        ]
        self.lanes: list[int] = [
            row[0] for row in self.run("SELECT id FROM {schema}.lane").fetchall()
        ]

    def run(self, statement: LiteralString, **values: Any) -> psycopg.Cursor[Any]:
        text = sql.SQL(statement).format(schema=self._schema)
        return self._connection.execute(text, values or None, prepare=False)

    def analyze(self) -> None:
        self.run("VACUUM ANALYZE {schema}.task, {schema}.live, {schema}.finished, {schema}.lane")

    def cost(self, statement: LiteralString, **values: Any) -> tuple[int, int, int, str]:
        """Return how many rows come, how many were touched and in how many buffers; the plan."""
        found = self.run("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, **values)
        row = found.fetchone()
        assert row is not None
        plan = row[0][0]["Plan"]
        buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return round(plan["Actual Rows"]), round(touched(plan)), buffers, plan


def touched(node: dict[str, Any]) -> float:
    """Add up the rows that were looked at in tables and indexes, wanted or not."""
    seen = 0.0
    if "Relation Name" in node or "Index Name" in node:
        refused = sum(value for key, value in node.items() if key.startswith("Rows Removed by"))
        seen = (node["Actual Rows"] + refused) * node["Actual Loops"]
    return seen + sum(touched(child) for child in node.get("Plans", ()))


@pytest.fixture
async def reader(postgres_url: str, schema: str):
    await migrate(postgres_url, schema)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        reader = Reader(connection, schema)
        reader.analyze()
        yield reader


async def test_a_page_reads_its_own_rows(reader: Reader) -> None:
    for name, (statuses, by_lane) in PAGES.items():
        for before, form in product((reader.ids[-1], reader.ids[MANY // 2]), (PAGE, PAGE_WITHIN)):
            rows, looked_at, buffers, plan = reader.cost(
                page(frozenset(statuses), by_lane=by_lane, form=form),
                before=before,
                limit=LIMIT,
                lowest=LOWEST,
                bytes_max=PAGE_BYTES_MAX,
                statuses=[STATUSES.index(each) for each in sorted(statuses & FINAL)],
                # That of all the failed, or one with some that have not ended and none failed.
                lanes=reader.lanes[1:2] if len(statuses) == 1 else reader.lanes[:1],
            )
            assert rows == LIMIT, name
            assert looked_at <= TOUCHED_MAX, (name, looked_at, plan)
            assert buffers <= BUFFERS_MAX, (name, buffers, plan)


# One task in a hundred has a tag, the others have notes of other sorts.
TAGS: Final[LiteralString] = """
INSERT INTO {schema}.note (id, kind, name, at, value)
SELECT id, CASE n % 100 WHEN 1 THEN 'tag' ELSE 'result' END,
       CASE n % 100 WHEN 1 THEN 'rare' ELSE '' END, now(), 'null'
FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM {schema}.task) AS t"""


async def test_a_page_of_a_tag_reads_its_own_rows(reader: Reader) -> None:
    reader.run(TAGS)
    reader.run("VACUUM ANALYZE {schema}.note")
    statuses = frozenset(TaskStatus)
    for by_lane, before in product((False, True), (reader.ids[-1], reader.ids[MANY // 2])):
        rows, looked_at, buffers, plan = reader.cost(
            page(statuses, by_lane=by_lane, by_tag=True, form=PAGE_WITHIN),
            before=before,
            limit=LIMIT,
            lowest=LOWEST,
            bytes_max=PAGE_BYTES_MAX,
            statuses=[],
            any_of=list(range(len(STATUSES))),
            tags=["rare", "none"],
            lanes=reader.lanes,
        )
        assert rows == LIMIT, plan
        assert looked_at <= TOUCHED_MAX, (looked_at, plan)
        assert buffers <= LIMIT * 16 + 100, (buffers, plan)


async def test_what_was_done_to_a_queue_is_found_among_what_was_done_to_tasks(
    reader: Reader,
) -> None:
    reader.run(TOLD, many=MANY)
    reader.run("VACUUM ANALYZE {schema}.audit")
    values = {"before": None, "target": "mail", "limit": LIMIT}
    rows, looked_at, buffers, plan = reader.cost(audit.entries(AuditQuery(target="mail")), **values)
    assert rows == MANY // 1000
    assert looked_at <= rows, plan
    assert buffers <= rows + 10, plan


async def test_of_the_trail_only_what_may_go_is_looked_at(reader: Reader) -> None:
    """One batch, and its rows again where they go: however many there are."""
    reader.run(TOLD, many=MANY)
    reader.run("VACUUM ANALYZE {schema}.audit")
    for keep in (timedelta(0), timedelta(days=400)):
        values = {"keep": keep, "after": 0, "batch": audit.BATCH}
        _, looked_at, _, plan = reader.cost(audit.PRUNE, **values)
        assert looked_at <= audit.BATCH * 8, plan


async def test_one_task_is_found_by_its_id(reader: Reader) -> None:
    for task_id in reader.ids[:: MANY // 20]:
        rows, looked_at, buffers, plan = reader.cost(statements.GET, ids=[task_id])
        assert rows == 1
        assert looked_at <= LOOKED_AT_FOR_ONE_MAX, (looked_at, plan)
        # Both tables' indexes, a partition's default one, and the lane.
        assert buffers <= BUFFERS_OF_ONE_MAX, (buffers, plan)
