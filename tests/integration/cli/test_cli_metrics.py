"""``/metrics`` of the processes that have it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx

from tests.integration.processes import eventually, store

if TYPE_CHECKING:
    from tests.integration.processes import Programs

SHOWN = re.compile(r"http://127\.0\.0\.1:\d+/metrics")


def test_a_worker_shows_what_it_did_and_the_api_what_waits(programs: Programs):
    url, schema = programs.env["DATABASE_URL"], programs.env["TASKSCHEDULER_SCHEMA"]
    worker = programs.start("worker", "--app", "jobs:handlers", "--metrics-port", "0")
    api = programs.start("api", "--port", "0")
    eventually(lambda: SHOWN.search(worker.err.read_text()), "an address for metrics")
    (address,) = SHOWN.findall(worker.err.read_text())
    store(url, schema, [("Quick", None)] * 3)
    done = 'taskscheduler_attempts_total{kind="Quick",outcome="complete"} 3.0'
    eventually(lambda: done in httpx.get(address).text, done)
    text = httpx.get(address).text
    assert 'taskscheduler_run_seconds_count{kind="Quick"} 3.0' in text
    assert 'taskscheduler_attempts_total{kind="Raise",outcome="fail"} 0.0' in text
    hears = "taskscheduler_wakeups_listening 1.0"
    eventually(lambda: hears in httpx.get(address).text, hears)
    assert "listening for wake-ups" in worker.err.read_text()
    assert 'taskscheduler_pool{state="max"} 10.0' in text
    assert httpx.get(address.replace("/metrics", "/")).status_code == 404
    answer = httpx.get(f"{api.address()}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'taskscheduler_tasks{queue="default",state="due"} 0.0' in answer.text
    assert 'taskscheduler_workers{state="live"} 1.0' in answer.text
    assert "taskscheduler_store_up 1.0" in answer.text
    worker.stop()
    api.stop()
    assert "metrics of the store are stale" not in worker.err.read_text() + api.err.read_text()
