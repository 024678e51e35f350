"""``on_conflict`` beside ``unique_key``: what becomes of the earlier task, and what is answered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.integration.http.answers import fault, get, listed, problem, put, stored, until

if TYPE_CHECKING:
    import httpx

FAR = "2093-05-06T07:08:09Z"
FARTHER = "2094-05-06T07:08:09Z"


@pytest.fixture
def key() -> str:
    """Name a key that no other test uses."""
    return uuid4().hex


def held(answer: httpx.Response) -> str:
    """Check that ``answer`` says that an earlier task holds the key; return its id."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert answer.headers["location"] == f"/tasks/{body['id']}"
    assert body == {"id": body["id"], "created": False}
    return body["id"]


def test_keep_leaves_the_earlier_task_as_it_is(client: httpx.Client, queue: str, key: str):
    task = {"kind": "Baz", "queue": queue, "unique_key": key, "on_conflict": "keep"}
    first = stored(client.put("/tasks", json={**task, "payload": 1}))
    assert held(client.put("/tasks", json={**task, "payload": 2})) == first
    assert held(client.post("/tasks", json={**task, "payload": 3})) == first
    assert get(client, first)["payload"] == 1


def test_without_it_the_answer_is_as_ever(client: httpx.Client, queue: str, key: str):
    task = {"kind": "Baz", "queue": queue, "unique_key": key}
    assert put(client, **task) == put(client, **task)


def test_replace_makes_the_earlier_task_the_new_one(client: httpx.Client, queue: str, key: str):
    task = {"kind": "Baz", "queue": queue, "unique_key": key, "on_conflict": "replace"}
    first = stored(client.put("/tasks", json={**task, "payload": 1, "execute_at": FAR}))
    later = {"payload": {"a": 2}, "execute_at": FARTHER, "priority": 1, "tags": ["t"]}
    assert held(client.put("/tasks", json=task | later)) == first
    found = get(client, first)
    assert {name: found[name] for name in later} == later
    assert found["process_at"] == FARTHER
    assert [each["id"] for each in listed(client, f"queue:{queue}")] == [first]
    tag = get(client, first)
    client.put("/tasks", json=task | {"execute_at": FARTHER})
    assert get(client, first)["tags"] == []
    assert tag["tags"] == ["t"]


def test_what_has_begun_or_ended_is_not_replaced(client: httpx.Client, key: str):
    task = {"kind": "Baz", "unique_key": key, "on_conflict": "replace"}
    first = stored(client.put("/tasks", json=task))
    until(client, first, "Completed")
    second = stored(client.put("/tasks", json=task))
    assert second != first
    assert until(client, second, "Completed")["unique_key"] == key


def test_debounce_puts_off_until_max_delay_after_the_first(
    client: httpx.Client, queue: str, key: str
):
    task: dict[str, Any] = {
        "kind": "Baz",
        "queue": queue,
        "unique_key": key,
        "on_conflict": "debounce",
        "max_delay_s": 3600,
    }
    now = datetime.now(UTC)

    def after(minutes: float) -> str:
        return (now + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")

    first = stored(client.put("/tasks", json={**task, "execute_at": after(10)}))
    assert held(client.put("/tasks", json={**task, "execute_at": after(30)})) == first
    assert get(client, first)["process_at"] == after(30)
    assert held(client.put("/tasks", json={**task, "execute_at": after(600)})) == first
    found = get(client, first)
    created = datetime.fromisoformat(found["created_at"])
    assert datetime.fromisoformat(found["process_at"]) == created + timedelta(hours=1)


def test_a_batch_tells_which_were_new(client: httpx.Client, queue: str, key: str):
    task = {"kind": "Baz", "queue": queue, "execute_at": FAR}
    first = put(client, **task, unique_key=key)
    batch = [
        task,
        {**task, "unique_key": key, "on_conflict": "replace", "payload": 2},
        {**task, "unique_key": f"{key}-other", "on_conflict": "debounce"},
    ]
    answer = client.post("/tasks/batch", json=batch)
    assert answer.status_code == 201
    body = answer.json()
    assert (body["ids"][1], body["created"]) == (first, [True, False, True])
    assert get(client, first)["payload"] == 2
    assert list(client.post("/tasks/batch", json=[task]).json()) == ["ids"]


def test_a_repeated_request_is_answered_as_the_first_time(
    client: httpx.Client, queue: str, key: str
):
    task = {"kind": "Baz", "queue": queue, "unique_key": key, "on_conflict": "replace"}
    task |= {"execute_at": FAR}
    for name, payload, status in (("a", 1, 201), ("b", 2, 200)):
        headers = {"Idempotency-Key": f"{key}-{name}"}
        answers = [
            client.put("/tasks", json={**task, "payload": payload}, headers=headers)
            for _ in range(2)
        ]
        assert [each.status_code for each in answers] == [status, status]
        assert answers[0].content == answers[1].content
    changed = client.put("/tasks", json=task, headers={"Idempotency-Key": f"{key}-a"})
    problem(changed, 409)


@pytest.mark.parametrize("way", ["keep", "replace", "debounce"])
def test_of_many_at_once_one_is_new(client: httpx.Client, queue: str, key: str, way: str):
    task = {"kind": "Baz", "queue": queue, "unique_key": key, "execute_at": FAR}

    def ask(number: int) -> httpx.Response:
        return client.put("/tasks", json={**task, "on_conflict": way, "payload": number})

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(ask, range(24)))
    assert sorted(each.status_code for each in answers) == [200] * 23 + [201]
    assert len({each.json()["id"] for each in answers}) == 1
    assert len(listed(client, f"queue:{queue}")) == 1


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"on_conflict": "keep"}, "$.on_conflict"),
        ({"on_conflict": "replace"}, "$.on_conflict"),
        ({"on_conflict": "Replace", "unique_key": "k"}, "$.on_conflict"),
        ({"on_conflict": 1, "unique_key": "k"}, "$.on_conflict"),
        ({"unique_key": "k", "max_delay_s": 1}, "$.max_delay_s"),
        ({"unique_key": "k", "on_conflict": "replace", "max_delay_s": 1}, "$.max_delay_s"),
        ({"unique_key": "k", "on_conflict": "debounce", "max_delay_s": 0}, "$.max_delay_s"),
        ({"unique_key": "k", "on_conflict": "debounce", "max_delay_s": -1}, "$.max_delay_s"),
        ({"unique_key": "k", "on_conflict": "debounce", "max_delay_s": "1"}, "$.max_delay_s"),
        ({"unique_key": "k", "on_conflict": "debounce", "max_delay_s": 4e7}, "$.max_delay_s"),
    ],
)
def test_what_makes_no_sense_is_refused(client: httpx.Client, fields: dict[str, Any], path: str):
    fault(client.put("/tasks", json={"kind": "Baz", **fields}), path)
    fault(client.post("/tasks/batch", json=[{"kind": "Baz", **fields}]), path.replace("$", "$[0]"))
