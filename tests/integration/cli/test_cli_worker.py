"""``worker``: any number of processes share the work, and each ends as it is told to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import TaskStatus
from taskscheduler.adapters.embedded import EmbeddedPostgres
from tests.integration.processes import Program, Programs, eventually, every_task, store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from taskscheduler import Task

MANY = 10_000
WITH_APP = ("worker", "--app", "jobs:handlers")


def tasks_of(programs: Programs) -> list[Task]:
    return every_task(programs.env["DATABASE_URL"], programs.env["TASKSCHEDULER_SCHEMA"])


def put(programs: Programs, *kinds: str) -> list[UUID]:
    url, schema = programs.env["DATABASE_URL"], programs.env["TASKSCHEDULER_SCHEMA"]
    return store(url, schema, [(kind, None) for kind in kinds])


def statuses(programs: Programs) -> Counter[str]:
    return Counter(task.status.value for task in tasks_of(programs))


def printed(*programs: Program) -> list[str]:
    return [line for program in programs for line in program.lines()]


def test_draining_runs_what_is_due_and_ends(programs: Programs):
    put(programs, "Baz", "Baz", "Foo")
    programs.good("tasks", "add", "Baz", "--at", "2093-01-01T00:00:00Z")
    lines = programs.good("worker", "--drain").splitlines()
    assert len([line for line in lines if re.fullmatch(r"Baz \d{1,3}", line)]) == 2
    assert len([line for line in lines if re.fullmatch(r"Foo [0-9a-f-]{36}", line)]) == 1
    assert statuses(programs) == {"Completed": 3, "Pending": 1}


def test_draining_nothing_ends_at_once(programs: Programs):
    assert programs.good("worker", "--drain") == ""


def test_baz_draws_from_0_to_343(programs: Programs):
    put(programs, *["Baz"] * MANY)
    lines = programs.good("worker", "--drain").splitlines()
    drawn = Counter(int(line.removeprefix("Baz ")) for line in lines)
    assert drawn.total() == MANY
    assert set(drawn) == set(range(344))


def test_your_own_handlers_are_found_in_the_current_folder(programs: Programs):
    ids = put(programs, "Quick", "Baz")
    lines = programs.good(*WITH_APP, "--drain").splitlines()
    assert f"Quick {ids[0]}" in lines
    assert len(lines) == 2


def test_kinds_without_a_handler_here_are_left_alone(programs: Programs):
    put(programs, "Quick", "Baz")
    programs.good("worker", "--drain")
    assert {task.kind: task.status for task in tasks_of(programs)} == {
        "Quick": TaskStatus.PENDING,
        "Baz": TaskStatus.COMPLETED,
    }


def test_only_the_named_queues_are_worked_on(programs: Programs):
    for queue in ("a", "b", "c", "default"):
        programs.good("tasks", "add", "Baz", "--queue", queue)
    programs.good("worker", "--drain", "--queue", "a", "--queue", "b")
    assert {task.queue for task in tasks_of(programs) if task.status.is_final} == {"a", "b"}
    programs.good("worker", "--drain", TASKSCHEDULER_QUEUE="c,default")
    assert statuses(programs) == {"Completed": 4}


@pytest.mark.parametrize("apart", [False, True], ids=["one-command", "two-commands"])
def test_two_processes_share_the_work_and_repeat_none(programs: Programs, *, apart: bool):
    if apart:
        workers = [programs.start(*WITH_APP), programs.start(*WITH_APP)]
    else:
        workers = [programs.start(*WITH_APP, "--processes", "2")]
    for worker in workers:
        worker.says("listening for wake-ups")
    put(programs, *["Quick"] * MANY)
    eventually(lambda: len(printed(*workers)) >= MANY, "all are printed", 60)
    eventually(lambda: statuses(programs) == {"Completed": MANY}, "all are completed")
    for worker in workers:
        worker.stop()
    tasks = tasks_of(programs)
    lines = printed(*workers)
    assert sorted(lines) == sorted(f"Quick {task.id}" for task in tasks)
    assert {task.attempt for task in tasks} == {1}
    if apart:
        assert all(worker.lines() for worker in workers)


def test_several_processes_drain_together(programs: Programs):
    put(programs, *["Baz"] * 1_000)
    said = programs.good("worker", "--drain", "--processes", "2", PYTHONUNBUFFERED="1")
    assert len(re.findall(r"^Baz \d{1,3}$", said, re.MULTILINE)) == 1_000
    assert statuses(programs) == {"Completed": 1_000}


def test_sigterm_lets_running_tasks_finish_and_gives_the_rest_back(programs: Programs):
    put(programs, *["Quick"] * 500)
    put(programs, *["Gate"] * 40)
    worker = programs.start(*WITH_APP, "--concurrency", "2")
    eventually(lambda: len(worker.lines("Gate")) == 2, "two run")
    worker.process.terminate()
    eventually(lambda: statuses(programs)["InProgress"] == 2, "the rest is given back")
    programs.write("open", "")
    worker.ends()
    assert len(worker.lines("Gate")) == 2
    gates = [task for task in tasks_of(programs) if task.kind == "Gate"]
    assert Counter((task.status.value, task.attempt) for task in gates) == {
        ("Completed", 1): 2,
        ("Pending", 0): 38,
    }


def test_what_does_not_finish_in_time_is_given_back_unburned(programs: Programs):
    put(programs, *["Gate"] * 5)
    worker = programs.start(*WITH_APP, "--concurrency", "2", "--shutdown-timeout", "0.2")
    eventually(lambda: len(worker.lines("Gate")) == 2, "two run")
    worker.stop()
    assert {(task.status, task.attempt) for task in tasks_of(programs)} == {(TaskStatus.PENDING, 0)}


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_second_signal_forces_the_end(programs: Programs, processes: str):
    put(programs, *["Gate"] * 3)
    patient = ("--shutdown-timeout", "600", "--processes", processes)
    worker = programs.start(*WITH_APP, *patient)
    eventually(lambda: len(worker.lines("Gate")) == 3, "all run")
    worker.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        worker.process.wait(1)
    worker.process.send_signal(signal.SIGINT)
    worker.ends()
    assert {(task.status, task.attempt) for task in tasks_of(programs)} == {(TaskStatus.PENDING, 0)}


def test_when_the_supervisor_is_killed_its_processes_end(programs: Programs):
    """Orderly: what runs may finish, and the rest is given back."""
    put(programs, *["Gate"] * 4)
    patient = ("--shutdown-timeout", "600", "--processes", "2", "--concurrency", "1")
    supervisor = programs.start(*WITH_APP, *patient)
    eventually(lambda: len(supervisor.lines("Gate")) == 2, "two run")
    pid = supervisor.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(pid, signal.SIGKILL)
    supervisor.process.wait()
    eventually(lambda: statuses(programs)["InProgress"] == 2, "the rest is given back")
    programs.write("open", "")
    eventually(lambda: not any(Path(f"/proc/{each}").exists() for each in children), "they end")
    assert statuses(programs) == {"Completed": 2, "Pending": 2}


def test_a_killed_workers_tasks_run_again_within_two_leases(programs: Programs):
    put(programs, *["Gate"] * 5)
    killed = programs.start(*WITH_APP, "--lease", "2")
    eventually(lambda: len(killed.lines("Gate")) == 5, "all run")
    killed.kill()
    programs.write("open", "")
    other = programs.start(*WITH_APP, "--lease", "2")
    eventually(lambda: statuses(programs) == {"Completed": 5}, "they run again", 15)
    other.stop()
    assert {task.attempt for task in tasks_of(programs)} == {2}


def test_a_crashed_process_of_several_is_replaced(programs: Programs):
    worker = programs.start(*WITH_APP, "--processes", "2", "--lease", "2")

    def children() -> list[int]:
        listed = subprocess.run(
            ["pgrep", "-P", str(worker.process.pid)], capture_output=True, check=False, text=True
        )
        return [int(pid) for pid in listed.stdout.split()]

    eventually(lambda: len(children()) == 2, "two processes")
    before = children()
    subprocess.run(["kill", "-KILL", str(before[0])], check=True)
    eventually(lambda: len(set(children()) - set(before)) == 1, "another takes its place")
    put(programs, "Baz")
    eventually(lambda: statuses(programs) == {"Completed": 1}, "the work goes on")
    worker.stop()


def test_waits_for_a_database_that_is_away(tmp_path: Path):
    with (
        EmbeddedPostgres(tmp_path / "postgres") as postgres,
        Programs(tmp_path, DATABASE_URL=postgres.url) as programs,
    ):
        programs.good("migrate")
        task_id = programs.good("tasks", "add", "Baz").strip()
        postgres.stop()
        ended, worker = programs.start("worker"), programs.start("worker")
        worker.says("away")
        ended.says("away")
        ended.stop()
        postgres.start()
        eventually(lambda: worker.lines("Baz "), "it works")
        worker.stop()
        assert "Completed" in programs.good("tasks", "show", task_id)


@pytest.fixture
def target() -> Iterator[ThreadingHTTPServer]:
    """A target on the loopback interface; ``seen`` are the headers that it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Say nothing."""

    seen: list[dict[str, str]] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen = seen  # pyright: ignore[reportAttributeAccessIssue]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_http_targets_are_called_where_that_is_allowed(programs: Programs, target: Any):
    url = f"http://127.0.0.1:{target.server_port}/hook"
    chosen = programs.env["DATABASE_URL"], programs.env["TASKSCHEDULER_SCHEMA"]
    store(*chosen, [("http", {"url": url})])
    programs.good("worker", "--drain", "--no-http-targets")
    assert statuses(programs) == {"Pending": 1}
    programs.good("worker", "--drain")
    assert statuses(programs) == {"Failed": 1}
    assert not target.seen
    (task_id,) = store(*chosen, [("http", {"url": url})])
    secret = "whsec_" + "A" * 40
    programs.good(
        "worker",
        "--drain",
        TASKSCHEDULER_HTTP_ALLOW="10.0.0.0/8, 127.0.0.1",
        TASKSCHEDULER_WEBHOOK_SECRET=f"{secret} {secret}",
    )
    assert statuses(programs) == {"Failed": 1, "Completed": 1}
    (headers,) = target.seen
    assert headers["idempotency-key"] == headers["webhook-id"] == str(task_id)
    assert headers["webhook-signature"].count("v1,") == 2


@pytest.mark.parametrize(
    ("option", "value"), [("--http-allow", "10.0.0.0/99"), ("--webhook-secret", "whsec_hunter2")]
)
def test_what_http_targets_cannot_use_is_refused(programs: Programs, option: str, value: str):
    said = programs.refused("worker", option, value)
    assert option in said
    assert "hunter2" not in said
