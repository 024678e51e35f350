"""What every answer of the service must keep to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from tests.integration.processes import eventually

if TYPE_CHECKING:
    import httpx

UTC_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
LEAK: Final = re.compile(r"Traceback|File \"|\.py\b|psycopg|SELECT |INSERT |postgres(ql)?://")
STATUSES: Final = ("Pending", "InProgress", "Completed", "Failed", "Cancelled")


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check that ``answer`` reports a problem as RFC 9457 has it; return its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert LEAK.search(answer.text) is None, answer.text
    body = answer.json()
    assert body["status"] == status
    assert all(isinstance(body[name], str) for name in ("type", "title", "detail"))
    return body


def fault(answer: httpx.Response, path: str) -> str:
    """Check that ``answer`` is a 400 for the field at ``path``; return what it says."""
    body = problem(answer, 400)
    assert [each["path"] for each in body["errors"]] == [path], answer.text
    return body["detail"]


def stored(answer: httpx.Response) -> str:
    """Check that ``answer`` says that a task was stored; return its id."""
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert list(body) == ["id"]
    assert answer.headers["location"] == f"/tasks/{body['id']}"
    assert str(UUID(body["id"])) == body["id"]
    return body["id"]


def put(client: httpx.Client, **task: Any) -> str:
    """Store a task; return its id."""
    return stored(client.put("/tasks", json=task))


def get(client: httpx.Client, task_id: str) -> dict[str, Any]:
    """Return a task, after looking at what every task must have."""
    answer = client.get(f"/tasks/{task_id}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    task = answer.json()
    assert task["id"] == task_id
    assert task["status"] in STATUSES
    for name in ("execute_at", "process_at", "created_at"):
        assert UTC_TIME.fullmatch(task[name]), task[name]
    return task


def until(client: httpx.Client, task_id: str, status: str) -> dict[str, Any]:
    """Wait for a task to come to ``status``; return it."""
    eventually(lambda: get(client, task_id)["status"] == status, f"{task_id} {status}")
    return get(client, task_id)


def listed(client: httpx.Client, *filters: str, **more: Any) -> list[dict[str, Any]]:
    """Return one page of tasks."""
    answer = client.get("/tasks", params={"filter": list(filters), **more})
    assert answer.status_code == 200, answer.text
    return answer.json()
