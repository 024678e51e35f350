"""What is in ``deploy/`` fits what the processes tell."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from taskscheduler import Handlers, Worker
from taskscheduler.application.observer import Ran
from taskscheduler.application.tally import Tally
from taskscheduler.domain.status import Event
from taskscheduler.entrypoints.metrics import Metrics
from taskscheduler.testing import ManualClock, in_memory

pytestmark = pytest.mark.anyio

ALERTS = (Path(__file__).parents[2] / "deploy/alerts.yml").read_text("utf-8")


async def test_every_metric_that_an_alert_names_is_exported():
    tally = Tally()
    now = datetime.now(UTC)
    tally.ran([Ran("mail", now, 0.0, 1.0, event) for event in (Event.RETRY, Event.FAIL)])
    async with in_memory(ManualClock()) as scheduler:
        await scheduler.schedule("mail")
        metrics = Metrics(scheduler.store)
        metrics.worker, metrics.tally = Worker(scheduler, Handlers(), observer=tally), tally
        text = (await metrics.exposition()).decode()
    exported = {
        sample.name for family in text_string_to_metric_families(text) for sample in family.samples
    } | set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    expressions = "\n".join(re.findall(r"^ +expr: (.+)$", ALERTS, re.MULTILINE))
    named = set(re.findall(r"taskscheduler_\w+", expressions))
    assert len(named) >= 10
    assert named <= exported


def test_every_alert_says_what_to_do():
    alerts = ALERTS.count("- alert:")
    assert alerts == ALERTS.count(" summary:") == ALERTS.count(" description:") == 10
