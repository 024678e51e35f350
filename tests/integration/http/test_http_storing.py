"""PUT and POST /tasks, POST /tasks/batch: what was acknowledged is there, just as it was sent."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from tests.integration.http.answers import fault, get, listed, problem, put, stored, until

if TYPE_CHECKING:
    import httpx

FAR = "2093-05-06T07:08:09.123456Z"


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_answers_with_the_id_alone_and_the_place(client: httpx.Client, method: str):
    body = '{"kind": "Baz", "execute_at": "2024-03-30T23:17:10.790146Z"}'
    answer = client.request(method, "/tasks", content=body)
    task_id = stored(answer)
    assert UUID(task_id).version == 7
    assert answer.headers["content-type"] == "application/json"
    assert get(client, answer.headers["location"].rpartition("/")[2])["id"] == task_id


def test_a_time_in_the_past_means_now(client: httpx.Client):
    task_id = put(client, kind="Baz", execute_at="2024-03-30T23:17:10.790146Z")
    task = until(client, task_id, "Completed")
    assert task["execute_at"] == "2024-03-30T23:17:10.790146Z"
    assert task["process_at"] == task["created_at"]


def test_a_time_left_out_means_now(client: httpx.Client):
    before = datetime.now(UTC) - timedelta(seconds=5)
    task = until(client, put(client, kind="Baz"), "Completed")
    assert before < datetime.fromisoformat(task["execute_at"]) < before + timedelta(seconds=60)
    assert task["attempt"] == 1
    assert task["started_at"] < task["finished_at"]


def test_a_time_to_come_is_kept_to_the_microsecond(client: httpx.Client):
    task = get(client, put(client, kind="Baz", execute_at=FAR))
    assert (task["execute_at"], task["process_at"], task["status"]) == (FAR, FAR, "Pending")


def test_another_offset_is_the_same_moment(client: httpx.Client):
    task_id = put(client, kind="Baz", execute_at="2093-05-06T09:38:09.123456+02:30")
    assert get(client, task_id)["execute_at"] == FAR


def test_a_group_is_kept_and_found(client: httpx.Client):
    name = f"Zoë: {uuid4()}"
    first = put(client, kind="Baz", execute_at=FAR, group=name)
    batch = [{"kind": "Baz", "execute_at": FAR, "group": name}, {"kind": "Baz", "execute_at": FAR}]
    answer = client.post("/tasks/batch", json=batch)
    second = answer.json()["ids"][0]
    assert [get(client, each)["group"] for each in answer.json()["ids"]] == [name, None]
    found = client.get("/tasks", params={"filter": [f"group:{name}", f"group:{uuid4()}"]}).json()
    assert [(task["id"], task["group"]) for task in found] == [(second, name), (first, name)]


@pytest.mark.parametrize("group", ["", "x" * 257, "a\nb", "\u0000", 7, ["a"]])
def test_what_is_no_group(client: httpx.Client, group: Any):
    fault(client.put("/tasks", json={"kind": "Baz", "group": group}), "$.group")


def test_waits_for_its_time(client: httpx.Client):
    due = datetime.now(UTC) + timedelta(seconds=1)
    task = until(client, put(client, kind="Baz", execute_at=due.isoformat()), "Completed")
    late = datetime.fromisoformat(task["started_at"]) - due
    assert timedelta(0) <= late < timedelta(seconds=1)


def test_every_optional_field_is_kept(client: httpx.Client, queue: str):
    sent: dict[str, Any] = {
        "id": str(uuid4()),
        "kind": "Baz",
        "execute_at": FAR,
        "payload": {"a": [1, 2.5, None, True, "\0 \N{SNOWMAN} \N{GRINNING FACE}"]},
        "queue": queue,
        "priority": 0,
        "max_attempts": 7,
        "timeout_s": 2.5,
        "unique_key": "the key \N{SNOWMAN}",
    }
    task = get(client, put(client, **sent))
    assert {name: task[name] for name in sent} == sent
    assert (task["status"], task["attempt"], task["attempts"]) == ("Pending", 0, [])
    assert (task["started_at"], task["finished_at"]) == (None, None)


def test_fields_left_out_have_their_defaults(client: httpx.Client):
    task = get(client, put(client, kind="Baz", execute_at=FAR))
    assert (task["queue"], task["priority"], task["payload"]) == ("default", 5, None)
    assert (task["unique_key"], task["timeout_s"]) == (None, None)


@pytest.mark.parametrize(
    "payload",
    [
        "18446744073709551615",
        "-9223372036854775808",
        "123456789012345678901234567890",
        "0.1",
        "1e300",
        '"\\u0000\\ud83d\\ude00"',
        "[" * 200 + "]" * 200,
        '{"":{"":[]}}',
    ],
)
def test_payloads_come_back_as_they_were(client: httpx.Client, queue: str, payload: str):
    body = f'{{"kind": "Baz", "queue": "{queue}", "payload": {payload}}}'
    task_id = stored(client.put("/tasks", content=body))
    (task,) = listed(client, f"queue:{queue}")
    assert task["id"] == task_id
    assert task["payload"] == json.loads(payload)


def test_the_same_again_is_the_same_task(client: httpx.Client, queue: str):
    task = {"kind": "Baz", "queue": queue, "id": str(uuid4()), "payload": {"b": 1, "a": 2}}
    assert put(client, **task) == put(client, **task) == task["id"]
    assert len(listed(client, f"queue:{queue}")) == 1


@pytest.mark.parametrize(
    "other",
    [{"kind": "Foo"}, {"payload": 2}, {"queue": "elsewhere"}, {"execute_at": FAR}],
    ids=lambda other: next(iter(other)),
)
def test_an_id_that_is_taken_by_another_task_is_refused(
    client: httpx.Client, queue: str, other: dict[str, Any]
):
    task: dict[str, Any] = {
        "kind": "Baz",
        "queue": queue,
        "id": str(uuid4()),
        "execute_at": "2093-01-01T00:00:00Z",
        "payload": 1,
    }
    put(client, **task)
    problem(client.put("/tasks", json=task | other), 409)
    (kept,) = listed(client, f"queue:{queue}")
    assert (kept["kind"], kept["payload"]) == ("Baz", 1)


def test_an_id_of_another_day_is_refused(client: httpx.Client, queue: str):
    """One without a time is kept, and is in nobody's way: it comes last in every list."""
    strange = "ffffffff-ffff-4fff-bfff-ffffffffffff"
    made = put(client, kind="Baz", queue=queue, execute_at=FAR)
    put(client, kind="Baz", queue=queue, execute_at=FAR, id=strange)
    assert [task["id"] for task in listed(client, f"queue:{queue}")] == [made, strange]
    ahead = UUID(int=UUID(made).int + (3 * 86_400_000 << 80))
    task = {"kind": "Baz", "queue": queue, "id": str(ahead)}
    assert "id" in str(problem(client.put("/tasks", json=task), 400))
    batch = [{"kind": "Baz", "queue": queue}, task]
    assert "[1]" in str(problem(client.post("/tasks/batch", json=batch), 400))
    assert len(listed(client, f"queue:{queue}")) == 2
    client.delete(f"/tasks/{strange}")


def test_the_same_again_after_it_has_run(client: httpx.Client):
    task = {"kind": "Baz", "id": str(uuid4())}
    until(client, put(client, **task), "Completed")
    assert put(client, **task) == task["id"]
    assert len(get(client, task["id"])["attempts"]) == 1


def test_a_unique_key_answers_with_the_task_that_holds_it(client: httpx.Client, queue: str):
    first = put(client, kind="Baz", queue=queue, unique_key=queue)
    assert put(client, kind="Baz", queue=queue, unique_key=queue, payload="other") == first
    assert put(client, kind="Foo", queue=queue, unique_key=queue) != first
    assert put(client, kind="Baz", queue=queue, unique_key=queue + "2") != first
    assert len(listed(client, f"queue:{queue}")) == 3


def test_one_of_many_at_once_takes_a_unique_key(client: httpx.Client, queue: str):
    def one(_: int) -> str:
        return put(client, kind="Baz", queue=queue, unique_key=queue)

    with ThreadPoolExecutor(16) as threads:
        ids = set(threads.map(one, range(64)))
    assert [task["id"] for task in listed(client, f"queue:{queue}")] == list(ids)


def test_a_batch_of_ten_thousand(client: httpx.Client, queue: str):
    tasks = [{"kind": "Baz", "queue": queue, "payload": n} for n in range(10_000)]
    answer = client.post("/tasks/batch", json=tasks)
    assert answer.status_code == 201
    assert list(answer.json()) == ["ids"]
    ids: list[str] = answer.json()["ids"]
    assert len(set(ids)) == 10_000
    assert get(client, ids[0])["payload"] == 0
    assert get(client, ids[9_999])["payload"] == 9_999
    assert [task["payload"] for task in listed(client, f"queue:{queue}", limit=3)] == [
        9_999,
        9_998,
        9_997,
    ]


def test_one_more_than_ten_thousand_is_too_many(client: httpx.Client, queue: str):
    tasks = [{"kind": "Baz", "queue": queue}] * 10_001
    assert "10000" in fault(client.post("/tasks/batch", json=tasks), "$")
    assert listed(client, f"queue:{queue}") == []


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        ({"kind": "Nope"}, "$[2].kind"),
        ({}, "$[2].kind"),
        ({"kind": "Baz", "priority": 10}, "$[2].priority"),
        ({"kind": "Baz", "unique_key": "\0"}, "$[2].unique_key"),
        ({"kind": "Baz", "color": 1}, "$[2].color"),
        ({"kind": "Baz", "execute_at": "2024-03-30T23:17:10"}, "$[2].execute_at"),
        ({"kind": "Baz", "execute_at": "9999-01-01T00:00:00Z"}, "$[2].execute_at"),
        (7, "$[2]"),
    ],
)
def test_one_bad_task_spoils_the_batch(client: httpx.Client, queue: str, bad: Any, path: str):
    good = {"kind": "Baz", "queue": queue}
    fault(client.post("/tasks/batch", json=[good, good, bad, good]), path)
    assert listed(client, f"queue:{queue}") == []


def test_a_taken_id_spoils_the_batch(client: httpx.Client, queue: str):
    taken = put(client, kind="Baz", queue=queue, payload=1)
    tasks = [{"kind": "Baz", "queue": queue}, {"kind": "Baz", "queue": queue, "id": taken}]
    problem(client.post("/tasks/batch", json=tasks), 409)
    assert len(listed(client, f"queue:{queue}")) == 1


def test_a_batch_may_repeat_itself(client: httpx.Client, queue: str):
    one = {"kind": "Baz", "queue": queue, "id": str(uuid4())}
    keyed = {"kind": "Baz", "queue": queue, "unique_key": queue}
    answer = client.post("/tasks/batch", json=[one, keyed, one, keyed])
    first, second, third, fourth = answer.json()["ids"]
    assert (first, second) == (third, fourth)
    assert client.post("/tasks/batch", json=[one, keyed]).json()["ids"] == [first, second]
    assert len(listed(client, f"queue:{queue}")) == 2


@pytest.mark.parametrize("body", ["[]", "{}", "null", "[[]]"])
def test_what_is_no_batch_is_refused(client: httpx.Client, body: str):
    problem(client.post("/tasks/batch", content=body), 400)
