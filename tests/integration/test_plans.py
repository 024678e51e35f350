"""The statements that matter keep their plans, whatever the statistics say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from taskscheduler.adapters.postgres.floors import BEGINNING
from taskscheduler.adapters.postgres.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Callable

    Connection = psycopg.Connection[Any]

pytestmark = pytest.mark.anyio

MANY = 20_000
LANES = 12

PREPARE: LiteralString = """
ALTER TABLE {schema}.live SET (autovacuum_enabled = off);
INSERT INTO {schema}.lane (queue, kind, priority)
    SELECT 'default', 'kind' || n, 5 FROM generate_series(1, 12) n;
INSERT INTO {schema}.worker (name, queues, kinds, concurrency, lease, started_at, seen_at)
    VALUES ('test', '{{default}}', '{{kind1}}', 1, '30 s', now(), now())
"""

FILL: LiteralString = """
WITH body AS (
    INSERT INTO {schema}.task (id, execute_at, created_at, payload)
    SELECT lpad(to_hex(n), 32, '0')::uuid, now(), now(), 'null'
    FROM generate_series(%(first)s::integer, %(last)s::integer) n RETURNING id
)
INSERT INTO {schema}.live (id, process_at, lane)
SELECT lpad(to_hex(n), 32, '0')::uuid, now() + (n %% 100 - 50) * interval '1 minute', 1 + n %% 12
FROM generate_series(%(first)s::integer, %(last)s::integer) n
"""

WATCH: LiteralString = """
LOAD 'auto_explain';
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_nested_statements = on;
SET client_min_messages = log
"""


class Bench:
    """A schema, and the plans of what is asked of it."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = sql.Identifier(schema)
        self._notices: list[str] = []
        connection.add_notice_handler(self._hear)
        self.run(PREPARE)
        self.fields: dict[str, Any] = {
            "worker": self.run("SELECT id FROM {schema}.worker").fetchall()[0][0],
            "lanes": [row[0] for row in self.run("SELECT id FROM {schema}.lane").fetchall()],
        }
        self.fields["floors"] = [BEGINNING.process_at] * len(self.fields["lanes"])
        self.fields["floor_ids"] = [UUID(int=BEGINNING.number)] * len(self.fields["lanes"])
        self.fields["queues"] = ["default"]
        self.fields["kinds"] = [f"kind{number + 1}" for number in range(LANES)]

    def _hear(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        self._notices.append(diagnostic.message_primary or "")

    def run(self, statement: LiteralString, **values: Any) -> psycopg.Cursor[Any]:
        text = sql.SQL(statement).format(schema=self._schema)
        return self._connection.execute(text, values or None)

    def fill(self, first: int, last: int) -> None:
        self.run(FILL, first=first, last=last)

    def analyze(self) -> None:
        for table in ("live", "task", "finished", "attempt", "worker"):
            self._connection.execute(
                sql.SQL("ANALYZE {}.{}").format(self._schema, sql.Identifier(table))
            )

    def plans(self, statement: LiteralString, **values: Any) -> tuple[list[Any], str]:
        """Return the rows, and the plan of everything that was run for them."""
        if not self._notices:
            self._connection.execute(WATCH)
        self._notices.clear()
        rows = self.run(statement, **self.fields, **values).fetchall()
        return rows, "\n".join(self._notices)


def empty_then_filled(bench: Bench) -> None:
    bench.analyze()
    bench.fill(1, MANY)


def full_then_emptied(bench: Bench) -> None:
    bench.fill(1, MANY)
    bench.analyze()
    bench.run("DELETE FROM {schema}.live WHERE id > %(last)s", last=UUID(int=500))


def one_lane_then_another(bench: Bench) -> None:
    bench.fill(1, 3000)
    bench.run("UPDATE {schema}.live SET lane = 1")
    bench.analyze()
    bench.run("UPDATE {schema}.live SET lane = 2")
    bench.fill(3001, MANY)


def few_and_fresh(bench: Bench) -> None:
    bench.fill(1, 900)
    bench.analyze()


def many_and_fresh(bench: Bench) -> None:
    bench.fill(1, MANY)
    bench.analyze()


def never_analyzed(bench: Bench) -> None:
    bench.fill(1, MANY)


STATISTICS = [
    never_analyzed,
    empty_then_filled,
    full_then_emptied,
    one_lane_then_another,
    few_and_fresh,
    many_and_fresh,
]

CLAIM: LiteralString = """
SELECT o_id, o_token FROM {schema}.claim_6(
    %(lanes)s::integer[], %(floors)s::timestamptz[], %(floor_ids)s::uuid[], %(limit)s, %(worker)s,
    0, 2::smallint)"""
LOOK: LiteralString = """
SELECT o_lane, o_process_at FROM {schema}.look_3(
    %(queues)s::text[], %(kinds)s::text[], %(lanes)s::integer[], %(floors)s::timestamptz[],
    %(floor_ids)s::uuid[], %(few)s, %(steps)s, 2::smallint)"""
COMPLETE: LiteralString = "SELECT {schema}.complete_1(%(ids)s::uuid[], %(tokens)s::bigint[])"
SETTLE: LiteralString = """
SELECT {schema}.settle_1(%(ids)s::uuid[], %(tokens)s::bigint[], %(events)s::text[],
    %(delays)s::interval[], %(texts)s::text[], %(texts)s::text[], %(texts)s::text[])"""
UNWANTED = re.compile(
    r"Seq Scan on \S*(?:live|task)|Bitmap Heap Scan on \S*live"
    r"|Sort Key|Hash Join|Merge Join"
)
BY_THE_IDS = re.compile(r"Hash Join.*\n.*Hash Cond: \((?:\w+\.id = \w+\.id)\)")
"""Leases and their bodies, both found by then: the one join that grows with neither's table."""


@pytest.fixture
async def bench(postgres_url: str, schema: str):
    await migrate(postgres_url, schema)
    with psycopg.connect(postgres_url, autocommit=True, prepare_threshold=None) as connection:
        yield Bench(connection, schema)


def check(plan: str, index: str) -> None:
    """See that ``plan`` looks into ``live`` by ``index``, and in no other way."""
    assert f"using {index} on" in plan, plan
    assert UNWANTED.search(BY_THE_IDS.sub("", plan)) is None, plan


@pytest.mark.parametrize("statistics", STATISTICS)
async def test_plans_do_not_follow_the_statistics(
    bench: Bench, statistics: Callable[[Bench], None]
) -> None:
    statistics(bench)
    events = ["retry", "snooze", "release", "fail", "cancel"]
    # More often than the plan cache needs to change its mind.
    for limit in (1, 50, 5, 50, 5, 50, 5, 50):
        for few, steps in ((0, 0), (0, 1_000), (LANES, 0)):
            waiting, plan = bench.plans(LOOK, few=few, steps=steps)
            assert len(waiting) > 0
            check(plan, "live_lane")

        leases, plan = bench.plans(CLAIM, limit=limit)
        assert len(leases) == limit
        check(plan, "live_lane")
        check(plan, "live_pkey")

        half = len(leases) // 2
        ids, tokens = [list(column) for column in zip(*leases, strict=True)]
        ended, plan = bench.plans(COMPLETE, ids=ids[half:], tokens=tokens[half:])
        assert len(ended) == len(leases) - half
        check(plan, "live_pkey")

        count = half
        ended, plan = bench.plans(
            SETTLE,
            ids=ids[:half],
            tokens=tokens[:half],
            events=(events * 10)[:count],
            delays=["1 hour"] * count,
            texts=["x"] * count,
        )
        assert len(ended) == half
        check(plan, "live_pkey")


async def test_a_claim_reads_no_more_than_it_takes(bench: Bench, postgres_url: str) -> None:
    """Neither the future nor what others hold costs anything."""
    many_and_fresh(bench)
    bench.plans(LOOK, few=LANES, steps=0)
    bench.run("SET auto_explain.log_analyze = on")
    bench.run("SET auto_explain.log_timing = off")
    bench.plans(CLAIM, limit=500)
    bench.run(
        "UPDATE {schema}.live SET process_at = now() + interval '1 day' WHERE id > %(last)s",
        last=UUID(int=1000),
    )
    leases, plan = bench.plans(CLAIM, limit=10)
    assert len(leases) == 10
    scanned = [
        float(rows) * int(loops)
        for rows, loops in re.findall(
            r"using live_lane on .*?\(actual rows=([\d.]+) loops=(\d+)\)", plan
        )
    ]
    assert scanned, plan
    assert sum(scanned) <= 10 * LANES, plan


async def test_a_look_steps_from_lane_to_lane_where_most_are_empty(bench: Bench) -> None:
    """Of very many lanes each is looked into only where in very many of them tasks wait."""
    many_and_fresh(bench)
    bench.run("""
        INSERT INTO {schema}.lane (queue, kind, priority)
        SELECT 'queue' || n, 'kind1', 5 FROM generate_series(1, 2000) n""")
    queues = ["default", *(f"queue{number + 1}" for number in range(2_000))]
    bench.fields["queues"] = queues
    bench.plans(LOOK, few=64, steps=LANES)
    bench.run("SET auto_explain.log_analyze = on")
    bench.run("SET auto_explain.log_timing = off")
    stepped, plan = bench.plans(LOOK, few=64, steps=LANES)
    assert len(stepped) == LANES
    assert looks(plan) <= 2 * LANES + 1, plan
    each, plan = bench.plans(LOOK, few=64, steps=LANES - 1)
    assert sorted(each) == sorted(stepped)
    assert looks(plan) > len(queues), plan


def looks(plan: str) -> int:
    """Return how often the index of claims was looked into."""
    return sum(int(loops) for loops in re.findall(r"using live_lane on .*? loops=(\d+)\)", plan))


async def test_a_look_into_few_lanes_does_not_care_how_many_others_have(bench: Bench) -> None:
    """A worker of one queue pays for the lanes of that queue."""
    bench.run("""
        INSERT INTO {schema}.lane (queue, kind, priority)
        SELECT 'queue' || n, 'kind1', 5 FROM generate_series(1, 5000) n""")
    bench.run("""
        INSERT INTO {schema}.live (id, process_at, lane)
        SELECT lpad(to_hex(id), 32, '0')::uuid, now(), id FROM {schema}.lane""")
    bench.analyze()
    bench.plans(LOOK, few=64, steps=1_000)
    bench.run("SET auto_explain.log_analyze = on")
    bench.run("SET auto_explain.log_timing = off")
    waiting, plan = bench.plans(LOOK, few=64, steps=1_000)
    assert len(waiting) == LANES
    assert looks(plan) == LANES, plan
