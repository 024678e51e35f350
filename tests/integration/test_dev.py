"""``taskscheduler dev``: everything in one process, and nothing lost when it ends, or is killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from taskscheduler.adapters.embedded import EmbeddedPostgres
from tests.integration.processes import JOBS, Program, Programs, eventually
from tests.integration.stubborn import STUBBORN

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 10_000
DEV = ("dev", "--port", "0", "--lease", "2")


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Run programs in a folder; its database does not outlive the test."""
    with Programs(tmp_path) as programs:
        yield programs
    with suppress(OSError), EmbeddedPostgres(tmp_path / ".taskscheduler" / "postgres"):
        """A server that was left behind is adopted here, and stopped."""


def client_of(program: Program) -> httpx.Client:
    """Return a client of the service that ``program`` is."""
    return httpx.Client(base_url=program.address(), timeout=30)


def listed(client: httpx.Client, query: str = "") -> list[str]:
    """Return the ids of all tasks that the filters in ``query`` let through."""
    found: list[str] = []
    address: str | None = f"/tasks?limit=1000{query}"
    while address is not None:
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        found += [task["id"] for task in answer.json()]
        address = answer.links.get("next", {}).get("url")
    return found


def status(client: httpx.Client, task_id: str) -> str:
    return client.get(f"/tasks/{task_id}").json()["status"]


def server_pid(folder: Path) -> int:
    """Return the process id of the database's server."""
    file = folder / ".taskscheduler" / "postgres" / "cluster" / "postmaster.pid"
    return int(file.read_text().split()[0])


def gone(pid: int) -> bool:
    """Tell whether a process has ended; nobody may have asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_what_the_readme_promises(programs: Programs):
    dev = programs.start(*DEV)
    with client_of(dev) as client:
        body = '{"kind": "Foo", "execute_at": "2024-03-30T23:17:10.790146Z"}'
        answer = client.put("/tasks", content=body)
        assert answer.status_code == 201
        task_id = answer.json()["id"]
        assert answer.json() == {"id": task_id}
        query = "&filter=status:Completed&filter=kind:Foo"
        eventually(lambda: listed(client, query) == [task_id], "Foo is completed")
        assert dev.lines("Foo") == [f"Foo {task_id}"]
        task = client.get(f"/tasks/{task_id}").json()
        assert task["execute_at"] == "2024-03-30T23:17:10.790146Z"
        assert client.get("/schema/openapi.json").status_code == 200
        assert task_id in programs.good("tasks", "list")
        assert client.delete(f"/tasks/{task_id}").status_code == 204
        assert client.get(f"/tasks/{task_id}").status_code == 404
    dev.stop()


def test_ten_thousand_at_once(programs: Programs):
    dev = programs.start(*DEV)
    with client_of(dev) as client:
        answer = client.post("/tasks/batch", json=[{"kind": "Baz"}] * MANY)
        assert answer.status_code == 201
        ids: list[str] = answer.json()["ids"]
        eventually(lambda: len(dev.lines("Baz ")) >= MANY, "all are printed", 60)
        done = "&filter=status:Completed&filter=kind:Baz"
        eventually(lambda: len(listed(client, done)) == MANY, "all are completed")
        assert listed(client, done) == ids[::-1]
        drawn = [int(line.removeprefix("Baz ")) for line in dev.lines("Baz ")]
        assert (len(drawn), min(drawn), max(drawn)) == (MANY, 0, 343)
    dev.stop()
    assert len(dev.lines("Baz ")) == MANY


def test_ctrl_c_ends_it_in_order_and_the_next_start_finds_the_data(programs: Programs):
    dev = programs.start(*DEV)
    with client_of(dev) as client:
        done = client.put("/tasks", json={"kind": "Baz"}).json()["id"]
        eventually(lambda: status(client, done) == "Completed", "Baz is completed")
        later = {"kind": "Baz", "execute_at": "2093-01-01T00:00:00Z"}
        waiting = client.put("/tasks", json=later).json()["id"]
        running = client.put("/tasks", json={"kind": "Foo"}).json()["id"]
        eventually(lambda: status(client, running) == "InProgress", "Foo runs")
        server = server_pid(programs.folder)
        dev.interrupt()
        dev.ends()
    assert gone(server)
    assert dev.lines("Foo") == [f"Foo {running}"]
    again = programs.start(*DEV)
    with client_of(again) as client:
        assert listed(client) == [running, waiting, done]
        assert [status(client, one) for one in (running, waiting, done)] == [
            "Completed",
            "Pending",
            "Completed",
        ]
    again.stop()


def test_a_second_ctrl_c_gives_running_tasks_back(programs: Programs):
    programs.write("jobs.py", JOBS)
    dev = programs.start(*DEV, "--shutdown-timeout", "600", "--app", "jobs:handlers")
    with client_of(dev) as client:
        task_id = client.put("/tasks", json={"kind": "Gate"}).json()["id"]
        eventually(lambda: status(client, task_id) == "InProgress", "Gate runs")
    dev.interrupt()
    with pytest.raises(subprocess.TimeoutExpired):
        dev.process.wait(1)
    dev.interrupt()
    dev.ends()
    again = programs.start(*DEV)
    with client_of(again) as client:
        task = client.get(f"/tasks/{task_id}").json()
        assert (task["status"], task["attempt"]) == ("Pending", 0)
    again.stop()


@pytest.mark.parametrize("server_too", [True, False], ids=["server-too", "server-survives"])
def test_what_ran_when_it_was_killed_runs_again(programs: Programs, *, server_too: bool):
    dev = programs.start(*DEV)
    with client_of(dev) as client:
        tasks = [{"kind": "Foo"}] * 20
        ids: list[str] = client.post("/tasks/batch", json=tasks).json()["ids"]
        running = "&filter=status:InProgress"
        eventually(lambda: len(listed(client, running)) == 20, "they run")
        server = server_pid(programs.folder)
        dev.kill()
        if server_too:
            os.kill(server, signal.SIGKILL)
            eventually(lambda: gone(server), "the server is gone")
    again = programs.start(*DEV)
    with client_of(again) as client:
        eventually(lambda: len(again.lines("Foo ")) == 20, "they run again")
        assert {line.removeprefix("Foo ") for line in again.lines("Foo ")} == set(ids)
        completed = "&filter=status:Completed"
        eventually(lambda: len(listed(client, completed)) == 20, "they are completed")
        attempts = client.get(f"/tasks/{ids[0]}").json()["attempts"]
        assert [each["outcome"] for each in attempts] == ["rescue", "complete"]
    again.stop()
    assert dev.lines("Foo ") == []


def test_a_port_that_is_taken_is_one_line(programs: Programs):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert port in programs.refused("dev", TASKSCHEDULER_PORT=port)
    assert not (programs.folder / ".taskscheduler").exists()


def test_a_folder_that_is_in_use_is_one_line(programs: Programs):
    dev = programs.start(*DEV)
    dev.address()
    assert "in use" in programs.refused(*DEV)
    dev.stop()


class Teapot(BaseHTTPRequestHandler):
    """Answers that it is a teapot."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(418)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - likewise
        """Say nothing."""


@pytest.fixture
def teapot() -> Iterator[str]:
    """Give the address of a server that is a teapot."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Teapot) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_bar_prints_the_status_code(programs: Programs, teapot: str):
    dev = programs.start(*DEV, "--bar-url", teapot)
    with client_of(dev) as client:
        task_id = client.put("/tasks", json={"kind": "Bar"}).json()["id"]
        eventually(lambda: status(client, task_id) == "Completed", "Bar is completed")
    dev.stop()
    assert [re.findall(r"\d+", line) for line in dev.lines("Bar")] == [["418"]]


def test_bar_is_tried_again_when_nobody_answers(programs: Programs):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        dev = programs.start(*DEV, TASKSCHEDULER_BAR_URL=address)
        with client_of(dev) as client:
            body = {"kind": "Bar", "max_attempts": 2}
            task_id = client.put("/tasks", json=body).json()["id"]
            eventually(lambda: status(client, task_id) == "Failed", "Bar has failed")
            attempts = client.get(f"/tasks/{task_id}").json()["attempts"]
        dev.stop()
    assert Counter(each["outcome"] for each in attempts) == {"retry": 1, "fail": 1}
    for each in attempts:
        assert each["error"]["type"] == "ConnectError"
        assert "httpx" in each["error"]["traceback"]


@pytest.mark.parametrize("kind", ["Thread", "ToThread"])
def test_a_second_signal_ends_it_whatever_a_handler_does(programs: Programs, kind: str):
    """In order all the same: the database is stopped, and its task given back."""
    programs.write("stubborn.py", STUBBORN)
    arguments = ("--app", "stubborn:handlers", "--shutdown-timeout", "600")
    dev = programs.start(*DEV, *arguments)
    with client_of(dev) as client:
        task_id = client.put("/tasks", json={"kind": kind}).json()["id"]
    eventually(lambda: dev.lines("begun"), "it runs")
    server = server_pid(programs.folder)
    dev.interrupt()
    with pytest.raises(subprocess.TimeoutExpired):
        dev.process.wait(1)
    dev.interrupt()
    dev.ends(seconds=20)
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
    again = programs.start(*DEV, "--app", "stubborn:handlers", "--concurrency", "1")
    with client_of(again) as client:
        assert client.get(f"/tasks/{task_id}").json()["attempt"] <= 1
    again.kill()
