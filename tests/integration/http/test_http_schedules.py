"""/schedules: making, putting, changing, pausing, triggering and previewing them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import httpx
import pytest

from tests.integration.http.answers import UTC_TIME, fault, get, problem, stored, until
from tests.integration.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.processes import Programs

FAR: Final = "2093-05-06T07:08:09.123456Z"
BERLIN: Final = {
    "kind": "Baz",
    "cron": "30 2 * * *",
    "time_zone": "Europe/Berlin",
    "starts_at": "2093-03-27T00:00:00Z",
}
"""It fires so late that no worker does anything for it while tests run."""
FIRST: Final = "2093-03-27T01:30:00Z"
FIELDS: Final = {
    "name",
    "kind",
    "queue",
    "priority",
    "payload",
    "cron",
    "every_s",
    "time_zone",
    "starts_at",
    "ends_at",
    "catch_up",
    "overlap",
    "crons",
    "gap",
    "fold",
    "jitter_s",
    "max_fires",
    "catch_up_window_s",
    "catch_up_max",
    "pause_after_failures",
    "pause_reason",
    "rrule",
    "except",
    "group",
    "tags",
    "fire_count",
    "max_attempts",
    "timeout_s",
    "paused",
    "paused_at",
    "next_fire_at",
    "last_fire_at",
    "last_task_id",
    "created_at",
    "changed_at",
}
CALLS: Final = (
    ("GET", ""),
    ("DELETE", ""),
    ("PATCH", ""),
    ("POST", "/pause"),
    ("POST", "/resume"),
    ("POST", "/trigger"),
    ("GET", "/preview"),
    ("GET", "/fires"),
)
"""On one schedule; PUT makes it."""


@pytest.fixture
def name(client: httpx.Client) -> Iterator[str]:
    """Give a name that nobody has, and take away what the test has made by it."""
    name = f"nightly.{uuid4().hex[:12]}"
    yield name
    client.delete(f"/schedules/{name}")


def good(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    """Check that ``answer`` has one schedule, as every schedule must be; return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    schedule = answer.json()
    assert set(schedule) == FIELDS
    for field in FIELDS:
        if field.endswith("_at") and schedule[field] is not None:
            assert UTC_TIME.fullmatch(schedule[field]), (field, schedule[field])
    assert schedule["paused"] == (schedule["paused_at"] is not None)
    return schedule


def made(client: httpx.Client, name: str, **fields: Any) -> dict[str, Any]:
    """Make a schedule; return it."""
    answer = client.post("/schedules", json={"name": name, **BERLIN, **fields})
    schedule = good(answer, 201)
    assert answer.headers["location"] == f"/schedules/{name}"
    return schedule


def fires(client: httpx.Client, name: str, **asked: Any) -> list[tuple[str, str]]:
    """Return the previewed fires: in UTC, and on the clocks of the schedule's zone."""
    answer = client.get(f"/schedules/{name}/preview", params=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["name"] == name
    return [(each["at"], each["local"]) for each in answer.json()["fires"]]


# -- making and putting ----------------------------------------------------------------------------


def test_a_schedule_is_made_with_all_that_is_given(client: httpx.Client, name: str, queue: str):
    given = {
        "kind": "Foo",
        "cron": "0 0 3 * * mon-fri",
        "time_zone": "America/New_York",
        "payload": {"a": [None, 1.5, "\N{SNOWMAN}"]},
        "queue": queue,
        "priority": 0,
        "max_attempts": 7,
        "timeout_s": 0.25,
        "starts_at": FAR,
        "ends_at": "2094-05-06T09:08:09+02:00",
        "catch_up": "none",
        "overlap": "skip",
    }
    schedule = made(client, name, **given)
    assert schedule | given == schedule | {"ends_at": given["ends_at"]}
    assert schedule["ends_at"] == "2094-05-06T07:08:09Z"
    assert (schedule["name"], schedule["every_s"]) == (name, None)
    assert schedule["next_fire_at"] == "2093-05-07T07:00:00Z"
    assert (schedule["last_fire_at"], schedule["last_task_id"]) == (None, None)
    assert schedule["created_at"] == schedule["changed_at"]
    assert good(client.get(f"/schedules/{name}")) == schedule


def test_what_is_left_out_is_as_usual(client: httpx.Client, name: str):
    body = {"name": name, "kind": "Baz", "every_s": 86_400.5, "starts_at": FAR}
    schedule = good(client.post("/schedules", json=body), 201)
    usual = {
        "queue": "default",
        "priority": 5,
        "payload": None,
        "cron": None,
        "time_zone": "UTC",
        "ends_at": None,
        "catch_up": "latest",
        "overlap": "allow",
        "max_attempts": None,
        "timeout_s": None,
        "paused": False,
        "next_fire_at": FAR,
    }
    assert schedule | body | usual == schedule


def test_a_name_that_is_taken_is_refused_and_nothing_changes(client: httpx.Client, name: str):
    before = made(client, name)
    for body in ({**BERLIN, "name": name}, {"name": name, "kind": "Foo", "every_s": 5}):
        assert name in problem(client.post("/schedules", json=body), 409)["detail"]
    assert good(client.get(f"/schedules/{name}")) == before


def test_putting_makes_it_and_again_changes_nothing(client: httpx.Client, name: str):
    at = f"/schedules/{name}"
    first = client.put(at, json=BERLIN)
    schedule = good(first, 201)
    assert first.headers["location"] == at
    for body in (BERLIN, {**BERLIN, "name": name, "queue": "default", "payload": None}):
        again = client.put(at, json=body)
        assert good(again) == schedule
        assert "location" not in again.headers


def test_putting_another_replaces_all_of_it(client: httpx.Client, name: str):
    before = made(client, name, priority=1, payload=[1], max_attempts=2)
    after = good(client.put(f"/schedules/{name}", json={**BERLIN, "kind": "Foo", "cron": "@daily"}))
    usual = {"priority": 5, "payload": None, "max_attempts": None}
    expected = {"kind": "Foo", "cron": "@daily", "next_fire_at": "2093-03-27T23:00:00Z"}
    assert after == before | usual | expected | {"changed_at": after["changed_at"]}
    assert after["changed_at"] > before["changed_at"]
    assert good(client.get(f"/schedules/{name}")) == after


def test_putting_does_not_resume(client: httpx.Client, name: str):
    made(client, name)
    paused = good(client.post(f"/schedules/{name}/pause"))
    after = good(client.put(f"/schedules/{name}", json={**BERLIN, "priority": 2}))
    assert (after["paused_at"], after["next_fire_at"]) == (paused["paused_at"], None)
    assert after["priority"] == 2


def test_the_name_in_the_body_must_be_the_one_in_the_path(client: httpx.Client, name: str):
    fault(client.put(f"/schedules/{name}", json={**BERLIN, "name": f"{name}x"}), "$.name")
    problem(client.get(f"/schedules/{name}"), 404)


def test_of_many_who_make_it_at_once_one_does(client: httpx.Client, name: str):
    def make(_: int) -> httpx.Response:
        return client.post("/schedules", json={"name": name, **BERLIN})

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(make, range(16)))
    (won,) = [each for each in answers if each.status_code == 201]
    for each in answers:
        if each is not won:
            problem(each, 409)
    assert good(client.get(f"/schedules/{name}")) == won.json()


def test_of_many_who_put_it_at_once_one_makes_it(client: httpx.Client, name: str):
    """As when many processes of one application start."""

    def put(_: int) -> httpx.Response:
        return client.put(f"/schedules/{name}", json=BERLIN)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(put, range(16)))
    assert sorted(each.status_code for each in answers) == [200] * 15 + [201]
    schedule = good(client.get(f"/schedules/{name}"))
    assert all(each.json() == schedule for each in answers)


# -- changing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": "Foo"}, {"kind": "Foo"}),
        ({"cron": "0 4 * * *"}, {"cron": "0 4 * * *", "next_fire_at": "2093-03-27T03:00:00Z"}),
        (
            {"every_s": 3600},
            {"cron": None, "every_s": 3600, "next_fire_at": "2093-03-27T00:00:00Z"},
        ),
        ({"time_zone": "UTC"}, {"time_zone": "UTC", "next_fire_at": "2093-03-27T02:30:00Z"}),
        ({"payload": {"b": None}}, {"payload": {"b": None}}),
        ({"payload": None}, {"payload": None}),
        ({"queue": "elsewhere"}, {"queue": "elsewhere"}),
        ({"priority": 0, "max_attempts": 3}, {"priority": 0, "max_attempts": 3}),
        ({"max_attempts": None}, {"max_attempts": None}),
        ({"timeout_s": 1.5}, {"timeout_s": 1.5}),
        ({"timeout_s": None}, {"timeout_s": None}),
        (
            {"starts_at": "2093-05-01T02:00:00+02:00"},
            {"starts_at": "2093-05-01T00:00:00Z", "next_fire_at": "2093-05-01T00:30:00Z"},
        ),
        ({"ends_at": "2093-03-27T01:30:00Z"}, {"ends_at": "2093-03-27T01:30:00Z"}),
        ({"ends_at": None}, {"ends_at": None}),
        ({"catch_up": "none"}, {"catch_up": "none"}),
        ({"catch_up": "all"}, {"catch_up": "all"}),
        ({"overlap": "skip"}, {"overlap": "skip"}),
    ],
    ids=str,
)
def test_changes_what_is_given_and_nothing_else(
    client: httpx.Client, name: str, change: dict[str, Any], expected: dict[str, Any]
):
    optional = {"payload": {"a": 1}, "max_attempts": 7, "timeout_s": 2, "ends_at": FAR}
    before = made(client, name, **optional)
    after = good(client.patch(f"/schedules/{name}", json=change))
    assert after == good(client.get(f"/schedules/{name}"))
    assert expected.items() <= after.items()
    changed = {field for field in FIELDS if after[field] != before[field]}
    assert changed <= {"changed_at", *change, *expected}
    assert "changed_at" in changed


def test_without_a_start_it_fires_from_now_on(client: httpx.Client, name: str):
    """A worker would fire an early one, so it is paused meanwhile."""
    made(client, name)
    good(client.post(f"/schedules/{name}/pause"))
    after = good(client.patch(f"/schedules/{name}", json={"starts_at": None}))
    assert (after["starts_at"], after["next_fire_at"]) == (None, None)
    ((at, _),) = fires(client, name, n=1)
    assert after["changed_at"] < at < "2093"


def test_a_change_to_what_is_already_so_is_none(client: httpx.Client, name: str):
    before = made(client, name)
    same = {"kind": "Baz", "cron": BERLIN["cron"], "max_attempts": None}
    assert good(client.patch(f"/schedules/{name}", json=same)) == before


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$"),
        ([], "$"),
        (None, "$"),
        ({"name": "other"}, "$.name"),
        ({"paused": True}, "$.paused"),
        ({"next_fire_at": FAR}, "$.next_fire_at"),
        ({"kind": None}, "$.kind"),
        ({"kind": "Nope"}, "$.kind"),
        ({"cron": None}, "$.cron"),
        ({"every_s": None}, "$.every_s"),
        ({"cron": "0 3 * * *", "every_s": 5}, "$.cron"),
        ({"cron": "daily"}, "$.cron"),
        ({"time_zone": "Berlin"}, "$.time_zone"),
        ({"queue": None}, "$.queue"),
        ({"priority": None}, "$.priority"),
        ({"ends_at": "2093-03-26T00:00:00Z"}, "$.ends_at"),
        ({"ends_at": "2093-03-27T01:00:00Z"}, "$.ends_at"),
        ({"cron": "0 0 */31 2 MON#5"}, "$.cron"),
        ({"time_zone": "right/Europe/Berlin"}, "$.time_zone"),
        ({"starts_at": "2093-03-27T00:00:00"}, "$.starts_at"),
        ({"catch_up": None}, "$.catch_up"),
        ({"catch_up": "all", "overlap": "skip"}, "$.catch_up"),
    ],
    ids=str,
)
def test_a_change_that_makes_no_sense_is_refused(
    client: httpx.Client, name: str, body: Any, path: str
):
    before = made(client, name)
    fault(client.patch(f"/schedules/{name}", json=body), path)
    assert good(client.get(f"/schedules/{name}")) == before


# -- refusing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        ({"kind": None}, "$.kind"),
        ({"kind": "a b"}, "$.kind"),
        ({"cron": ""}, "$.cron"),
        ({"cron": "0 3 * *"}, "$.cron"),
        ({"cron": "60 3 * * *"}, "$.cron"),
        ({"cron": "0 0 30 2 *"}, "$.cron"),
        ({"cron": "0 0 */31 2 MON#5"}, "$.cron"),
        ({"cron": "*/90 * * * *"}, "$.cron"),
        ({"cron": "*/61 * * * *"}, "$.cron"),
        ({"cron": "\N{SUPERSCRIPT TWO} * * * *"}, "$.cron"),
        ({"cron": "0 3 * * *\0"}, "$.cron"),
        ({"cron": "@reboot"}, "$.cron"),
        ({"cron": "0" * 257}, "$.cron"),
        ({"cron": 5}, "$.cron"),
        ({"cron": None}, "$.cron"),
        ({"every_s": 60}, "$.cron"),
        ({"every_s": None}, "$.every_s"),
        ({"time_zone": "Berlin"}, "$.time_zone"),
        ({"time_zone": ""}, "$.time_zone"),
        ({"time_zone": None}, "$.time_zone"),
        ({"time_zone": "../../../etc/passwd"}, "$.time_zone"),
        ({"time_zone": "Europe"}, "$.time_zone"),
        ({"time_zone": "UTC\0"}, "$.time_zone"),
        ({"time_zone": "x" * 65}, "$.time_zone"),
        ({"queue": "a/b"}, "$.queue"),
        ({"priority": 10}, "$.priority"),
        ({"priority": -1}, "$.priority"),
        ({"priority": 5.5}, "$.priority"),
        ({"max_attempts": 0}, "$.max_attempts"),
        ({"max_attempts": 10**9}, "$.max_attempts"),
        ({"timeout_s": 0}, "$.timeout_s"),
        ({"timeout_s": 1e300}, "$.timeout_s"),
        ({"starts_at": "2093-05-06T07:08:09"}, "$.starts_at"),
        ({"starts_at": "soon"}, "$.starts_at"),
        ({"starts_at": 3_900_000_000}, "$.starts_at"),
        ({"starts_at": "9999-12-31T23:59:59Z"}, "$.starts_at"),
        ({"ends_at": "2093-05-06T07:08:09"}, "$.ends_at"),
        ({"ends_at": "0001-01-01T00:00:00Z"}, "$.ends_at"),
        ({"ends_at": "2093-03-26T23:59:59Z"}, "$.ends_at"),
        ({"catch_up": "some"}, "$.catch_up"),
        ({"catch_up": "all", "overlap": "skip"}, "$.catch_up"),
        ({"overlap": "ALLOW"}, "$.overlap"),
        ({"overlap": None}, "$.overlap"),
        ({"interval": 5}, "$.interval"),
        ({"paused": True}, "$.paused"),
        ({"execute_at": FAR}, "$.execute_at"),
    ],
    ids=str,
)
def test_a_bad_field_is_named(client: httpx.Client, name: str, bad: dict[str, Any], path: str):
    fault(client.post("/schedules", json={"name": name, **BERLIN, **bad}), path)
    fault(client.put(f"/schedules/{name}", json={**BERLIN, **bad}), path)
    problem(client.get(f"/schedules/{name}"), 404)


@pytest.mark.parametrize("every_s", [0, 0.999, -1, "60", True, 366 * 86_400 + 1, 1e300])
def test_an_interval_out_of_bounds_is_refused(client: httpx.Client, name: str, every_s: Any):
    body = {"name": name, "kind": "Baz", "every_s": every_s}
    fault(client.post("/schedules", json=body), "$.every_s")


def test_what_says_not_when_is_no_schedule(client: httpx.Client, name: str):
    assert "every_s" in fault(
        client.post("/schedules", json={"name": name, "kind": "Baz"}), "$.cron"
    )
    fault(client.post("/schedules", json={"name": name, "cron": "@daily"}), "$.kind")
    fault(client.post("/schedules", json=BERLIN), "$.name")


@pytest.mark.parametrize("bad", ["", "a b", "a/b", "\0", "x" * 129, None, 7])
def test_a_name_that_cannot_be_one_is_refused(client: httpx.Client, bad: Any):
    fault(client.post("/schedules", json={**BERLIN, "name": bad}), "$.name")


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b"7", b"7 7", b"\xff"])
def test_what_is_no_schedule_is_refused(client: httpx.Client, name: str, body: bytes):
    for method, path in (
        ("POST", "/schedules"),
        ("PUT", f"/schedules/{name}"),
        ("PATCH", f"/schedules/{name}"),
    ):
        fault(client.request(method, path, content=body), "$")


@pytest.mark.parametrize(
    "bad", ["a b", "\N{LATIN SMALL LETTER A WITH DIAERESIS}", "x" * 129, "%00"]
)
@pytest.mark.parametrize(("method", "verb"), [*CALLS, ("PUT", "")])
def test_what_cannot_name_a_schedule_is_refused(
    client: httpx.Client, method: str, verb: str, bad: str
):
    body = {"PUT": BERLIN, "PATCH": {"priority": 1}}.get(method)
    said = fault(client.request(method, f"/schedules/{bad}{verb}", json=body), "name")
    assert "1 to 128 letters" in said


@pytest.mark.parametrize(("method", "verb"), CALLS)
def test_a_schedule_that_is_not_there_is_not_found(
    client: httpx.Client, name: str, method: str, verb: str
):
    for change in ({"priority": 1}, {"kind": "Foo"}, {"kind": "Nope"}):
        body = change if method == "PATCH" else None
        answer = client.request(method, f"/schedules/{name}{verb}", json=body)
        assert name in problem(answer, 404)["detail"]


@pytest.mark.parametrize("kind", ["Nope", "baz"])
def test_an_unknown_kind_is_answered_with_those_that_are_known(
    client: httpx.Client, name: str, kind: str
):
    at = f"/schedules/{name}"
    refused = [
        client.post("/schedules", json={"name": name, **BERLIN, "kind": kind}),
        client.put(at, json={**BERLIN, "kind": kind}),
    ]
    made(client, name)
    refused.append(client.patch(at, json={"kind": kind}))
    for answer in refused:
        assert repr(kind) in fault(answer, "$.kind")
        assert {"Bar", "Baz", "Foo"} <= set(answer.json()["known_kinds"])
    assert good(client.get(at))["kind"] == "Baz"


def test_schedules_may_go_before_workers_where_that_is_allowed(
    programs: Programs, client: httpx.Client, name: str
):
    api = programs.start("api", "--port", "0", "--accept-unknown-kinds")
    at = f"/schedules/{name}"
    with httpx.Client(base_url=api.address()) as open_client:
        assert made(open_client, name, kind="Tomorrow")["kind"] == "Tomorrow"
        assert good(open_client.put(at, json={**BERLIN, "kind": "Next"}))["kind"] == "Next"
        assert good(open_client.patch(at, json={"kind": "Last"}))["kind"] == "Last"
    api.stop()
    fault(client.put(at, json={**BERLIN, "kind": "Next"}), "$.kind")
    assert good(client.get(at))["kind"] == "Last"


def test_too_large_a_payload_is_refused(client: httpx.Client, name: str):
    at, large = f"/schedules/{name}", {**BERLIN, "payload": "x" * 2**20}
    problem(client.post("/schedules", json={"name": name, **large}), 413)
    problem(client.put(at, json=large), 413)
    before = made(client, name)
    problem(client.patch(at, json={"payload": "x" * 2**20}), 413)
    assert good(client.get(at)) == before


def test_a_wrong_method_is_answered_with_the_right_ones(client: httpx.Client, name: str):
    for path, methods in (
        ("/schedules", "GET, HEAD, OPTIONS, POST"),
        (f"/schedules/{name}", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
    ):
        assert client.options(path).headers["allow"] == methods
    for method, path in (("PUT", "/schedules"), ("GET", f"/schedules/{name}/trigger")):
        assert client.request(method, path).headers["allow"]
        problem(client.request(method, path), 405)


# -- listing and deleting --------------------------------------------------------------------------


def test_pages_go_by_name_and_neither_skip_nor_repeat(client: httpx.Client, name: str):
    """From a cursor on, for other tests make schedules too."""
    names = sorted(f"{name}.{end}" for end in ("a", "B", "_", "-", "10", "9", "a.b"))
    schedules = {each: made(client, each) for each in reversed(names)}
    found: list[dict[str, Any]] = []
    address: str | None = f"/schedules?limit=3&cursor={name}."
    while address is not None and len(found) < len(names):
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()) <= 3
        found += answer.json()
        address = answer.links.get("next", {}).get("url")
    assert found[: len(names)] == [schedules[each] for each in names]
    for each in names:
        assert client.delete(f"/schedules/{each}").status_code == 204
    answer = client.get(f"/schedules?cursor={name}.")
    assert not [each for each in answer.json() if each["name"].startswith(f"{name}.")]


def test_the_link_names_the_next_page_while_there_is_one(client: httpx.Client, name: str):
    """The names are the last of all, so nothing comes after them."""
    last = [f"zzzz.{name}.{number}" for number in range(3)]
    for each in last:
        made(client, each)
    first = client.get("/schedules", params={"cursor": f"zzzz.{name}", "limit": 2})
    assert [each["name"] for each in first.json()] == last[:2]
    assert first.links["next"]["url"].endswith(f"/schedules?limit=2&cursor={last[1]}")
    second = client.get(first.links["next"]["url"])
    assert [each["name"] for each in second.json()] == last[2:]
    assert "link" not in second.headers
    whole = client.get("/schedules", params={"cursor": f"zzzz.{name}", "limit": 3})
    assert [each["name"] for each in whole.json()] == last
    assert "link" not in whole.headers
    for each in last:
        assert client.delete(f"/schedules/{each}").status_code == 204


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=", "cursor"),
        ("cursor=a%20b", "cursor"),
        ("cursor=%00", "cursor"),
        ("filter=kind:Baz", "filter"),
        ("name=a", "name"),
    ],
)
def test_a_bad_question_is_answered_with_what_was_expected(
    client: httpx.Client, query: str, path: str
):
    fault(client.get(f"/schedules?{query}"), path)


def test_a_deleted_schedule_is_gone_and_its_tasks_stay(client: httpx.Client, name: str, queue: str):
    made(client, name, queue=queue)
    task_id = stored(client.post(f"/schedules/{name}/trigger"))
    answer = client.delete(f"/schedules/{name}")
    assert (answer.status_code, answer.content) == (204, b"")
    problem(client.get(f"/schedules/{name}"), 404)
    problem(client.delete(f"/schedules/{name}"), 404)
    assert get(client, task_id)["status"] == "Pending"
    assert made(client, name)["last_task_id"] is None


# -- pausing ---------------------------------------------------------------------------------------


def test_a_paused_schedule_has_no_next_fire_until_it_is_resumed(client: httpx.Client, name: str):
    at = f"/schedules/{name}"
    before = made(client, name)
    paused = good(client.post(f"{at}/pause"))
    when = paused["paused_at"]
    assert before["created_at"] < when == paused["changed_at"]
    told = {"paused": True, "paused_at": when, "changed_at": when, "next_fire_at": None}
    assert paused == before | told
    assert good(client.post(f"{at}/pause")) == paused
    assert good(client.get(at)) == paused
    resumed = good(client.post(f"{at}/resume"))
    assert resumed == before | {"changed_at": resumed["changed_at"]}
    assert resumed["changed_at"] > when
    assert good(client.post(f"{at}/resume")) == resumed


# -- firing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("paused", [False, True])
def test_a_trigger_stores_a_task_for_now(
    client: httpx.Client, name: str, queue: str, *, paused: bool
):
    given = {"payload": {"a": 1}, "queue": queue, "priority": 2, "max_attempts": 4, "timeout_s": 9}
    made(client, name, **given)
    if paused:
        good(client.post(f"/schedules/{name}/pause"))
    before = good(client.get(f"/schedules/{name}"))
    ids = [stored(client.post(f"/schedules/{name}/trigger")) for _ in range(2)]
    assert len(set(ids)) == 2
    for task_id in ids:
        task = get(client, task_id)
        assert given.items() <= task.items()
        assert (task["kind"], task["status"], task["unique_key"]) == ("Baz", "Pending", None)
        assert before["changed_at"] < task["process_at"] < FIRST
    due = client.get(f"/queues/{queue}").json()["due"]
    assert due == {"count": 2, "exact": True}
    assert good(client.get(f"/schedules/{name}"))["next_fire_at"] == before["next_fire_at"]


def test_a_triggered_task_is_run(client: httpx.Client, name: str):
    made(client, name)
    until(client, stored(client.post(f"/schedules/{name}/trigger")), "Completed")


def test_a_schedule_tells_what_it_stored_last(client: httpx.Client, name: str):
    """A worker of the service fires it."""
    body = {"kind": "Baz", "every_s": 1, "payload": name}
    schedule = good(client.put(f"/schedules/{name}", json=body), 201)

    def fired() -> dict[str, Any] | None:
        now = good(client.get(f"/schedules/{name}"))
        return now if now["last_task_id"] else None

    fired_once = eventually(fired, "a fire")
    assert fired_once is not None
    assert good(client.post(f"/schedules/{name}/pause"))["next_fire_at"] is None
    assert schedule["next_fire_at"] <= fired_once["last_fire_at"] < fired_once["next_fire_at"]
    assert fired_once["changed_at"] == schedule["changed_at"], "a fire is no change of anybody's"
    task = until(client, fired_once["last_task_id"], "Completed")
    assert (task["kind"], task["payload"]) == ("Baz", name)
    assert task["unique_key"] == f"{name}@{fired_once['last_fire_at']}"


# -- previewing ------------------------------------------------------------------------------------


def test_a_preview_tells_both_clocks_when_they_are_put_forward(client: httpx.Client, name: str):
    """Half past two is left out on the 29th: it fires once the gap is over."""
    made(client, name)
    assert fires(client, name, n=4) == [
        (FIRST, "2093-03-27T02:30:00+01:00"),
        ("2093-03-28T01:30:00Z", "2093-03-28T02:30:00+01:00"),
        ("2093-03-29T01:00:00Z", "2093-03-29T03:00:00+02:00"),
        ("2093-03-30T00:30:00Z", "2093-03-30T02:30:00+02:00"),
    ]


def test_a_preview_tells_both_clocks_when_they_are_put_back(client: httpx.Client, name: str):
    """Half past two comes twice on the 25th: it fires at the first."""
    made(client, name, starts_at="2093-10-24T00:00:00Z")
    assert fires(client, name, n=3) == [
        ("2093-10-24T00:30:00Z", "2093-10-24T02:30:00+02:00"),
        ("2093-10-25T00:30:00Z", "2093-10-25T02:30:00+02:00"),
        ("2093-10-26T01:30:00Z", "2093-10-26T02:30:00+01:00"),
    ]


def test_an_interval_knows_no_clocks(client: httpx.Client, name: str):
    body = {"kind": "Baz", "every_s": 86_400, "time_zone": "Europe/Berlin"}
    good(client.put(f"/schedules/{name}", json={**body, "starts_at": "2093-03-28T01:30:00Z"}), 201)
    assert fires(client, name, n=2) == [
        ("2093-03-28T01:30:00Z", "2093-03-28T02:30:00+01:00"),
        ("2093-03-29T01:30:00Z", "2093-03-29T03:30:00+02:00"),
    ]


def test_a_preview_has_ten_fires_unless_others_are_asked_for(client: httpx.Client, name: str):
    schedule = made(client, name)
    assert fires(client, name)[0][0] == schedule["next_fire_at"]
    assert [len(fires(client, name, **asked)) for asked in ({}, {"n": 1}, {"n": 100})] == [
        10,
        1,
        100,
    ]
    assert fires(client, name, n=100)[:10] == fires(client, name)
    answer = client.get(f"/schedules/{name}/preview").json()
    assert set(answer) == {"name", "time_zone", "fires", "left_out"}
    assert answer["time_zone"] == "Europe/Berlin"


def test_a_preview_ends_where_the_schedule_does(client: httpx.Client, name: str):
    made(client, name, ends_at="2093-03-28T01:30:00Z")
    assert [at for at, _ in fires(client, name)] == [FIRST, "2093-03-28T01:30:00Z"]
    ended = {"starts_at": None, "ends_at": "2020-03-28T01:30:00Z"}
    assert good(client.patch(f"/schedules/{name}", json=ended))["next_fire_at"] is None
    assert fires(client, name) == []


def test_a_preview_of_a_paused_schedule_is_as_if_it_were_resumed(client: httpx.Client, name: str):
    made(client, name)
    before = fires(client, name)
    good(client.post(f"/schedules/{name}/pause"))
    assert fires(client, name) == before


@pytest.mark.parametrize(
    ("query", "path"),
    [("n=0", "n"), ("n=101", "n"), ("n=-1", "n"), ("n=x", "n"), ("n=", "n"), ("limit=5", "limit")],
)
def test_a_preview_of_too_few_or_too_many_is_refused(
    client: httpx.Client, name: str, query: str, path: str
):
    made(client, name)
    fault(client.get(f"/schedules/{name}/preview?{query}"), path)


def test_what_was_done_is_on_record(client: httpx.Client, name: str, programs: Programs):
    made(client, name)
    good(client.post(f"/schedules/{name}/pause"))
    programs.good("schedules", "resume", name)
    told = json.loads(programs.good("audit", "--target", name, "--json"))
    assert [each["action"] for each in told] == ["schedule resumed"], "an open service names nobody"
    shown = client.get("/audit", params={"target": name}).json()
    assert [each["action"] for each in shown] == ["schedule resumed"]


def test_the_methods_of_a_path_are_named(client: httpx.Client):
    assert client.options("/schedules").headers["allow"] == "GET, HEAD, OPTIONS, POST"
    allowed = client.options("/schedules/x").headers["allow"]
    assert allowed == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"


def seen(client: httpx.Client, path: str) -> Any:
    """Return what is answered at ``path``."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_policies_for_changes_of_clocks(client: httpx.Client, name: str):
    made = good(client.put(f"/schedules/{name}", json=BERLIN | {"gap": "skip"}), 201)
    assert (made["gap"], made["fold"]) == ("skip", None)
    preview = seen(client, f"/schedules/{name}/preview?n=3")
    assert [fire["at"][:16] for fire in preview["fires"]] == [
        "2093-03-27T01:30",
        "2093-03-28T01:30",
        "2093-03-30T00:30",
    ]
    (left_out,) = preview["left_out"]
    assert (left_out["at"], left_out["clocks"]) == ("2093-03-29T01:00:00Z", "gap")
    good(client.patch(f"/schedules/{name}", json={"gap": "after"}))
    preview = seen(client, f"/schedules/{name}/preview?n=3")
    assert [fire["clocks"] for fire in preview["fires"]] == [None, None, "gap"]
    assert preview["left_out"] == []
    fold = {"gap": None, "fold": "second", "starts_at": "2093-10-25T00:00:00Z"}
    good(client.patch(f"/schedules/{name}", json=fold))
    preview = seen(client, f"/schedules/{name}/preview?n=1")
    assert preview["fires"][0]["at"] == "2093-10-25T01:30:00Z"
    for field, value in (("gap", "before"), ("fold", "third"), ("gap", 1)):
        answer = client.patch(f"/schedules/{name}", json={field: value})
        fault(answer, f"$.{field}")
    every = {"kind": "Baz", "every_s": 60, "fold": "both"}
    answer = client.put(f"/schedules/{name}", json=every)
    fault(answer, "$.fold")


def test_several_expressions_bounds_and_jitter(client: httpx.Client, name: str):
    given = BERLIN | {"crons": ["0 3 * * *", "0 4 * * *"], "jitter_s": 1.5, "max_fires": 4}
    made = good(client.put(f"/schedules/{name}", json=given), 201)
    assert (made["crons"], made["jitter_s"]) == (["0 3 * * *", "0 4 * * *"], 1.5)
    assert (made["max_fires"], made["fire_count"]) == (4, 0)
    preview = seen(client, f"/schedules/{name}/preview?n=9")
    assert [fire["local"][11:16] for fire in preview["fires"]] == [
        "02:30",
        "03:00",
        "04:00",
        "02:30",
    ]
    same = good(client.put(f"/schedules/{name}", json=given))
    assert same == made
    every = good(client.patch(f"/schedules/{name}", json={"every_s": 60}))
    assert (every["cron"], every["crons"], every["every_s"]) == (None, [], 60.0)
    only = good(client.patch(f"/schedules/{name}", json={"crons": ["0 5 * * *"]}))
    assert (only["cron"], only["crons"], only["every_s"]) == (None, ["0 5 * * *"], None)
    for field, value in (
        ("crons", ["0 5 * * *", "0 5 * *"]),
        ("crons", []),
        ("crons", ["0 5 * * *"] * 21),
        ("jitter_s", 0),
        ("jitter_s", 86_401),
        ("max_fires", 0),
    ):
        answer = client.patch(f"/schedules/{name}", json={field: value})
        fault(answer, "$.cron" if value == [] else f"$.{field}")


def test_what_became_of_fires(client: httpx.Client, name: str):
    good(client.put(f"/schedules/{name}", json={"kind": "Baz", "every_s": 1, "max_fires": 2}), 201)
    triggered = client.post(f"/schedules/{name}/trigger").json()["id"]
    eventually(lambda: len(seen(client, f"/schedules/{name}/fires")) == 3, "three fires")
    entries = seen(client, f"/schedules/{name}/fires")
    assert [entry["at"] for entry in entries] == sorted(
        (entry["at"] for entry in entries), reverse=True
    )
    kinds = [entry["outcome"] for entry in entries]
    assert sorted(kinds) == ["stored", "stored", "triggered"]
    for entry in entries:
        assert set(entry) == {"at", "outcome", "reason", "task_id", "late_s", "recorded_at"}
        assert entry["late_s"] >= 0
        assert seen(client, f"/tasks/{entry['task_id']}")["kind"] == "Baz"
    assert entries[kinds.index("triggered")]["task_id"] == triggered
    paged: list[Any] = []
    link: str | None = f"/schedules/{name}/fires?limit=1"
    while link is not None:
        answer = client.get(link)
        paged += answer.json()
        link = answer.links.get("next", {}).get("url")
    assert paged == entries
    for query in (
        "limit=0",
        "limit=1001",
        "cursor=",
        "cursor=1",
        "cursor=999999999999999999.1",
        "n=1",
    ):
        path = f"/schedules/{name}/fires?{query}"
        fault(client.get(path), query.partition("=")[0])
    assert problem(client.get("/schedules/nobody/fires"), 404)


# -- backfilling -----------------------------------------------------------------------------------


def backfilled(client: httpx.Client, name: str, span: dict[str, str]) -> dict[str, Any]:
    answer = client.post(f"/schedules/{name}/backfill", json=span)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_span_of_fires_is_backfilled_once(client: httpx.Client, name: str):
    made(client, name)
    client.post(f"/schedules/{name}/pause")
    span = {"from": "2024-03-28T02:30:00+01:00", "to": "2024-04-01T00:00:00Z"}
    answer = backfilled(client, name, span)
    assert (answer["looked_at"], answer["backfilled"], answer["present"]) == (0, 0, 0)
    good(client.patch(f"/schedules/{name}", json={"starts_at": None}))
    answer = backfilled(client, name, span)
    assert (answer["looked_at"], answer["backfilled"], answer["next_from"]) == (4, 4, None)
    entries: Any = client.get(f"/schedules/{name}/fires").json()
    assert [entry["outcome"] for entry in entries] == ["backfilled"] * 4
    assert [entry["task_id"] for entry in reversed(entries)] == answer["ids"]
    assert entries[1]["at"] == "2024-03-30T01:30:00Z"
    again = backfilled(client, name, span)
    assert (again["backfilled"], again["present"], again["ids"]) == (0, 4, [])


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], "$"),
        ({"from": "2024-03-28T00:00:00Z"}, "$.to"),
        ({"from": "2024-03-28T00:00:00", "to": "2024-03-28T00:00:00Z"}, "$.from"),
        ({"from": "2024-03-28T00:00:00Z", "to": 7}, "$.to"),
        ({"from": "2024-03-28T00:00:00Z", "to": "2024-03-27T00:00:00Z"}, "$.to"),
        ({"from": "2024-03-28T00:00:00Z", "to": FAR}, "$.to"),
        ({"from": "2024-03-28T00:00:00Z", "to": "2024-03-29T00:00:00Z", "n": 1}, "$.n"),
    ],
    ids=str,
)
def test_a_span_that_makes_no_sense_is_refused(
    client: httpx.Client, name: str, body: Any, path: str
):
    made(client, name)
    fault(client.post(f"/schedules/{name}/backfill", json=body), path)
    assert client.get(f"/schedules/{name}/fires").json() == []
    assert client.post("/schedules/nope/backfill", json=body).status_code in {400, 404}
