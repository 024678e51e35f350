"""POST /tasks/cancel, /retry, /delete: many tasks at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.http.answers import fault, get, listed, problem, put, until

if TYPE_CHECKING:
    import httpx

FAR = "2093-05-06T07:08:09.123456Z"
VERBS = ("cancel", "retry", "delete")


def steps(client: httpx.Client, verb: str, *filters: str, **more: Any) -> list[dict[str, Any]]:
    """Call until there is no more; return the answers."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        parameters = {"filter": list(filters), **more, **cursor}
        answer = client.post(f"/tasks/{verb}", params=parameters)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        if found[-1]["cursor"] is None:
            return found
        cursor = {"cursor": found[-1]["cursor"]}


def total(found: list[dict[str, Any]]) -> tuple[int, int]:
    return sum(each["looked_at"] for each in found), sum(each["changed"] for each in found)


def test_many_are_cancelled_retried_and_deleted(client: httpx.Client, queue: str):
    client.post("/tasks/batch", json=[{"kind": "Baz", "queue": queue}] * 250)
    kept = put(client, kind="Foo", queue=queue)
    mine = (f"queue:{queue}", "kind:Baz")
    found = steps(client, "cancel", *mine, limit=100)
    assert total(found) == (250, 250)
    assert len(found) == 3
    assert get(client, kept)["status"] == "Pending"
    assert total(steps(client, "cancel", *mine)) == (0, 0)
    assert total(steps(client, "retry", *mine, "status:Failed")) == (0, 0)
    assert total(steps(client, "retry", *mine)) == (250, 250)
    assert {each["status"] for each in listed(client, *mine, limit=1000)} == {"Pending"}
    assert total(steps(client, "delete", f"queue:{queue}", limit=99)) == (251, 251)
    assert listed(client, f"queue:{queue}") == []


def test_what_runs_is_deleted_by_force_alone(client: httpx.Client):
    task_id = put(client, kind="Gate")
    until(client, task_id, "InProgress")
    steps(client, "delete", "kind:Gate")
    assert get(client, task_id)["status"] == "InProgress"
    assert total(steps(client, "delete", "kind:Gate", force="true"))[1] == 1
    problem(client.get(f"/tasks/{task_id}"), 404)


@pytest.mark.parametrize("verb", VERBS)
def test_everything_must_be_asked_for(client: httpx.Client, queue: str, verb: str):
    assert "all=true" in fault(client.post(f"/tasks/{verb}"), "filter")
    fault(client.post(f"/tasks/{verb}?all=false"), "filter")
    fault(client.post(f"/tasks/{verb}?filter=color:red"), "filter")
    fault(client.post(f"/tasks/{verb}?filter=kind:Foo&limit=0"), "limit")
    fault(client.post(f"/tasks/{verb}?filter=kind:Foo&cursor=x"), "cursor")
    fault(client.post(f"/tasks/{verb}?filter=kind:Foo&color=red"), "color")
    unknown = problem(client.post(f"/tasks/{verb}?filter=kind:Nobody"), 400)
    assert "Baz" in unknown["known_kinds"]
    mine = f"filter=queue:{queue}"
    assert client.post(f"/tasks/{verb}?{mine}&filter=queue:other").json()["looked_at"] == 0
    assert client.post(f"/tasks/{verb}?{mine}&all=true").json()["looked_at"] == 0


@pytest.mark.parametrize(
    ("verb", "status"),
    [("cancel", "Completed"), ("retry", "Pending"), ("delete", "InProgress")],
)
def test_a_status_that_forbids_it_is_refused(client: httpx.Client, verb: str, status: str):
    answer = client.post(f"/tasks/{verb}?filter=status:{status}")
    assert status in problem(answer, 409)["detail"]
