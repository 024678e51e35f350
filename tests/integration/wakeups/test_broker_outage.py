"""RabbitMQ is stopped and started again under load: all is done, and the figures tell of it."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Self

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from taskscheduler import TaskStatus
from tests.integration.processes import JOBS, Programs, eventually, every_task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.wakeups.conftest import Broker

METRICS = re.compile(r"http://127\.0\.0\.1:\d+/metrics")
EVERY_S = 0.02


class Figures:
    """The metrics of one process."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __getitem__(self, name: str) -> float:
        """Return the sum of all series of that name."""
        return sum(self.by_label(name, "").values())

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """Return the series of that name, added up by ``label``."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(httpx.get(self._address).text):
            for sample in family.samples:
                if sample.name == f"taskscheduler_{name}":
                    key = sample.labels.get(label, "")
                    found[key] = found.get(key, 0.0) + sample.value
        return found


class Load:
    """Stores tasks through the REST service, one after another, until it is told to stop."""

    def __init__(self, address: str) -> None:
        self.stored = 0
        self.refused: list[str] = []
        self._address = address
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._store)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _store(self) -> None:
        with httpx.Client(base_url=self._address) as client:
            while not self._stopping.wait(EVERY_S):
                answer = client.put("/tasks", json={"kind": "Quick"})
                if answer.status_code == 201:
                    self.stored += 1
                else:
                    self.refused.append(answer.text)


@pytest.fixture
def programs(tmp_path: Path, url: str, schema: str, broker: Broker) -> Iterator[Programs]:
    env = {
        "DATABASE_URL": url,
        "TASKSCHEDULER_SCHEMA": schema,
        "TASKSCHEDULER_WAKEUPS": broker.url,
    }
    with Programs(tmp_path, **env) as programs:
        programs.write("jobs.py", JOBS)
        yield programs


def test_the_broker_stops_and_starts_under_load(
    programs: Programs, broker: Broker, url: str, schema: str
) -> None:
    worker = programs.start("worker", "--app", "jobs:handlers", "--metrics-port", "0")
    api = programs.start("api", "--port", "0")
    address = api.address()
    eventually(lambda: METRICS.search(worker.err.read_text()), "the worker's metrics")
    works = Figures(METRICS.findall(worker.err.read_text())[0])
    tells = Figures(f"{address}/metrics")

    def state() -> str:
        answer = httpx.get(f"{address}/readyz")
        assert answer.status_code == 200, "without a broker it is ready all the same"
        found: str = answer.json()["wakeups"]["state"]
        return found

    def completed() -> float:
        return works.by_label("attempts_total", "outcome")["complete"]

    eventually(lambda: works["wakeups_listening"] == 1, "hearing")
    assert state() == "untried"
    with Load(address) as load:
        eventually(lambda: completed() > 20 and tells["wakeups_sent_total"] > 5, "a beginning")
        assert (state(), tells["wakeups_failed_total"]) == ("connected", 0)

        broker.stop()
        eventually(lambda: works["wakeups_listening"] == 0, "the loss to be noticed")
        eventually(lambda: tells["wakeups_sending"] == 0, "the silence to be noticed")
        assert state() == "polling"
        sent, failed, stored = (
            tells["wakeups_sent_total"],
            tells["wakeups_failed_total"],
            load.stored,
        )
        eventually(lambda: tells["wakeups_failed_total"] > failed, "it to be tried again")
        eventually(lambda: completed() > stored, "work without the broker")
        assert tells["wakeups_sent_total"] == sent

        broker.start()
        eventually(lambda: works["wakeups_listening"] == 1, "hearing again")
        eventually(lambda: tells["wakeups_sent_total"] > sent, "telling again")
        assert (state(), tells["wakeups_sending"]) == ("connected", 1)
        stored = load.stored
        eventually(lambda: load.stored > stored + 20, "load after it")

    assert load.refused == []
    eventually(lambda: completed() == load.stored, "every task to be run")
    outcomes = works.by_label("attempts_total", "outcome")
    assert {name: count for name, count in outcomes.items() if count} == {"complete": load.stored}
    worker.stop()
    api.stop()
    tasks = every_task(url, schema)
    assert len(tasks) == load.stored
    assert {task.status for task in tasks} == {TaskStatus.COMPLETED}
    log = worker.err.read_text()
    assert (log.count("listening for wake-ups"), "wake-ups are lost" in log) == (2, True)
    assert "wake-ups are sent again" in api.err.read_text()
    print(f"{load.stored} tasks; hints sent {sent:.0f} before, failed {failed:.0f} or more")
