"""Schedules whose fires overlap, are late or fail, from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.integration.http.test_http_schedules import fault, good, seen
from tests.integration.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@pytest.fixture
def name(client: httpx.Client) -> Iterator[str]:
    name = f"often.{uuid4().hex[:12]}"
    yield name
    client.delete(f"/schedules/{name}")


def outcomes(client: httpx.Client, name: str) -> list[tuple[str, str | None]]:
    """Return what became of the fires, the earliest first."""
    entries = sorted(seen(client, f"/schedules/{name}/fires"), key=lambda each: each["recorded_at"])
    return [(each["outcome"], each["reason"]) for each in entries]


def test_policies_are_kept(client: httpx.Client, name: str):
    given = {
        "kind": "Baz",
        "cron": "0 3 * * *",
        "overlap": "buffer_all",
        "catch_up_window_s": 90.5,
        "catch_up_max": 7,
        "pause_after_failures": 3,
    }
    made = good(client.put(f"/schedules/{name}", json=given), 201)
    assert given.items() <= made.items()
    assert (made["catch_up"], made["pause_reason"]) == ("all", None)
    assert good(client.put(f"/schedules/{name}", json=given)) == made
    change = {"catch_up_max": None, "catch_up_window_s": None, "pause_after_failures": None}
    changed = good(client.patch(f"/schedules/{name}", json=change))
    assert change.items() <= changed.items()
    assert changed["overlap"] == "buffer_all"
    for overlap in ("allow", "buffer_one", "buffer_all"):
        assert good(client.patch(f"/schedules/{name}", json={"overlap": overlap}))


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"overlap": "buffer"}, "$.overlap"),
        ({"catch_up_window_s": 0}, "$.catch_up_window_s"),
        ({"catch_up_window_s": 31_622_401}, "$.catch_up_window_s"),
        ({"catch_up_max": 0}, "$.catch_up_max"),
        ({"catch_up_max": 1.5}, "$.catch_up_max"),
        ({"catch_up_max": 1_001}, "$.catch_up_max"),
        ({"catch_up_max": 5, "catch_up": "none"}, "$.catch_up_max"),
        ({"catch_up_max": 5, "overlap": "skip"}, "$.catch_up_max"),
        ({"catch_up": "all", "overlap": "cancel_running"}, "$.catch_up"),
        ({"pause_after_failures": 0}, "$.pause_after_failures"),
        ({"pause_after_failures": "3"}, "$.pause_after_failures"),
    ],
    ids=str,
)
def test_what_makes_no_sense(client: httpx.Client, name: str, more: dict[str, Any], path: str):
    body = {"kind": "Baz", "cron": "0 3 * * *"} | more
    fault(client.put(f"/schedules/{name}", json=body), path)


def test_a_fire_waits_for_the_task_before(client: httpx.Client, name: str):
    """Foo takes three seconds."""
    body = {"kind": "Foo", "every_s": 1, "overlap": "buffer_one", "max_fires": 2}
    good(client.put(f"/schedules/{name}", json=body), 201)
    eventually(lambda: len(outcomes(client, name)) == 3, "the second task is stored")
    stored, buffered, waited = outcomes(client, name)
    first = [each for each in seen(client, f"/schedules/{name}/fires") if each["task_id"]][-1]
    assert stored == ("stored", None)
    reason = f"the task of the last fire had not ended: {first['task_id']}"
    assert buffered == ("buffered", reason)
    assert waited == ("stored", "it has waited for the task of the fire before")
    task = seen(client, f"/tasks/{first['task_id']}")
    assert task["status"] == "Completed"
    assert good(client.get(f"/schedules/{name}"))["next_fire_at"] is None


def test_the_task_before_is_cancelled(client: httpx.Client, name: str):
    body = {"kind": "Foo", "every_s": 1, "overlap": "cancel_running", "max_fires": 2}
    good(client.put(f"/schedules/{name}", json=body), 201)
    eventually(lambda: len(outcomes(client, name)) == 2, "two fires")
    first = [each for each in seen(client, f"/schedules/{name}/fires") if each["task_id"]][-1]
    assert outcomes(client, name) == [
        ("stored", None),
        ("stored", f"the task of the last fire was cancelled: {first['task_id']}"),
    ]
    assert seen(client, f"/tasks/{first['task_id']}")["status"] == "Cancelled"


def test_it_is_paused_when_its_tasks_fail(client: httpx.Client, name: str):
    """The worker calls no such address."""
    payload = {"url": "http://127.0.0.1:1/"}
    body = {"kind": "http", "every_s": 1, "pause_after_failures": 2, "payload": payload}
    good(client.put(f"/schedules/{name}", json=body), 201)
    eventually(lambda: good(client.get(f"/schedules/{name}"))["paused"], "it is paused")
    paused = good(client.get(f"/schedules/{name}"))
    assert paused["pause_reason"] == "the last 2 tasks failed"
    assert paused["next_fire_at"] is None
    assert outcomes(client, name)[-1] == (
        "skipped",
        "the schedule was paused: the last 2 tasks failed",
    )
    resumed = good(client.post(f"/schedules/{name}/resume"))
    assert (resumed["paused"], resumed["pause_reason"]) == (False, None)


def test_rules_and_what_they_leave_out(client: httpx.Client, name: str):
    given = {
        "kind": "Baz",
        "rrule": "FREQ=DAILY;BYHOUR=3;BYMINUTE=0;BYSECOND=0",
        "except": ["2093-12-25", "* * 26 12 *", "2093-12-28T02:00:00Z"],
        "time_zone": "Europe/Berlin",
        "starts_at": "2093-12-24T00:00:00Z",
    }
    made = good(client.put(f"/schedules/{name}", json=given), 201)
    assert given.items() <= made.items()
    assert (made["cron"], made["crons"], made["every_s"]) == (None, [], None)
    assert good(client.put(f"/schedules/{name}", json=given)) == made
    preview = seen(client, f"/schedules/{name}/preview?n=3")
    assert [each["local"][:16] for each in preview["fires"]] == [
        "2093-12-24T03:00",
        "2093-12-27T03:00",
        "2093-12-29T03:00",
    ]
    cron = good(client.patch(f"/schedules/{name}", json={"cron": "0 4 * * *", "except": []}))
    assert (cron["rrule"], cron["cron"], cron["except"]) == (None, "0 4 * * *", [])
    for field, value in (
        ("rrule", "FREQ=OFTEN"),
        ("rrule", "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"),
        ("rrule", None),
        ("except", ["2093-02-30"]),
        ("except", "2093-12-25"),
        ("except", None),
        ("except", ["* * * * *"]),
    ):
        fault(client.patch(f"/schedules/{name}", json={field: value}), f"$.{field}")
