"""PATCH of a task that waits, and the ETags that guard it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.integration.http.answers import fault, get, problem, put, until

if TYPE_CHECKING:
    import httpx

FAR = "2093-05-06T07:08:09.123456Z"
OTHER = "2094-05-06T07:08:09.123456Z"


def tag(client: httpx.Client, task_id: str) -> str:
    """Return the task's ETag, which is a strong one."""
    found = client.get(f"/tasks/{task_id}").headers["etag"]
    assert found.startswith('"')
    assert found.endswith('"')
    return found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"execute_at": OTHER}, {"execute_at": OTHER, "process_at": OTHER}),
        ({"execute_at": "2094-05-06T09:08:09.123456+02:00"}, {"process_at": OTHER}),
        ({"payload": {"b": [1, None]}}, {"payload": {"b": [1, None]}}),
        ({"payload": None}, {"payload": None}),
        ({"priority": 0}, {"priority": 0}),
        ({"group": "customer-7"}, {"group": "customer-7"}),
        ({"group": None, "priority": 1}, {"group": None, "priority": 1}),
        (
            {"execute_at": OTHER, "payload": 7, "priority": 9},
            {"process_at": OTHER, "payload": 7, "priority": 9},
        ),
    ],
)
def test_changes_what_is_given_and_nothing_else(
    client: httpx.Client, change: dict[str, Any], expected: dict[str, Any]
):
    task_id = put(client, kind="Baz", execute_at=FAR, payload={"a": 1}, unique_key=uuid4().hex)
    before = get(client, task_id)
    answer = client.patch(f"/tasks/{task_id}", json=change)
    assert answer.status_code == 200, answer.text
    after = answer.json()
    assert after == get(client, task_id)
    assert answer.headers["etag"] == tag(client, task_id)
    assert expected.items() <= after.items()
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= set(change) | {"process_at"}
    assert ("process_at" in changed) == ("execute_at" in change)


def test_a_time_in_the_past_means_now(client: httpx.Client):
    task_id = put(client, kind="Baz", execute_at=FAR)
    assert client.patch(f"/tasks/{task_id}", json={"execute_at": "2001-02-03T04:05:06Z"}).is_success
    task = until(client, task_id, "Completed")
    assert task["execute_at"] == "2001-02-03T04:05:06Z"
    assert task["process_at"] >= task["created_at"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$"),
        ({"kind": "Foo"}, "$.kind"),
        ({"queue": "other"}, "$.queue"),
        ({"status": "Completed"}, "$.status"),
        ({"id": str(uuid4())}, "$.id"),
        ({"priority": 10}, "$.priority"),
        ({"priority": -1}, "$.priority"),
        ({"priority": None}, "$.priority"),
        ({"priority": "1"}, "$.priority"),
        ({"execute_at": None}, "$.execute_at"),
        ({"execute_at": "2024-03-30T23:17:10"}, "$.execute_at"),
        ({"execute_at": "soon"}, "$.execute_at"),
        ([], "$"),
        ("x", "$"),
        (None, "$"),
    ],
)
def test_what_makes_no_sense_is_refused(client: httpx.Client, body: Any, path: str):
    task_id = put(client, kind="Baz", execute_at=FAR)
    before = get(client, task_id)
    fault(client.patch(f"/tasks/{task_id}", json=body), path)
    fault(client.patch(f"/tasks/{task_id}", content=b"{"), "$")
    assert get(client, task_id) == before
    fault(client.patch("/tasks/nothing", json={"priority": 1}), "id")


def test_too_large_a_payload_is_refused(client: httpx.Client):
    task_id = put(client, kind="Baz", execute_at=FAR)
    problem(client.patch(f"/tasks/{task_id}", json={"payload": "x" * 2**20}), 413)


def test_an_unknown_task_is_not_found(client: httpx.Client):
    unknown = uuid4()
    for headers in ({}, {"If-Match": "*"}, {"If-Match": '"x"'}):
        answer = client.patch(f"/tasks/{unknown}", json={"priority": 1}, headers=headers)
        assert str(unknown) in problem(answer, 404)["detail"]


@pytest.mark.parametrize("status", ["InProgress", "Completed", "Failed", "Cancelled"])
def test_a_task_that_does_not_wait_cannot_be_changed(client: httpx.Client, status: str):
    match status:
        case "InProgress":
            task_id = put(client, kind="Gate")
        case "Completed":
            task_id = put(client, kind="Baz")
        case "Failed":
            task_id = put(client, kind="Raise", max_attempts=1)
        case _:
            task_id = put(client, kind="Baz", execute_at=FAR)
            client.post(f"/tasks/{task_id}/cancel")
    until(client, task_id, status)
    for headers in ({}, {"If-Match": "*"}, {"If-Match": tag(client, task_id)}):
        answer = client.patch(f"/tasks/{task_id}", json={"priority": 1}, headers=headers)
        assert status in problem(answer, 409)["detail"]
    assert client.delete(f"/tasks/{task_id}?force=true").status_code == 204


def test_only_the_task_that_was_seen_is_changed(client: httpx.Client):
    task_id = put(client, kind="Baz", execute_at=FAR)
    seen = tag(client, task_id)
    assert tag(client, task_id) == seen

    def patch(tags: str, priority: int) -> httpx.Response:
        return client.patch(
            f"/tasks/{task_id}", json={"priority": priority}, headers={"If-Match": tags}
        )

    for stale in ('"other"', f"W/{seen}", seen.strip('"'), "", f'"a", W/{seen}'):
        assert task_id in problem(patch(stale, 1), 412)["detail"]
    assert get(client, task_id)["priority"] == 5
    answer = patch(seen, 1)
    assert answer.status_code == 200
    assert answer.headers["etag"] != seen
    problem(patch(seen, 2), 412)
    assert patch(f'"other", {answer.headers["etag"]}', 2).status_code == 200
    assert patch("*", 3).status_code == 200
    assert get(client, task_id)["priority"] == 3


def test_a_tag_changes_with_all_that_is_shown(client: httpx.Client):
    task_id = put(client, kind="Gate", execute_at=FAR)
    tags = [tag(client, task_id)]
    changes = ({"priority": 3}, {"payload": 1}, {"execute_at": OTHER})
    tags += [client.patch(f"/tasks/{task_id}", json=each).headers["etag"] for each in changes]
    tags.append(client.post(f"/tasks/{task_id}/cancel").headers["etag"])
    tags.append(client.post(f"/tasks/{task_id}/retry?at=now").headers["etag"])
    until(client, task_id, "InProgress")
    tags.append(tag(client, task_id))
    tags.append(client.post(f"/tasks/{task_id}/cancel").headers["etag"])
    assert len(set(tags)) == len(tags)
    assert tags[-1] == tag(client, task_id)


def test_of_many_who_saw_the_same_one_changes_it(client: httpx.Client):
    task_id = put(client, kind="Baz", execute_at=FAR)
    headers = {"If-Match": tag(client, task_id)}

    def patch(number: int) -> httpx.Response:
        return client.patch(f"/tasks/{task_id}", json={"payload": number}, headers=headers)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(patch, range(16)))
    (won,) = [each for each in answers if each.status_code == 200]
    for each in answers:
        if each is not won:
            problem(each, 412)
    assert get(client, task_id) == won.json()
