"""How long the database takes for a page of a list, and for one task, among millions.

The very statements that GET /tasks and GET /tasks/<id> send, under EXPLAIN ANALYZE, planning
included, each with another cursor or id, drawn from all there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from benchmarks.bench import OURS
from benchmarks.figures import percentile
from benchmarks.measures.backlog import run
from benchmarks.process import install
from benchmarks.server import settle
from taskscheduler.adapters.postgres import statements
from taskscheduler.adapters.postgres.reader import LOWEST, page
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from benchmarks.bench import Bench

CALLS: Final = 300
LIMIT: Final = 101  # a page of a hundred, and one more to know whether there is a next
CURSORS: Final = (
    "SELECT id FROM taskscheduler.finished TABLESAMPLE SYSTEM (1) ORDER BY random() LIMIT %s"
)


async def measure(bench: Bench) -> None:
    """Ours, with one per cent failed and the rest completed."""
    contestant = bench.contestant(OURS)
    with bench.server.database("lookup") as url:
        await install(contestant, url)
        run(url, contestant.past, bench.sizes.rows)
        settle(url)
        with psycopg.connect(url, autocommit=True) as connection:
            ids = [row[0] for row in connection.execute(CURSORS, [CALLS]).fetchall()]
            for name, ask in _questions(connection, ids).items():
                values = [ask(each) for each in ids]
                for per_cent in (50, 99):
                    what = f"{name} among {bench.sizes.rows:,}, p{per_cent}"
                    value = percentile(values, per_cent)
                    bench.note(what, OURS, value, "ms", lower_is_better=True)


def _questions(
    connection: psycopg.Connection[Any], ids: list[UUID]
) -> dict[str, Callable[[UUID], float]]:
    lanes = [row[0] for row in connection.execute("SELECT id FROM taskscheduler.lane").fetchall()]

    def listed(
        status: TaskStatus | None, numbers: list[int], *, by_lane: bool
    ) -> Callable[[UUID], float]:
        def ask(before: UUID) -> float:
            values = {
                "before": before,
                "lowest": LOWEST,
                "limit": LIMIT,
                "status": numbers[0],
                "statuses": numbers,
                "lanes": lanes,
            }
            return _explained(connection, page(status, by_lane=by_lane), values)

        return ask

    return {
        "list Completed": listed(TaskStatus.COMPLETED, [2], by_lane=False),
        "list Failed": listed(TaskStatus.FAILED, [3], by_lane=False),
        "list Completed of a kind": listed(TaskStatus.COMPLETED, [2], by_lane=True),
        "list Failed of a kind": listed(TaskStatus.FAILED, [3], by_lane=True),
        "list all of a kind": listed(None, [2, 3, 4], by_lane=True),
        "get one": lambda task_id: _explained(connection, statements.GET, {"ids": [task_id]}),
    }


def _explained(connection: psycopg.Connection[Any], query: Any, values: dict[str, Any]) -> float:
    statement = sql.SQL("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + query)
    composed = statement.format(schema=sql.Identifier("taskscheduler"))
    row = connection.execute(composed, values, prepare=False).fetchone()
    assert row is not None
    plan = row[0][0]
    return plan["Planning Time"] + plan["Execution Time"]
