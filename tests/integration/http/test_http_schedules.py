"""/schedules: what is stored again and again, and the verbs on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.integration.http.answers import UTC_TIME, fault, get, problem, stored, until
from tests.integration.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.integration.processes import Programs

FIELDS = {
    "name", "kind", "queue", "priority", "payload", "cron", "every_s", "time_zone", "starts_at",
    "ends_at", "catch_up", "overlap", "max_attempts", "timeout_s", "paused", "paused_at",
    "next_fire_at", "last_fire_at", "last_task_id", "created_at", "changed_at",
}  # fmt: skip
NIGHTLY = {"kind": "Baz", "cron": "30 2 * * *", "time_zone": "Europe/Berlin"}


def seen(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    """Check that ``answer`` shows a schedule; return it."""
    assert answer.status_code == status, answer.text
    schedule = answer.json()
    assert set(schedule) == FIELDS
    for field in ("created_at", "changed_at"):
        assert UTC_TIME.fullmatch(schedule[field])
    return schedule


@pytest.fixture
def name(client: httpx.Client) -> Iterator[str]:
    """Name a schedule of this test's own, and delete it afterwards."""
    name = f"s-{uuid4().hex[:12]}"
    yield name
    client.delete(f"/schedules/{name}")


def test_a_schedule_is_made_looked_at_and_deleted(client: httpx.Client, name: str, queue: str):
    body = {
        "name": name,
        **NIGHTLY,
        "payload": {"an": ["ü", None, 1.50]},
        "queue": queue,
        "priority": 0,
        "max_attempts": 3,
        "timeout_s": 1.5,
        "starts_at": "2093-05-06T07:08:09.123456+02:00",
        "ends_at": "2094-01-01T00:00:00Z",
        "catch_up": "none",
        "overlap": "skip",
    }
    answer = client.post("/schedules", json=body)
    made = seen(answer, 201)
    assert answer.headers["location"] == f"/schedules/{name}"
    shown = body | {"starts_at": "2093-05-06T05:08:09.123456Z"}
    assert made.items() >= shown.items()
    assert made["next_fire_at"] == "2093-05-07T00:30:00Z"
    assert (made["paused"], made["every_s"], made["last_task_id"]) == (False, None, None)
    assert seen(client.get(f"/schedules/{name}")) == made
    problem(client.post("/schedules", json=body), 409)
    deleted = client.delete(f"/schedules/{name}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for call in ("GET", "DELETE", "PATCH"):
        problem(client.request(call, f"/schedules/{name}", json={"priority": 1}), 404)


def test_putting_it_makes_it_keeps_it_and_changes_it(client: httpx.Client, name: str):
    answer = client.put(f"/schedules/{name}", json=NIGHTLY)
    made = seen(answer, 201)
    assert answer.headers["location"] == f"/schedules/{name}"
    assert (made["queue"], made["priority"], made["payload"]) == ("default", 5, None)
    assert (made["catch_up"], made["overlap"]) == ("latest", "allow")
    assert seen(client.put(f"/schedules/{name}", json=NIGHTLY | {"name": name})) == made
    other = {"kind": "Baz", "every_s": 3600}
    changed = seen(client.put(f"/schedules/{name}", json=other))
    assert (changed["cron"], changed["every_s"], changed["time_zone"]) == (None, 3600.0, "UTC")
    assert changed["created_at"] == made["created_at"]
    fault(client.put(f"/schedules/{name}", json=NIGHTLY | {"name": "other"}), "$.name")


def test_some_fields_are_changed_and_the_rest_is_left(client: httpx.Client, name: str):
    made = seen(client.put(f"/schedules/{name}", json=NIGHTLY | {"max_attempts": 3}), 201)
    changed = seen(client.patch(f"/schedules/{name}", json={"every_s": 60, "payload": None}))
    differing = {field for field in FIELDS if made[field] != changed[field]}
    assert differing == {"cron", "every_s", "next_fire_at", "changed_at"}
    assert changed["every_s"] == 60
    changed = seen(client.patch(f"/schedules/{name}", json={"max_attempts": None}))
    assert changed["max_attempts"] is None
    assert seen(client.patch(f"/schedules/{name}", json={"cron": "@daily"}))["every_s"] is None
    fault(client.patch(f"/schedules/{name}", json={}), "$")
    fault(client.patch(f"/schedules/{name}", json={"name": "other"}), "$.name")
    fault(client.patch(f"/schedules/{name}", json={"cron": None}), "$.cron")


def test_they_are_listed_by_name_a_page_at_a_time(client: httpx.Client, name: str):
    names = [f"{name}.{number}" for number in range(5)]
    for each in reversed(names):
        seen(client.put(f"/schedules/{each}", json=NIGHTLY), 201)
    try:
        found: list[str] = []
        answer = client.get("/schedules", params={"limit": 2})
        while True:
            page = answer.json()
            assert 0 < len(page) <= 2
            found += [each["name"] for each in page]
            if "next" not in answer.links:
                break
            answer = client.get(answer.links["next"]["url"])
        assert found == sorted(found)
        assert [each for each in found if each.startswith(name)] == names
        assert len(found) == len(set(found))
    finally:
        for each in names:
            client.delete(f"/schedules/{each}")


def test_a_paused_schedule_says_so_until_it_is_resumed(client: httpx.Client, name: str):
    made = seen(client.put(f"/schedules/{name}", json=NIGHTLY), 201)
    paused = seen(client.post(f"/schedules/{name}/pause"))
    assert (paused["paused"], paused["next_fire_at"]) == (True, None)
    assert UTC_TIME.fullmatch(paused["paused_at"])
    assert seen(client.post(f"/schedules/{name}/pause")) == paused
    resumed = seen(client.post(f"/schedules/{name}/resume"))
    assert (resumed["paused"], resumed["paused_at"]) == (False, None)
    assert resumed["next_fire_at"] == made["next_fire_at"]


def test_a_trigger_stores_a_task(client: httpx.Client, name: str, queue: str):
    body = NIGHTLY | {"queue": queue, "payload": [7]}
    seen(client.put(f"/schedules/{name}", json=body), 201)
    task = get(client, stored(client.post(f"/schedules/{name}/trigger")))
    assert (task["kind"], task["queue"], task["payload"]) == ("Baz", queue, [7])
    assert task["status"] == "Pending"
    assert task["execute_at"] == task["process_at"] == task["created_at"]


def test_a_preview_shows_what_the_clocks_of_the_zone_show(client: httpx.Client, name: str):
    """In the night in which they are put forward, half past two is left out."""
    body = NIGHTLY | {"starts_at": "2030-03-30T00:00:00Z", "ends_at": "2030-04-01T23:00:00Z"}
    seen(client.put(f"/schedules/{name}", json=body), 201)
    preview = client.get(f"/schedules/{name}/preview").json()
    assert preview == {
        "name": name,
        "time_zone": "Europe/Berlin",
        "fires": [
            {"at": "2030-03-30T01:30:00Z", "local": "2030-03-30T02:30:00+01:00"},
            {"at": "2030-03-31T01:00:00Z", "local": "2030-03-31T03:00:00+02:00"},
            {"at": "2030-04-01T00:30:00Z", "local": "2030-04-01T02:30:00+02:00"},
        ],
    }
    short = client.get(f"/schedules/{name}/preview", params={"n": 1}).json()
    assert short["fires"] == preview["fires"][:1]
    for bad in ({"n": 0}, {"n": 101}, {"n": "x"}, {"count": 1}):
        problem(client.get(f"/schedules/{name}/preview", params=bad), 400)


def test_a_worker_fires_it(client: httpx.Client, name: str):
    seen(client.put(f"/schedules/{name}", json={"kind": "Baz", "every_s": 1}), 201)

    def fired() -> Any:
        return seen(client.get(f"/schedules/{name}"))["last_task_id"]

    task = until(client, eventually(fired, "it fires"), "Completed")
    assert task["unique_key"] == f"{name}@{task['execute_at']}"
    assert task["execute_at"] <= task["started_at"]


def test_what_was_done_is_on_record(client: httpx.Client, name: str, programs: Programs):
    seen(client.put(f"/schedules/{name}", json=NIGHTLY), 201)
    seen(client.post(f"/schedules/{name}/pause"))
    programs.good("schedules", "resume", name)
    told = json.loads(programs.good("audit", "--target", name, "--json"))
    assert [each["action"] for each in told] == ["schedule resumed"], "an open service names nobody"
    shown = client.get("/audit", params={"target": name}).json()
    assert [each["action"] for each in shown] == ["schedule resumed"]


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        ({"cron": "61 * * * *"}, "$.cron"),
        ({"cron": "* * * *"}, "$.cron"),
        ({"cron": ""}, "$.cron"),
        ({"cron": None}, "$.cron"),
        ({"cron": 5}, "$.cron"),
        ({"every_s": 60}, "$.cron"),
        ({"time_zone": "Mars/Olympus"}, "$.time_zone"),
        ({"time_zone": "../../etc/passwd"}, "$.time_zone"),
        ({"starts_at": "2093-05-06T07:08:09"}, "$.starts_at"),
        ({"ends_at": "tomorrow"}, "$.ends_at"),
        ({"starts_at": "2093-01-02T00:00:00Z", "ends_at": "2093-01-01T00:00:00Z"}, "$.ends_at"),
        ({"catch_up": "some"}, "$.catch_up"),
        ({"overlap": True}, "$.overlap"),
        ({"catch_up": "all", "overlap": "skip"}, "$.catch_up"),
        ({"kind": "Bazz"}, "$.kind"),
        ({"kind": "a b"}, "$.kind"),
        ({"queue": "a/b"}, "$.queue"),
        ({"priority": 10}, "$.priority"),
        ({"max_attempts": 0}, "$.max_attempts"),
        ({"timeout_s": 0}, "$.timeout_s"),
        ({"color": "red"}, "$.color"),
        ({"execute_at": "2093-01-01T00:00:00Z"}, "$.execute_at"),
    ],
    ids=str,
)
def test_a_bad_field_is_named(client: httpx.Client, name: str, bad: dict[str, Any], path: str):
    fault(client.put(f"/schedules/{name}", json=NIGHTLY | bad), path)
    fault(client.post("/schedules", json=NIGHTLY | {"name": name} | bad), path)
    problem(client.get(f"/schedules/{name}"), 404)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"kind": "Baz"}, "$.cron"),
        ({"cron": "@daily"}, "$.kind"),
        ({"kind": "Baz", "every_s": 0.5}, "$.every_s"),
        ({"kind": "Baz", "every_s": "60"}, "$.every_s"),
        ({"kind": "Baz", "every_s": 1e12}, "$.every_s"),
        ([], "$"),
    ],
    ids=str,
)
def test_what_is_no_schedule_is_refused(client: httpx.Client, name: str, body: Any, path: str):
    fault(client.put(f"/schedules/{name}", json=body), path)


def test_an_unknown_kind_is_answered_with_the_known_ones(client: httpx.Client, name: str):
    answer = problem(client.put(f"/schedules/{name}", json=NIGHTLY | {"kind": "Bazz"}), 400)
    assert {"Bar", "Baz", "Foo"} <= set(answer["known_kinds"])
    seen(client.put(f"/schedules/{name}", json=NIGHTLY), 201)
    fault(client.patch(f"/schedules/{name}", json={"kind": "Bazz"}), "$.kind")
    fault(client.post("/schedules", json=NIGHTLY), "$.name")


@pytest.mark.parametrize("bad", ["a b", "x" * 129, "ü", "a%00b"])
def test_a_name_that_is_none_is_refused(client: httpx.Client, bad: str):
    for method, rest in (
        ("GET", ""),
        ("PUT", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/preview"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/trigger"),
    ):
        body = NIGHTLY if method == "PUT" else {"priority": 1}
        problem(client.request(method, f"/schedules/{bad}{rest}", json=body), 400)
    problem(client.get("/schedules", params={"cursor": "a b"}), 400)
    problem(client.get("/schedules", params={"after": "a"}), 400)


def test_the_methods_of_a_path_are_named(client: httpx.Client):
    assert client.options("/schedules").headers["allow"] == "GET, OPTIONS, POST"
    allowed = client.options("/schedules/x").headers["allow"]
    assert allowed == "DELETE, GET, OPTIONS, PATCH, PUT"
