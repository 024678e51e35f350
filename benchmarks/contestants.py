"""Who takes part, how each is started, and how its own tables tell that all is done."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
NODE: Final = ROOT / "benchmarks" / "peers" / "node"
PEERS_PYTHON: Final = ROOT / ".bench" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One of those compared."""

    name: str
    program: str
    """A module of ``benchmarks.peers``, or a file of ``benchmarks/peers/node``."""
    done: str
    """A query that is true once all is done, of ``{tasks}``, whatever handlers have said.

    Those were stored after ``{mark}``. It must not read through millions of other tasks: its own
    time would be taken for the contestant's.
    """
    settings: str
    """How it is set up, for the report."""
    mark: str = "SELECT 0"
    """A query for what tells those that are stored from now on from all that are there."""
    share: float = 1.0
    """How much of the others' tasks it gets to drain, lest a slow one take the whole time."""
    future: tuple[str, ...] = ()
    """Statements that store ``{rows}`` tasks that are due in a day, in its own schema."""
    past: tuple[str, ...] = ()
    """Statements that store ``{rows}`` finished tasks, where it keeps any."""

    @property
    def command(self) -> list[str]:
        """What to run, in the repository's folder."""
        if self.program.endswith(".mjs"):
            return [node() or "node", str(NODE / self.program)]
        python = sys.executable if self.name in OF_THE_HOUSE else str(PEERS_PYTHON)
        return [python, "-m", f"benchmarks.peers.{self.program}"]

    @property
    def missing(self) -> str | None:
        """Why it cannot take part here, or None."""
        if self.name in OF_THE_HOUSE:
            return None
        if not self.program.endswith(".mjs"):
            return None if PEERS_PYTHON.exists() else "not installed: `make bench` does it"
        if node() is None:
            return "there is no Node on this machine"
        if not (NODE / "node_modules" / self.name).exists():
            return "not installed: `make bench` does it, where there is npm"
        return None


OF_THE_HOUSE: Final = ("taskscheduler", "bare psycopg")

LANE: Final = """
INSERT INTO taskscheduler.lane (queue, kind, priority) VALUES ('default', 'noop', 5)
ON CONFLICT DO NOTHING"""

ALL: Final = (
    Contestant(
        "taskscheduler",
        "ours",
        "SELECT NOT EXISTS (SELECT FROM taskscheduler.live WHERE id > '{mark}')",
        "defaults; history, retries, leases, heartbeats, logs at INFO",
        mark="SELECT uuidv7()",
        future=(
            LANE,
            """
WITH made AS MATERIALIZED (
    SELECT n, uuidv7() AS id, now() + interval '1 day' + n * interval '1 ms' AS due
    FROM generate_series(1, {rows}) n
), body AS (
    INSERT INTO taskscheduler.task (id, execute_at, created_at, payload)
    SELECT id, due, now(), n::text::json FROM made
)
INSERT INTO taskscheduler.live (id, process_at, lane)
SELECT id, due, (SELECT id FROM taskscheduler.lane WHERE kind = 'noop') FROM made""",
        ),
        past=(
            LANE,
            """
WITH made AS MATERIALIZED (
    SELECT n, uuidv7() AS id FROM generate_series(1, {rows}) n
), body AS (
    INSERT INTO taskscheduler.task (id, execute_at, created_at, payload)
    SELECT id, now(), now(), n::text::json FROM made
)
INSERT INTO taskscheduler.finished
    (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused, status)
SELECT id, now(), now(), now(), nextval('taskscheduler.lease_token'), 1,
       (SELECT id FROM taskscheduler.lane WHERE kind = 'noop'), 1, 0,
       CASE WHEN n % 100 = 0 THEN 3 ELSE 2 END
FROM made""",
        ),
    ),
    Contestant(
        "bare psycopg",
        "bare",
        "SELECT NOT EXISTS (SELECT FROM bare WHERE id > {mark})",
        "one table, claim by UPDATE, completion by DELETE, batches of 500; nothing kept",
        mark="SELECT coalesce(max(id), 0) FROM bare",
        future=(
            """
INSERT INTO bare (run_at, payload)
SELECT now() + interval '1 day' + n * interval '1 ms', n::text::json
FROM generate_series(1, {rows}) n""",
        ),
    ),
    Contestant(
        "pgqueuer",
        "pgqueuer",
        "SELECT NOT EXISTS (SELECT FROM pgqueuer WHERE id > {mark})",
        "asyncpg, one queue manager, batch 500 (latency: 10)",
        mark="SELECT coalesce(max(id), 0) FROM pgqueuer",
        future=(
            """
INSERT INTO pgqueuer (priority, entrypoint, payload, status, execute_after)
SELECT 0, 'noop', n::text::bytea, 'queued', now() + interval '1 day' + n * interval '1 ms'
FROM generate_series(1, {rows}) n""",
        ),
    ),
    Contestant(
        "procrastinate",
        "procrastinate",
        "SELECT NOT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))",
        "concurrency 50, pool of 20",
        share=0.03,
    ),
    Contestant(
        "awa",
        "awa",
        # Its view of all jobs takes half a second to ask; these are what it is made of.
        "SELECT {tasks} <= (SELECT coalesce(sum(completed_count), 0)"
        " FROM awa.receipt_completion_batches) + (SELECT count(*) FROM awa.done_entries)"
        " + (SELECT coalesce(sum(pruned_completed_count), 0) FROM awa.queue_terminal_rollups)",
        "queue storage, max_workers 512, one claimer",
        share=0.3,
    ),
    Contestant(
        "graphile-worker",
        "graphile-worker.mjs",
        "SELECT NOT EXISTS (SELECT FROM graphile_worker._private_jobs WHERE id > {mark})",
        "concurrentJobs 24, localQueue 2000 (latency: 500), completeJobBatchDelay 10 (latency: 0)",
        mark="SELECT coalesce(max(id), 0) FROM graphile_worker._private_jobs",
        future=(
            "SELECT graphile_worker.add_job('noop', run_at => now() + interval '1 day')",
            """
INSERT INTO graphile_worker._private_jobs (task_id, payload, run_at)
SELECT (SELECT id FROM graphile_worker._private_tasks WHERE identifier = 'noop'),
       json_build_object('number', n), now() + interval '1 day' + n * interval '1 ms'
FROM generate_series(1, {rows}) n""",
        ),
    ),
    Contestant(
        "pg-boss",
        "pg-boss.mjs",
        "SELECT NOT EXISTS (SELECT FROM pgboss.job WHERE name = 'bench' AND state < 'completed'"
        " AND start_after <= now())",
        "NOTIFY, batchSize 1000 (latency: 100), localConcurrency 4, burstWhenBatchFull",
    ),
)


def node() -> str | None:
    """Return the Node to use: that which came with the peers, or the machine's."""
    own = NODE / "node_modules" / ".bin" / "node"
    return str(own) if own.exists() else shutil.which("node")


def chosen(names: list[str] | None) -> list[Contestant]:
    """Return ours, the yardstick, and those of ``names``, or everybody.

    Raises:
        ValueError: nobody is called that.
    """
    if names is None:
        return list(ALL)
    known = {each.name: each for each in ALL}
    if unknown := [name for name in names if name not in known]:
        message = f"nobody is called {', '.join(unknown)}; there are {', '.join(known)}"
        raise ValueError(message)
    return [each for each in ALL if each.name in {*OF_THE_HOUSE, *names}]
