"""Whether a claim costs more beside millions of tasks that are not due, or have long ended.

Each contestant gets three databases: one with nothing else in it, one with tasks for tomorrow, one
with finished ones (where it keeps them). The rows are made by SQL, in its own tables, by what its
own statements would have left there. The drains of one round are compared.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import psycopg

from benchmarks.figures import rotated
from benchmarks.measures.drain import drained, fill
from benchmarks.process import Broken, install
from benchmarks.server import settle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.bench import Bench
    from benchmarks.contestants import Contestant

ROUNDS: Final = 6
"""The rows take minutes to make, so the rounds are in here, and share them: each load comes first,
second and last as often as any other."""
ALONE: Final = "alone"


async def measure(bench: Bench) -> None:
    """Everybody who can be given such rows."""
    for contestant in bench.in_turn():
        if not contestant.future:
            continue
        try:
            await _one(bench, contestant)
        except Broken as broken:
            bench.failures.append(f"backlog: {broken}")


async def _one(bench: Bench, contestant: Contestant) -> None:
    beside = {"future": contestant.future, "finished": contestant.past}
    loads = {ALONE: ()} | {name: query for name, query in beside.items() if query}
    tasks = int(bench.sizes.tasks * contestant.share)
    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(bench.server.database(f"backlog_{contestant.name}_{name}"))
            for name in loads
        }
        for name, query in loads.items():
            await install(contestant, urls[name])
            run(urls[name], query, bench.sizes.rows)
        for number_of_round in range(ROUNDS):
            rates: dict[str, float] = {}
            for name in rotated(list(loads), number_of_round):
                first = number_of_round * tasks
                mark = await fill(contestant, urls[name], tasks, first=first)
                settle(urls[name])
                rates[name] = await drained(contestant, urls[name], tasks, 1, mark)
            bench.number_of_round = number_of_round
            for name, rate in rates.items():
                if name != ALONE:
                    what = f"drain beside {bench.sizes.rows:,} {name} tasks/alone"
                    bench.note(what, contestant.name, rate / rates[ALONE], "of the rate alone")
        bench.number_of_round = 0


def run(url: str, statements: Iterable[str], rows: int) -> None:
    """Run ``statements`` about so many ``rows``."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.format(rows=rows).encode())
