"""/queues and /workers: what waits where, who works, and the switch for each queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.http.answers import UTC_TIME, fault, get, problem, put, until
from tests.integration.processes import eventually

if TYPE_CHECKING:
    import httpx

FAR = "2093-05-06T07:08:09.123456Z"


def exactly(count: int) -> dict[str, Any]:
    return {"count": count, "exact": True}


def good(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_a_queue_tells_what_it_holds(client: httpx.Client, queue: str):
    first = put(client, kind="Baz", queue=queue)
    put(client, kind="Foo", queue=queue)
    put(client, kind="Baz", queue=queue, execute_at=FAR)
    seen = good(client.get(f"/queues/{queue}"))
    assert seen == {
        "name": queue,
        "paused": False,
        "paused_at": None,
        "due": exactly(2),
        "later": exactly(1),
        "in_progress": exactly(0),
        "oldest_due_at": get(client, first)["process_at"],
    }
    listed = good(client.get("/queues"))
    assert seen in listed
    assert [each["name"] for each in listed] == sorted(each["name"] for each in listed)


def test_queues_come_page_by_page(client: httpx.Client, queue: str):
    names = [f"{queue}.{number}" for number in range(3)]
    for name in names:
        put(client, kind="Baz", queue=name, execute_at=FAR)
    found: list[str] = []
    path = f"/queues?limit=1&cursor={queue}"
    while len(found) < len(names):
        answer = client.get(path)
        found += [each["name"] for each in good(answer)]
        if len(found) < len(names):
            path = answer.links["next"]["url"]
    assert found == names
    everything = client.get("/queues?limit=1000")
    assert "link" not in everything.headers
    assert {*names} < {each["name"] for each in good(everything)}
    fault(client.get("/queues?limit=0"), "limit")
    fault(client.get("/queues?cursor=a%20b"), "cursor")


def test_an_unknown_queue_is_empty(client: httpx.Client, queue: str):
    seen = good(client.get(f"/queues/{queue}"))
    assert (seen["name"], seen["due"], seen["oldest_due_at"]) == (queue, exactly(0), None)
    assert queue not in [each["name"] for each in good(client.get("/queues"))]


def test_a_paused_queue_waits_and_a_resumed_one_goes_on(client: httpx.Client):
    """The worker's own queue: a task that comes after the answer stays Pending."""
    running = put(client, kind="Gate")
    until(client, running, "InProgress")
    try:
        paused = good(client.post("/queues/default/pause"))
        assert paused["paused"] is True
        assert UTC_TIME.fullmatch(paused["paused_at"])
        assert good(client.post("/queues/default/pause"))["paused_at"] == paused["paused_at"]
        waiting = [put(client, kind="Baz") for _ in range(5)]
        for _ in range(5):
            assert {get(client, each)["status"] for each in waiting} == {"Pending"}
        assert good(client.get("/queues/default"))["due"] == exactly(5)
        assert get(client, running)["status"] == "InProgress"
    finally:
        resumed = good(client.post("/queues/default/resume"))
    assert (resumed["paused"], resumed["paused_at"]) == (False, None)
    for each in waiting:
        until(client, each, "Completed")
    assert client.delete(f"/tasks/{running}?force=true").status_code == 204


@pytest.mark.parametrize("name", ["a b", "ä", "x" * 129, "%00"])
@pytest.mark.parametrize("verb", ["/pause", "/resume", ""])
def test_what_cannot_name_a_queue_is_refused(client: httpx.Client, name: str, verb: str):
    method = "POST" if verb else "GET"
    fault(client.request(method, f"/queues/{name}{verb}"), "name")


def test_unknown_parameters_and_methods_are_refused(client: httpx.Client):
    fault(client.get("/queues?name=default"), "name")
    fault(client.get("/workers?x=1"), "x")
    problem(client.delete("/queues/default"), 405)


def test_workers_are_listed(client: httpx.Client):
    task_id = put(client, kind="Gate")
    until(client, task_id, "InProgress")

    def busy() -> list[dict[str, Any]]:
        return [each for each in good(client.get("/workers")) if each["running"]["count"]]

    (worker,) = eventually(busy, "a busy worker")
    assert worker["running"] == exactly(1)
    assert (worker["alive"], worker["queues"], worker["concurrency"]) == (True, ["default"], 50)
    assert {"Baz", "Gate", "Foo"} <= set(worker["kinds"])
    assert worker["name"] == f"{worker['host']}:{worker['pid']}"
    assert worker["lease_s"] == 30
    assert worker["abandoned"] == 0
    assert all(UTC_TIME.fullmatch(worker[name]) for name in ("seen_at", "started_at"))
    assert get(client, task_id)["attempts"][0]["worker_id"] == worker["id"]
    assert client.delete(f"/tasks/{task_id}?force=true").status_code == 204


def test_why_a_task_is_not_running(client: httpx.Client, queue: str):
    def reasons(task_id: str) -> list[dict[str, Any]]:
        found = good(client.get(f"/tasks/{task_id}/why"))
        assert found["id"] == task_id
        assert found["status"] == get(client, task_id)["status"]
        return found["reasons"]

    waiting = put(client, kind="Baz", queue=queue, execute_at=FAR)
    not_due, no_worker = reasons(waiting)
    assert (not_due["reason"], not_due["until"]) == ("NotDue", FAR)
    assert no_worker["reason"] == "NoWorker"
    assert queue in no_worker["detail"]
    assert {"reason", "detail", "until", "since", "worker_id", "before"} <= not_due.keys()
    running = put(client, kind="Gate")
    until(client, running, "InProgress")
    (cause,) = reasons(running)
    assert (cause["reason"], cause["since"]) == ("Running", get(client, running)["started_at"])
    assert cause["worker_id"] in [each["id"] for each in good(client.get("/workers"))]
    client.post(f"/tasks/{running}/cancel")
    (cause,) = reasons(running)
    assert (cause["reason"], cause["detail"]) == ("Finished", "it is Cancelled")
    fault(client.get("/tasks/x/why"), "id")
    problem(client.get("/tasks/018e917e-0000-7000-8000-000000000000/why"), 404)
