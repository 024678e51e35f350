"""Limits over HTTP: kept, guarded by ETags, and gone by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.integration.http.answers import fault, problem, put, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@pytest.fixture
def name(client: httpx.Client) -> Iterator[str]:
    """Name a limit that is gone afterwards."""
    name = f"l-{uuid4().hex[:12]}"
    yield name
    client.delete(f"/limits/{name}")


def test_from_its_making_to_its_end(client: httpx.Client, name: str, queue: str):
    path = f"/limits/{name}"
    asked = {"queue": queue, "concurrency": 10, "rate": "100/s", "burst": 20, "weight": 3}
    made = client.put(path, json=asked)
    assert (made.status_code, made.headers["location"]) == (201, path)
    assert asked.items() <= made.json().items()
    assert made.json()["per_group"] is False
    assert [made.json()[each] for each in ("running", "waiting", "next_at")] == [0, 0, None]
    again = client.put(path, json=asked)
    assert (again.status_code, again.json()) == (200, made.json())
    put(client, kind="Baz", queue=queue)
    found = client.get(path)
    assert found.json() == made.json() | {"waiting": 1}
    assert found.headers["etag"] == made.headers["etag"]
    assert found.json() in client.get("/limits?limit=1000").json()
    changed = client.patch(path, json={"rate": None, "burst": None, "group": "Zoë"})
    assert (changed.status_code, changed.json()["group"]) == (200, "Zoë")
    assert (changed.json()["rate"], changed.json()["concurrency"]) == (None, 10)
    assert changed.headers["etag"] != found.headers["etag"]
    assert client.delete(path).status_code == 204
    problem(client.get(path), 404)
    problem(client.delete(path), 404)
    problem(client.patch(path, json={"weight": 1}), 404)


def test_of_two_editors_the_second_is_told(client: httpx.Client, name: str):
    path = f"/limits/{name}"
    problem(client.put(path, json={"weight": 2}, headers={"If-Match": '"x"'}), 412)
    problem(client.put(path, json={"weight": 2}, headers={"If-Match": "*"}), 412)
    seen = {"If-Match": client.put(path, json={"weight": 2}).headers["etag"]}
    changed = client.put(path, json={"weight": 3}, headers=seen)
    assert changed.status_code == 200
    for method, body in (("PUT", {"weight": 4}), ("PATCH", {"weight": 4}), ("DELETE", None)):
        problem(client.request(method, path, json=body, headers=seen), 412)
    assert client.get(path).json()["weight"] == 3
    seen = {"If-Match": changed.headers["etag"]}
    assert client.patch(path, json={"weight": 4}, headers=seen).status_code == 200
    assert client.delete(path, headers={"If-Match": "*"}).status_code == 204


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("$.concurrency", {"concurrency": 0}),
        ("$.concurrency", {"concurrency": "1"}),
        ("$.concurrency", {}),
        ("$.concurrency", {"queue": "mail"}),
        ("$.rate", {"rate": "10"}),
        ("$.rate", {"rate": "10/y"}),
        ("$.burst", {"burst": 3, "weight": 1}),
        ("$.weight", {"weight": 101}),
        ("$.group", {"group": "", "weight": 1}),
        ("$.per_group", {"group": "a", "per_group": True, "weight": 1}),
        ("$.kind", {"kind": "a b", "weight": 1}),
        ("$.name", {"name": "another", "weight": 1}),
    ],
)
def test_what_is_no_limit(client: httpx.Client, name: str, field: str, body: dict[str, Any]):
    fault(client.put(f"/limits/{name}", json=body), field)


def test_why_and_the_next(client: httpx.Client, name: str):
    """A real worker goes by it, from the answer on."""
    group = uuid4().hex
    path = f"/limits/{name}"
    client.put(path, json={"group": group, "concurrency": 1})
    first = put(client, kind="Gate", group=group)
    until(client, first, "InProgress")
    second = put(client, kind="Gate", group=group)
    (why,) = client.get(f"/tasks/{second}/why").json()["reasons"]
    assert (why["reason"], why["limit"], why["running"]) == ("LimitReached", name, 1)
    assert why["task_ids"] == [first]
    use = client.get(path).json()
    assert (use["running"], use["waiting"]) == (1, 1)
    client.patch(path, json={"concurrency": 2})
    until(client, second, "InProgress")
    for each in (first, second):
        client.post(f"/tasks/{each}/cancel")
    client.put(path, json={"group": group, "rate": "1/h"})
    until(client, put(client, kind="Baz", group=group), "Completed")
    third = put(client, kind="Baz", group=group)
    (why,) = client.get(f"/tasks/{third}/why").json()["reasons"]
    assert (why["reason"], why["limit"]) == ("RateLimited", name)
    assert why["until"] == client.get(path).json()["next_at"]
    assert client.get(f"/tasks/{third}").json()["status"] == "Pending"
    client.delete(path)
    until(client, third, "Completed")


def test_behind_others(client: httpx.Client, programs: Any, queue: str):
    """Of a queue that a worker takes, and that is held back by what runs."""
    worker = programs.start(
        "worker", "--app", "jobs:handlers", "--queue", queue, "--concurrency", "1"
    )
    running = put(client, kind="Gate", queue=queue)
    until(client, running, "InProgress")
    for _ in range(8):  # more than it takes ahead
        put(client, kind="Gate", queue=queue, group="a")
    first, second = (put(client, kind="Gate", queue=queue, group="b") for _ in range(2))
    reasons = [client.get(f"/tasks/{each}/why").json()["reasons"] for each in (first, second)]
    waiting = [each[0] for each in reasons if each[0]["reason"] == "BehindOthers"]
    assert waiting, reasons
    assert waiting[-1]["group"] == "b"
    assert waiting[-1]["ahead"] in {0, 1}
    client.post(f"/tasks/cancel?filter=queue:{queue}")
    client.post(f"/tasks/cancel?filter=queue:{queue}")
    worker.stop()
