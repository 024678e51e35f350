"""Every panel draws something, and every alert can be evaluated, of what real processes tell."""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from taskscheduler import NewTask, Scheduler
from taskscheduler.container import migrate_schema
from tests.integration.processes import JOBS, Programs, eventually
from tests.integration.prometheus.conftest import DEPLOY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.processes import Program
    from tests.integration.prometheus.conftest import Prometheus, Start

PANELS: Final = json.loads((DEPLOY / "grafana-dashboard.json").read_text("utf-8"))["panels"]
VARIABLES: Final = {"$job": ".*", "$__rate_interval": "15s"}
METRICS: Final = re.compile(r"http://127\.0\.0\.1:\d+/metrics")
PATIENCE_S: Final = 60.0
ESTIMATED_ABOVE: Final = 10_000


@pytest.fixture
def programs(tmp_path: Path, postgres_url: str, schema: str) -> Iterator[Programs]:
    asyncio.run(migrate_schema(postgres_url, schema))
    env = {"DATABASE_URL": postgres_url, "TASKSCHEDULER_SCHEMA": schema}
    with Programs(tmp_path, **env) as programs:
        programs.write("jobs.py", JOBS)
        yield programs


def metrics_of(worker: Program) -> str:
    eventually(lambda: METRICS.search(worker.err.read_text()), "the worker's metrics")
    found: str = METRICS.findall(worker.err.read_text())[0]
    return found.removesuffix("/metrics")


def expressions() -> dict[str, str]:
    """Return what the panels ask, each as Grafana would send it."""
    asked: dict[str, str] = {}
    for panel in PANELS:
        for target in panel["targets"]:
            expression: str = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            assert "$" not in expression
            asked[f"{panel['title']} {target['refId']}"] = expression
    return asked


async def store_for_later(programs: Programs, count: int) -> None:
    """Store so many that they are estimated, not counted."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    url, schema = programs.env["DATABASE_URL"], programs.env["TASKSCHEDULER_SCHEMA"]
    async with Scheduler.postgres(url, schema=schema) as scheduler:
        new_id = scheduler.store.new_task_id
        await scheduler.schedule_many(
            NewTask(id=new_id(), kind="Quick", execute_at=tomorrow) for _ in range(count)
        )


def test_every_panel_shows_something(programs: Programs, start_prometheus: Start):
    worker = programs.start("worker", "--app", "jobs:handlers", "--metrics-port", "0")
    address = programs.start("api", "--port", "0").address()
    asyncio.run(store_for_later(programs, ESTIMATED_ABOVE + 10))
    prometheus = start_prometheus(address, metrics_of(worker))
    nothing_yet = expressions()
    deadline = time.monotonic() + PATIENCE_S
    while nothing_yet:
        assert time.monotonic() < deadline, f"they show nothing: {nothing_yet}"
        for kind, status in (("Quick", 201), ("Raise", 201), ("None such", 400)):
            assert httpx.put(f"{address}/tasks", json={"kind": kind}).status_code == status
        nothing_yet = {
            panel: expression
            for panel, expression in nothing_yet.items()
            if not prometheus.query(expression).numbers
        }
    # What the choice of a job is made from.
    jobs = {labels["job"] for labels, _ in prometheus.query("taskscheduler_build_info").series}
    assert jobs == {"taskscheduler"}
    by_outcome = {
        (labels["kind"], labels["outcome"]): float(value)
        for labels, value in prometheus.query("taskscheduler_attempts_total").series
    }
    assert by_outcome["Quick", "complete"] > 0
    assert by_outcome["Raise", "fail"] > 0
    assert by_outcome["Raise", "retry"] == pytest.approx(2 * by_outcome["Raise", "fail"], abs=4)


def test_the_first_failure_is_seen_and_every_rule_works(
    programs: Programs, start_prometheus: Start
):
    worker = programs.start("worker", "--app", "jobs:handlers", "--metrics-port", "0")
    address = programs.start("api", "--port", "0").address()
    prometheus = start_prometheus(address, metrics_of(worker))
    told = 'taskscheduler_attempts_total{kind="Raise", outcome="fail"}'
    eventually(lambda: prometheus.query(told).numbers == [0.0], "the worker to be scraped")
    assert httpx.put(f"{address}/tasks", json={"kind": "Raise"}).status_code == 201
    # Two of its three attempts are to be repeated: too many, if it goes on so.
    alarmed = {"TaskschedulerTasksFail", "TaskschedulerManyRetries"}
    eventually(lambda: roused(prometheus) == alarmed, "the alerts")
    rules = prometheus.rules()
    assert len(rules) == 10
    assert {each["health"] for each in rules} == {"ok"}


def roused(prometheus: Prometheus) -> set[str]:
    """Return the alerts that are pending or firing."""
    return {each["name"] for each in prometheus.rules() if each["state"] != "inactive"}
