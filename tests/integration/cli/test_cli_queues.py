"""``queues`` and ``workers``: for people and for machines."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tests.integration.processes import eventually

if TYPE_CHECKING:
    from tests.integration.cli.conftest import Call
    from tests.integration.processes import Programs


def test_queues_are_listed_paused_and_resumed(call: Call, programs: Programs):
    def good(command: str) -> str:
        called = call(command, **programs.env)
        assert (called.code, called.err) == (0, ""), called.err
        return called.out

    assert good("queues list") == ""
    good("tasks add Baz --queue mail")
    assert "due 1  later 0" in good("queues list")
    assert "paused since" in good("queues pause mail letters")
    paused: list[dict[str, Any]] = json.loads(good("queues list --json"))
    assert [(each["name"], each["paused"]) for each in paused] == [
        ("letters", True),
        ("mail", True),
    ]
    assert json.loads(good("queues resume letters --json"))["paused"] is False
    assert good("queues list").count("open") == 0  # nothing names letters any more
    assert "open, but no live worker takes it" in good("queues resume mail")
    told = good("audit --target mail").splitlines()
    assert len(told) == 2
    assert all(re.search(r"(paused|resumed) +mail  by cli:\S+  from \S", line) for line in told)
    done: list[dict[str, Any]] = json.loads(good("audit --target letters --json"))
    assert [each["action"] for each in done] == ["resumed", "paused"]


def test_what_cannot_name_a_queue_is_refused(call: Call, programs: Programs):
    called = call("queues pause a/b", **programs.env)
    assert (called.code, called.out) == (2, "")
    assert "queue: must be 1 to 128" in called.err


def test_workers_are_listed(call: Call, programs: Programs):
    assert call("workers", **programs.env).out == ""
    worker = programs.start("worker", "--queue", "mail", "--concurrency", "3")

    def found() -> list[dict[str, Any]]:
        return json.loads(call("workers --json", **programs.env).out)

    (seen,) = eventually(found, "a worker")
    assert (seen["queues"], seen["concurrency"], seen["alive"]) == (["mail"], 3, True)
    assert seen["pid"] == worker.process.pid
    line = call("workers", **programs.env).out
    assert "running 0 of 3  queues mail  kinds Bar,Baz,Foo" in line
    worker.stop()
    assert found() == []


def test_why_a_task_is_not_running(call: Call, programs: Programs):
    task_id = call("tasks add Baz", **programs.env).out.strip()
    call("queues pause default", **programs.env)
    told = call(f"tasks why {task_id}", **programs.env).out
    assert "QueuePaused: the queue 'default' is paused, since 2" in told
    assert "NoWorker: no worker is alive" in told
    why = json.loads(call(f"tasks why {task_id} --json", **programs.env).out)
    assert [each["reason"] for each in why["reasons"]] == ["QueuePaused", "NoWorker"]
