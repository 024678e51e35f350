"""DELETE, and POST /cancel, /retry, /run: what may be done to a task in which status."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.integration.http.answers import fault, get, listed, problem, put, until

if TYPE_CHECKING:
    import httpx

    from tests.integration.processes import Programs

FAR = "2093-05-06T07:08:09.123456Z"
VERBS = ("cancel", "retry", "run")
ALLOWED = {
    "Pending": {"cancel", "run"},
    "InProgress": {"cancel"},
    "Completed": set[str](),
    "Failed": {"retry"},
    "Cancelled": {"retry"},
}


def in_status(client: httpx.Client, status: str) -> str:
    """Return a task that is in ``status`` and stays there."""
    match status:
        case "Pending":
            return put(client, kind="Baz", execute_at=FAR)
        case "InProgress":
            task_id = put(client, kind="Gate")
        case "Completed":
            task_id = put(client, kind="Baz")
        case "Failed":
            task_id = put(client, kind="Raise", max_attempts=1)
        case _:
            task_id = put(client, kind="Baz", execute_at=FAR)
            assert client.post(f"/tasks/{task_id}/cancel").status_code == 200
    until(client, task_id, status)
    return task_id


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", ALLOWED)
def test_each_verb_is_allowed_where_it_makes_sense(client: httpx.Client, status: str, verb: str):
    task_id = in_status(client, status)
    answer = client.post(f"/tasks/{task_id}/{verb}")
    if verb in ALLOWED[status]:
        assert answer.status_code == 200, answer.text
        assert answer.json()["id"] == task_id
        assert answer.json().keys() == get(client, task_id).keys()
    else:
        assert status in problem(answer, 409)["detail"]
        assert get(client, task_id)["status"] == status
    assert client.delete(f"/tasks/{task_id}?force=true").status_code == 204


@pytest.mark.parametrize("status", ALLOWED)
def test_a_task_is_deleted_unless_it_runs(client: httpx.Client, status: str):
    task_id = in_status(client, status)
    answer = client.delete(f"/tasks/{task_id}")
    if status == "InProgress":
        problem(answer, 409)
        problem(client.delete(f"/tasks/{task_id}?force=false"), 409)
        assert get(client, task_id)["status"] == "InProgress"
        answer = client.delete(f"/tasks/{task_id}?force=true")
    assert (answer.status_code, answer.content) == (204, b"")
    problem(client.get(f"/tasks/{task_id}"), 404)
    problem(client.delete(f"/tasks/{task_id}"), 404)
    problem(client.delete(f"/tasks/{task_id}?force=true"), 404)


def test_what_is_deleted_is_not_listed(client: httpx.Client, queue: str):
    kept, gone = (put(client, kind="Baz", queue=queue) for _ in range(2))
    client.delete(f"/tasks/{gone}")
    assert [task["id"] for task in listed(client, f"queue:{queue}")] == [kept]


@pytest.mark.parametrize("verb", VERBS)
def test_a_task_that_is_not_there_cannot_be_changed(client: httpx.Client, verb: str):
    problem(client.post(f"/tasks/{uuid4()}/{verb}"), 404)


def test_a_cancelled_task_does_not_run(client: httpx.Client, programs: Programs):
    soon = datetime.now(UTC) + timedelta(seconds=0.5)
    gone, kept = (put(client, kind="Quick", execute_at=soon.isoformat()) for _ in range(2))
    cancelled: dict[str, Any] = client.post(f"/tasks/{gone}/cancel").json()
    assert (cancelled["status"], cancelled["attempt"]) == ("Cancelled", 0)
    assert cancelled["finished_at"] is not None
    until(client, kept, "Completed")
    printed = (programs.folder / "1-worker.out").read_text()
    assert f"Quick {kept}" in printed
    assert gone not in printed


def test_cancelling_stops_the_running_handler(client: httpx.Client):
    """Its slot is free again: as many as the worker has slots are cancelled, and one more runs."""
    ids = [put(client, kind="Gate") for _ in range(50)]
    for task_id in ids:
        until(client, task_id, "InProgress")
    for task_id in ids:
        assert client.post(f"/tasks/{task_id}/cancel").json()["status"] == "Cancelled"
    until(client, put(client, kind="Baz"), "Completed")
    for task_id in ids:
        task = get(client, task_id)
        assert (task["status"], len(task["attempts"])) == ("Cancelled", 1)


def test_retrying_runs_a_failed_task_once_more(client: httpx.Client):
    task_id = in_status(client, "Failed")
    assert client.post(f"/tasks/{task_id}/retry").json()["status"] == "Pending"
    task = until(client, task_id, "Failed")
    assert [each["number"] for each in task["attempts"]] == [1, 2]


def test_retrying_runs_a_cancelled_task(client: httpx.Client):
    task_id = in_status(client, "Cancelled")
    for wrong in ("", "soon", "2030-01-01T00:00:00", "0001-01-01T00:00:00Z"):
        fault(client.post(f"/tasks/{task_id}/retry", params={"at": wrong}), "at")
    fault(client.post(f"/tasks/{task_id}/retry?when=now"), "when")
    assert client.post(f"/tasks/{task_id}/retry?at=now").status_code == 200
    assert until(client, task_id, "Completed")["attempt"] == 1


def test_retrying_brings_a_cancelled_task_back_to_its_time(client: httpx.Client):
    """However often; the answer says when that is."""
    task_id = put(client, kind="Baz", execute_at=FAR)
    for _ in range(2):
        client.post(f"/tasks/{task_id}/cancel")
        retried = client.post(f"/tasks/{task_id}/retry").json()
        assert (retried["status"], retried["process_at"]) == ("Pending", FAR)
    client.post(f"/tasks/{task_id}/cancel")
    at = "2124-03-30T23:17:10.7901461Z"
    retried = client.post(f"/tasks/{task_id}/retry", params={"at": at}).json()
    assert retried["execute_at"] == retried["process_at"] == "2124-03-30T23:17:10.790147Z"


def test_errors_name_what_was_done(client: httpx.Client):
    """Not what the table of transitions calls it."""
    task_id = in_status(client, "Completed")
    for verb in ("retry", "run", "cancel"):
        said = problem(client.post(f"/tasks/{task_id}/{verb}"), 409)
        assert said["detail"] == f"cannot {verb} a task that is Completed"
    said = problem(client.patch(f"/tasks/{task_id}", json={"priority": 1}), 409)
    assert said["detail"] == "cannot change a task that is Completed"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/why"),
        ("DELETE", ""),
        ("PATCH", ""),
        ("POST", "/cancel"),
        ("POST", "/run"),
        ("POST", "/retry"),
    ],
)
def test_a_parameter_that_is_not_known_is_refused(client: httpx.Client, method: str, path: str):
    """What it was meant to do would not happen."""
    task_id = put(client, kind="Baz", execute_at=FAR)
    body = {"priority": 1} if method == "PATCH" else None
    fault(client.request(method, f"/tasks/{task_id}{path}?frce=true", json=body), "frce")
    fault(client.put("/tasks?kind=Baz", json={"kind": "Baz"}), "kind")
    assert get(client, task_id)["status"] == "Pending"


def test_running_now_does_not_wait_for_the_time(client: httpx.Client):
    task_id = in_status(client, "Pending")
    changed = client.post(f"/tasks/{task_id}/run").json()
    assert changed["process_at"] < FAR
    task = until(client, task_id, "Completed")
    assert task["execute_at"] == FAR
