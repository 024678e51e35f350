"""Tags over REST: stored by every way in, shown in every answer, found by ``filter=tag:…``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.integration.http.answers import fault, get, listed, put

if TYPE_CHECKING:
    import httpx

FAR = "2093-05-06T07:08:09Z"


@pytest.fixture
def tag() -> str:
    """Name a tag that no other test uses."""
    return f"t:{uuid4().hex[:12]}"


def test_they_are_shown_in_the_order_given_and_once(client: httpx.Client, queue: str, tag: str):
    task_id = put(client, kind="Baz", queue=queue, tags=[tag, "a", tag, "Z.9_-"])
    assert get(client, task_id)["tags"] == [tag, "a", "Z.9_-"]
    plain = put(client, kind="Baz", queue=queue)
    assert {each["id"]: each["tags"] for each in listed(client, f"queue:{queue}")} == {
        task_id: [tag, "a", "Z.9_-"],
        plain: [],
    }


def test_a_batch_has_tags_for_each(client: httpx.Client, queue: str, tag: str):
    batch = [{"kind": "Baz", "queue": queue, "tags": tags} for tags in ([tag], [], [tag, "b"])]
    answer = client.post("/tasks/batch", json=batch)
    assert answer.status_code == 201
    ids = answer.json()["ids"]
    assert [each["id"] for each in listed(client, f"tag:{tag}")] == [ids[2], ids[0]]


def test_filters_of_tags_are_alternatives_and_others_hold_too(
    client: httpx.Client, queue: str, tag: str
):
    one = put(client, kind="Baz", queue=queue, tags=[f"{tag}1"])
    both = put(client, kind="Foo", queue=queue, tags=[f"{tag}1", f"{tag}2"])
    two = put(client, kind="Baz", queue=queue, tags=[f"{tag}2"])
    client.post(f"/tasks/{two}/cancel")

    def found(*filters: str) -> list[str]:
        return [each["id"] for each in listed(client, *filters)]

    assert found(f"tag:{tag}1", f"tag:{tag}2") == [two, both, one]
    assert found(f"tag:{tag}1", f"tag:{tag}2", "kind:Baz") == [two, one]
    assert found(f"tag:{tag}2", "status:Cancelled") == [two]
    assert found(f"tag:{tag}2", "status:Pending", f"queue:{queue}") == [both]
    assert found(f"tag:{tag}") == []


def test_pages_go_on_with_the_tag(client: httpx.Client, queue: str, tag: str):
    ids = [put(client, kind="Baz", queue=queue, tags=[tag]) for _ in range(5)]
    seen: list[str] = []
    address: str | None = f"/tasks?filter=tag:{tag}&limit=2"
    while address is not None:
        answer = client.get(address)
        seen += [each["id"] for each in answer.json()]
        address = answer.links["next"]["url"] if "next" in answer.links else None
    assert seen == ids[::-1]


def test_many_are_cancelled_by_their_tag(client: httpx.Client, queue: str, tag: str):
    ids = [put(client, kind="Baz", queue=queue, tags=[tag]) for _ in range(2)]
    other = put(client, kind="Baz", queue=queue)
    answer = client.post("/tasks/cancel", params={"filter": f"tag:{tag}"})
    assert (answer.status_code, answer.json()["changed"]) == (200, 2)
    assert [get(client, each)["status"] for each in [*ids, other]] == [
        "Cancelled",
        "Cancelled",
        "Pending",
    ]


@pytest.mark.parametrize(
    ("tags", "path"),
    [
        ([f"tag{n}" for n in range(11)], "$.tags"),
        (["a b"], "$.tags[0]"),
        (["a", ""], "$.tags[1]"),
        (["x" * 129], "$.tags[0]"),
        (["ü"], "$.tags[0]"),
        ([7], "$.tags[0]"),
        ([None], "$.tags[0]"),
        ("a", "$.tags"),
        ({"a": 1}, "$.tags"),
        (None, "$.tags"),
    ],
)
def test_what_is_no_tag_is_refused(client: httpx.Client, tags: Any, path: str):
    answer = client.put("/tasks", json={"kind": "Baz", "tags": tags})
    fault(answer, path)
    answer = client.post("/tasks/batch", json=[{"kind": "Baz"}, {"kind": "Baz", "tags": tags}])
    fault(answer, path.replace("$", "$[1]"))


@pytest.mark.parametrize("wrong", ["tag:", "tag:a b", "tag:" + "x" * 129, "tags:a", "tag"])
def test_a_filter_that_names_no_tag_is_refused(client: httpx.Client, wrong: str):
    detail = fault(client.get("/tasks", params={"filter": wrong}), "filter")
    assert "tag" in detail
    assert "letters" in detail or "tag:<tag>" in detail


def test_the_stream_of_changes_says_that_it_knows_no_tags(client: httpx.Client):
    fault(client.get("/events", params={"filter": "tag:a"}), "filter")


def test_a_schedule_gives_its_tags_to_its_tasks(client: httpx.Client, queue: str, tag: str):
    name = f"tagged-{uuid4().hex[:8]}"
    body = {"kind": "Baz", "cron": "0 3 1 1 *", "queue": queue, "tags": [tag, "b"]}
    assert client.put(f"/schedules/{name}", json=body).json()["tags"] == [tag, "b"]
    triggered = client.post(f"/schedules/{name}/trigger").json()["id"]
    assert get(client, triggered)["tags"] == [tag, "b"]
    changed = client.patch(f"/schedules/{name}", json={"tags": []})
    assert (changed.status_code, changed.json()["tags"]) == (200, [])
    fault(client.patch(f"/schedules/{name}", json={"tags": ["a b"]}), "$.tags[0]")
    client.delete(f"/schedules/{name}")
