"""Server-sent events: what changes, while it changes."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from taskscheduler.entrypoints.http.routes.events import CLIENTS_MAX
from tests.integration.http.answers import fault, put, until
from tests.integration.processes import Programs

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

FAR = "2093-05-06T07:08:09.123456Z"


class Stream:
    """Events as they come."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def next(self) -> dict[str, str]:
        """Return the next event, or a comment under the name ''."""
        found: dict[str, str] = {}
        for line in self._lines:
            if line:
                name, _, value = line.partition(": ")
                found[name.removesuffix(":")] = value
            elif found:
                return found
        pytest.fail("the stream has ended")

    def change(self) -> dict[str, Any]:
        """Return the next change of a task."""
        event = self.next()
        assert event["event"] == "task", event
        return json.loads(event["data"]) | {"event_id": event.get("id")}


@contextmanager
def watching(client: httpx.Client, last: str | None = None, **params: Any) -> Generator[Stream]:
    headers = {} if last is None else {"Last-Event-ID": last}
    with client.stream("GET", "/events", params=params, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = Stream(answer.iter_lines())
        assert "watching" in stream.next().values()
        yield stream


def test_changes_are_told_as_they_come(client: httpx.Client, queue: str):
    with watching(client, filter=f"queue:{queue}") as stream:
        put(client, kind="Baz", queue=f"{queue}-2")
        task_id = put(client, kind="Baz", queue=queue)
        change = stream.change()
        assert (change["id"], change["status"], change["kind"]) == (task_id, "Pending", "Baz")
        client.post(f"/tasks/{task_id}/cancel")
        change = stream.change()
        assert (change["status"], change["event_id"]) == ("Cancelled", change["finished_at"])


def test_a_task_is_watched_to_its_end(client: httpx.Client, queue: str):
    task_id = put(client, kind="Baz", queue=queue, execute_at=FAR)
    with watching(client, id=task_id) as stream:
        assert stream.change()["process_at"] == FAR
        put(client, kind="Baz", queue=queue)
        client.post(f"/tasks/{task_id}/run")
        assert stream.change()["process_at"] < FAR
        client.delete(f"/tasks/{task_id}")
        event = stream.next()
        assert (event["event"], json.loads(event["data"])) == ("deleted", {"id": task_id})


def test_who_comes_back_is_told_what_was_missed(client: httpx.Client, queue: str):
    first = put(client, kind="Baz", queue=queue)
    with watching(client, filter=f"queue:{queue}") as stream:
        client.post(f"/tasks/{first}/cancel")
        last = stream.change()["event_id"]
    second = put(client, kind="Baz", queue=queue)
    client.post(f"/tasks/{second}/cancel")
    with watching(client, last, filter=f"queue:{queue}") as stream:
        assert [stream.change()["id"] for _ in range(2)] == [first, second]


def test_a_task_that_a_worker_runs_is_told(client: httpx.Client):
    task_id = put(client, kind="Baz", execute_at=FAR)
    with watching(client, id=task_id) as stream:
        client.post(f"/tasks/{task_id}/run")
        seen = [stream.change()["status"]]
        while seen[-1] != "Completed":
            seen.append(stream.change()["status"])
    until(client, task_id, "Completed")


def test_who_leaves_makes_room(client: httpx.Client, queue: str):
    """More come, one after the other, than may watch at once."""
    for _ in range(CLIENTS_MAX + 5):
        with watching(client, filter=f"queue:{queue}"):
            pass


def test_a_service_stops_though_somebody_watches(programs: Programs, queue: str):
    api = programs.start("api", "--port", "0")
    with httpx.Client(base_url=api.address(), timeout=30) as client, ExitStack() as stack:
        stream = stack.enter_context(watching(client, filter=f"queue:{queue}"))
        api.process.terminate()
        event = stream.next()
        assert (event["event"], "stops" in event["data"]) == ("end", True)
    api.ends(seconds=5)  # less than the grace that hanging answers are given


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"filter": "status:Pending"}, "filter"),
        ({"filter": "nonsense"}, "filter"),
        ({"filter": "kind:a", "id": str(uuid4())}, "id"),
        ({"id": "nonsense"}, "id"),
        ({"id": [str(uuid4()) for _ in range(101)]}, "id"),
        ({"typo": 1}, "typo"),
    ],
)
def test_what_makes_no_sense_is_refused(client: httpx.Client, params: dict[str, Any], path: str):
    fault(client.get("/events", params=params), path)


@pytest.mark.parametrize("last", ["nonsense", "2030-01-01T00:00:00", "0001-01-01T00:00:00Z"])
def test_what_is_no_events_id_is_refused(client: httpx.Client, last: str):
    fault(client.get("/events", headers={"Last-Event-ID": last}), "Last-Event-ID")
