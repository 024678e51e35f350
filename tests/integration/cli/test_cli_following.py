"""The log of one task can be followed from its request to its end, across processes, by one id."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

from tests.integration.processes import eventually

if TYPE_CHECKING:
    from tests.integration.processes import Program, Programs

REQUEST = "order-4711"


def log_of(*programs: Program) -> list[dict[str, Any]]:
    """Return what the programs logged, in the order of time; each line must be JSON."""
    lines = [line for each in programs for line in each.err.read_text().splitlines()]
    return sorted((json.loads(line) for line in lines), key=lambda line: line["timestamp"])


def test_a_task_is_followed_from_its_request_to_its_end(programs: Programs):
    key = programs.good("keys", "add", "ada", "--scope", "write").split()
    token = next(word for word in key if word.startswith("tsk_"))
    api = programs.start("api", "--port", "0", "--access", "keys")
    worker = programs.start("worker", "--app", "jobs:handlers", "--log-level", "debug")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=api.address(), headers=headers, timeout=30) as client:
        known = "/tasks?filter=kind:Raise"
        eventually(lambda: client.get(known).status_code == 200, "the worker's kinds")
        body = {"kind": "Raise", "max_attempts": 2, "payload": {"word": "s3cret"}}
        named = {"X-Request-ID": REQUEST}
        assert client.put("/tasks?debug=s3cret", json=body).status_code == 400
        answer = client.put("/tasks", json=body, headers=named)
        assert (answer.status_code, answer.headers["x-request-id"]) == (201, REQUEST)
        task_id = answer.json()["id"]
        other = client.put("/tasks", json={"kind": "Quick"}).json()["id"]
        for each, status in ((task_id, "Failed"), (other, "Completed")):
            eventually(lambda: client.get(f"/tasks/{each}").json()["status"] == status, status)  # noqa: B023 - called at once
    worker.stop()
    api.stop()

    (asked,) = [line for line in log_of(api, worker) if line.get("request_id") == REQUEST]
    assert asked["task_id"] == task_id
    assert asked["caller"] == "ada"
    found = [line for line in log_of(api, worker) if line.get("task_id") == task_id]
    # A worker may be at it before the request's line is written, so of these two none is first.
    ran = [line for line in found if line["event"] != asked["event"]]
    assert len(ran) == len(found) - 1
    assert [line["event"].partition(":")[0].partition(",")[0] for line in ran] == [
        f"task {task_id} (Raise) begins attempt 1",
        f"task {task_id} (Raise) failed attempt 1 of 2",
        f"task {task_id} (Raise) ends attempt 1",
        f"task {task_id} (Raise) begins attempt 2",
        f"task {task_id} (Raise) ended by fail in attempt 2",
        f"task {task_id} (Raise) ends attempt 2",
    ]
    for line in ran:
        assert (line["kind"], line["queue"]) == ("Raise", "default")
        assert line["attempt"] in {1, 2}
        assert line["worker_id"] > 0
    assert [line["outcome"] for line in ran if "outcome" in line] == ["retry", "fail"]
    others = [line for line in log_of(api, worker) if line.get("task_id") == other]
    assert len(others) == 3
    assert [line["outcome"] for line in others if "outcome" in line] == ["complete"]
    for program in (api, worker):
        assert "s3cret" not in program.err.read_text()
        assert token not in program.err.read_text()

    (entry,) = json.loads(programs.good("audit", "--task", task_id, "--json"))
    assert (entry["action"], entry["request_id"]) == ("created", REQUEST)
