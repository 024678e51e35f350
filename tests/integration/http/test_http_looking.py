"""GET /tasks and GET /tasks/<id>: filters, pages, and what became of each attempt."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from tests.integration.http.answers import (
    STATUSES,
    UTC_TIME,
    fault,
    get,
    listed,
    problem,
    put,
    until,
)

if TYPE_CHECKING:
    import httpx

FAR = "2093-05-06T07:08:09.123456Z"


def pages(client: httpx.Client, queue: str, *, limit: int) -> list[list[str]]:
    """Follow the links from the first page to the last; return the ids of each."""
    address: str | None = f"/tasks?filter=queue:{queue}&limit={limit}"
    found: list[list[str]] = []
    while address is not None:
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        found.append([task["id"] for task in answer.json()])
        address = answer.links.get("next", {}).get("url")
    return found


def test_the_newest_come_first(client: httpx.Client, queue: str):
    ids = [put(client, kind="Baz", queue=queue) for _ in range(5)]
    assert [task["id"] for task in listed(client, f"queue:{queue}")] == ids[::-1]


def test_a_list_has_every_field_but_attempts_and_result(client: httpx.Client, queue: str):
    task = get(client, put(client, kind="Baz", queue=queue, execute_at=FAR))
    assert task.pop("attempts") == []
    assert task.pop("result") is None
    assert task.pop("progress") is None
    (found,) = listed(client, f"queue:{queue}")
    assert found == {field: task[field] for field in found}
    assert task.keys() - found.keys() <= {"after", "when", "otherwise", "batch"}
    assert {"id", "kind", "process_at", "status", "created_at", "execute_at"} <= task.keys()


def test_filters_combine(client: httpx.Client, queue: str):
    put(client, kind="Foo", queue=queue)
    baz = put(client, kind="Baz", queue=queue)
    gone = put(client, kind="Baz", queue=queue)
    assert client.post(f"/tasks/{gone}/cancel").status_code == 200
    mine = f"queue:{queue}"

    def found(*filters: str) -> list[str]:
        return [task["id"] for task in listed(client, mine, *filters)]

    assert len(found()) == 3
    assert found("kind:Baz") == [gone, baz]
    assert found("kind:Baz", "status:Pending") == [baz]
    assert found("status:Cancelled") == [gone]
    assert found("status:Cancelled", "kind:Foo") == []
    assert found("kind:Baz", "kind:Foo") == found()
    assert found("kind:Baz", "kind:Foo", "status:Cancelled", "status:Pending") == found()
    assert found("kind:Baz", "kind:Foo", "status:Cancelled") == [gone]
    fault(client.get("/tasks?filter=kind:Baz&filter=kind:Bazz"), "filter")
    assert found("kind:Baz", "kind:Baz", mine) == [gone, baz]
    assert found("kind:Baz", "queue:another") == [gone, baz]
    assert listed(client, f"{mine}-other") == []


def test_completed_tasks_of_a_kind(client: httpx.Client):
    task_id = put(client, kind="Baz")
    until(client, task_id, "Completed")
    found = listed(client, "status:Completed", "kind:Baz")
    assert task_id in [task["id"] for task in found]
    assert {(task["kind"], task["status"]) for task in found} == {("Baz", "Completed")}


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_can_be_asked_for(client: httpx.Client, status: str):
    assert {task["status"] for task in listed(client, f"status:{status}")} <= {status}


def test_a_hundred_unless_more_are_asked_for(client: httpx.Client, queue: str):
    client.post("/tasks/batch", json=[{"kind": "Baz", "queue": queue}] * 1_001)
    assert len(listed(client, f"queue:{queue}")) == 100
    assert len(listed(client, f"queue:{queue}", limit=1_000)) == 1_000
    assert len(listed(client, f"queue:{queue}", limit=1)) == 1


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1.5", "9" * 30])
def test_limits_out_of_bounds_are_refused(client: httpx.Client, limit: str):
    fault(client.get("/tasks", params={"limit": limit}), "limit")


@pytest.mark.parametrize(("count", "limit"), [(10, 3), (9, 3), (1, 1), (0, 5), (3, 3)])
def test_pages_partition_the_list(client: httpx.Client, queue: str, count: int, limit: int):
    ids = [put(client, kind="Baz", queue=queue) for _ in range(count)]
    found = pages(client, queue, limit=limit)
    assert [one for page in found for one in page] == ids[::-1]
    assert len(found) == max(1, -(-count // limit))


def test_the_link_keeps_what_was_asked(client: httpx.Client, queue: str):
    for _ in range(3):
        put(client, kind="Baz", queue=queue)
    asked = {"filter": ["kind:Baz", f"queue:{queue}", "status:Pending"], "limit": "2"}
    answer = client.get("/tasks", params=asked)
    link = urlsplit(answer.links["next"]["url"])
    kept = parse_qs(link.query)
    assert link.path == "/tasks"
    assert (kept["filter"], kept["limit"]) == (asked["filter"], ["2"])


def test_pages_neither_skip_nor_repeat_while_tasks_are_stored(client: httpx.Client, queue: str):
    old = client.post("/tasks/batch", json=[{"kind": "Baz", "queue": queue}] * 500).json()["ids"]
    done = threading.Event()

    def produce() -> None:
        while not done.is_set():
            put(client, kind="Baz", queue=queue)

    with ThreadPoolExecutor(4) as threads:
        producing = [threads.submit(produce) for _ in range(4)]
        try:
            found = [one for page in pages(client, queue, limit=20) for one in page]
        finally:
            done.set()
        for each in producing:
            each.result()
    assert len(found) == len(set(found))
    assert found[-500:] == old[::-1]
    assert found == sorted(found, reverse=True)


def test_pages_neither_skip_nor_repeat_while_tasks_run(client: httpx.Client):
    tasks = [{"kind": "Baz"}] * 2_000
    ids: list[str] = client.post("/tasks/batch", json=tasks).json()["ids"]
    found: list[str] = []
    address = "/tasks?limit=50"
    while len(set(ids) - set(found)) > 0:
        answer = client.get(address)
        found += [task["id"] for task in answer.json()]
        address = answer.links["next"]["url"]
        assert len(found) < 4_000
    assert len(found) == len(set(found))


@pytest.mark.parametrize("cursor", ["x", "", "1", "018e917e", "\0"])
def test_cursors_that_are_none_are_refused(client: httpx.Client, cursor: str):
    fault(client.get("/tasks", params={"cursor": cursor}), "cursor")


def test_a_failed_task_tells_the_history_of_its_attempts(client: httpx.Client):
    task = until(client, put(client, kind="Raise"), "Failed")
    assert (task["attempt"], len(task["attempts"])) == (3, 3)
    assert [each["number"] for each in task["attempts"]] == [1, 2, 3]
    ends: list[str] = []
    for attempt in task["attempts"]:
        error: dict[str, Any] = attempt["error"]
        assert error["type"] == "RuntimeError"
        assert error["message"] == "it did not work \\0 \N{SNOWMAN}"
        assert "jobs.py" in error["traceback"]
        assert "raise RuntimeError" in error["traceback"]
        assert UTC_TIME.fullmatch(attempt["started_at"])
        assert UTC_TIME.fullmatch(attempt["finished_at"])
        ends += [attempt["started_at"], attempt["finished_at"]]
    assert ends == sorted(ends)
    assert task["attempts"][-1]["outcome"] == "fail"


def test_max_attempts_bounds_the_attempts(client: httpx.Client):
    task = until(client, put(client, kind="Raise", max_attempts=1), "Failed")
    assert (task["attempt"], len(task["attempts"]), task["max_attempts"]) == (1, 1, 1)


def test_a_timeout_ends_an_attempt(client: httpx.Client):
    task_id = put(client, kind="Gate", timeout_s=0.1, max_attempts=1)
    (attempt,) = until(client, task_id, "Failed")["attempts"]
    assert "Timed" in attempt["error"]["type"]


def test_a_payload_that_does_not_fit_fails_without_retries(client: httpx.Client):
    (attempt,) = until(client, put(client, kind="Typed", payload={"a": "x"}), "Failed")["attempts"]
    assert "$[" in attempt["error"]["message"]
    assert until(client, put(client, kind="Typed", payload={"a": 1}), "Completed")["attempt"] == 1


def test_a_task_in_progress_shows_its_running_attempt(client: httpx.Client):
    task_id = put(client, kind="Gate")
    task = until(client, task_id, "InProgress")
    (attempt,) = task["attempts"]
    assert (task["attempt"], attempt["number"]) == (1, 1)
    assert (attempt["finished_at"], attempt["outcome"]) == (None, None)
    assert task["started_at"] == attempt["started_at"]
    assert client.delete(f"/tasks/{task_id}?force=true").status_code == 204


def test_foo_sleeps_three_seconds_and_holds_up_nobody(client: httpx.Client):
    began = time.monotonic()
    ids = [put(client, kind="Foo") for _ in range(20)]
    for task_id in ids:
        until(client, task_id, "Completed")
    assert 3 <= time.monotonic() - began < 6


def test_an_unknown_task_is_not_found(client: httpx.Client):
    unknown = str(uuid4())
    assert unknown in problem(client.get(f"/tasks/{unknown}"), 404)["detail"]
