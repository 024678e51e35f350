"""What is in ``deploy/`` fits what the processes tell."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from taskscheduler import Handlers, Worker
from taskscheduler.application.metrics.attempt_stats import AttemptStats
from taskscheduler.application.metrics.observer import Ran
from taskscheduler.domain.status import Event
from taskscheduler.entrypoints.metrics import Metrics
from taskscheduler.entrypoints.process import Process
from taskscheduler.entrypoints.request_metrics import Requests
from taskscheduler.testing import ManualClock, in_memory

pytestmark = pytest.mark.anyio

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = (DEPLOY / "alerts.yml").read_text("utf-8")
PANELS = json.loads((DEPLOY / "grafana-dashboard.json").read_text("utf-8"))["panels"]


async def exported() -> set[str]:
    """Return the names of all samples that a process with every part of it tells."""
    tally = AttemptStats()
    now = datetime.now(UTC)
    tally.ran([Ran("mail", now, 0.0, 1.0, event) for event in (Event.RETRY, Event.FAIL)])
    async with in_memory(ManualClock()) as scheduler:
        await scheduler.schedule("mail")
        worker = Worker(scheduler, Handlers(), observer=tally)
        requests = Requests()
        process = Process(worker=worker, stats=tally, requests=requests)
        requests.add("GET", "/tasks", 200, 0.01)
        text = (await Metrics(scheduler.store, process).exposition()).decode()
    return {
        sample.name for family in text_string_to_metric_families(text) for sample in family.samples
    } | set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))


async def test_every_metric_that_an_alert_names_is_exported():
    expressions = "\n".join(re.findall(r"^ +expr: (.+)$", ALERTS, re.MULTILINE))
    named = set(re.findall(r"taskscheduler_\w+", expressions))
    assert len(named) >= 10
    assert named <= await exported()


async def test_every_metric_that_a_panel_names_is_exported():
    expressions = [target["expr"] for panel in PANELS for target in panel["targets"]]
    named = set(re.findall(r"taskscheduler_\w+", "\n".join(expressions)))
    assert len(named) >= 15
    assert named <= await exported()


def test_what_an_alert_looks_at_has_a_panel():
    panels = "\n".join(target["expr"] for panel in PANELS for target in panel["targets"])
    alerted = set(re.findall(r"taskscheduler_\w+", "".join(re.findall(r"expr: .+", ALERTS))))
    assert alerted <= set(re.findall(r"taskscheduler_\w+", panels))


def test_panels_do_not_lie_upon_one_another():
    cells = [
        (x, y)
        for panel in PANELS
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_alert_says_what_to_do():
    alerts = ALERTS.count("- alert:")
    assert alerts == ALERTS.count(" summary:") == ALERTS.count(" description:") == 10


def test_operations_explain_every_alert():
    explained = (DEPLOY.parent / "docs/operations.md").read_text("utf-8")
    for name in re.findall(r"- alert: (\w+)", ALERTS):
        assert f"| `{name}` |" in explained
