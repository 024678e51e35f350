"""Every file in examples/ does what it says, run as a reader would run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
SECONDS: Final = 30.0


def environment(more: Mapping[str, str]) -> dict[str, str]:
    ours = ("TASKSCHEDULER_", "DATABASE_URL")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)} | dict(more)


def run(*arguments: str, **more: str) -> str:
    command = [sys.executable, "-W", "error", *arguments]
    ran = subprocess.run(
        command,
        cwd=EXAMPLES,
        env=environment(more),
        capture_output=True,
        check=False,
        text=True,
        timeout=SECONDS * 2,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture
def database(postgres_url: str, schema: str) -> dict[str, str]:
    settings = {"DATABASE_URL": postgres_url, "TASKSCHEDULER_SCHEMA": schema}
    run("-m", "taskscheduler", "migrate", **settings)
    return settings


@pytest.fixture
def orders(postgres_url: str) -> Iterator[str]:
    name = "example_orders"
    yield name
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS example_orders")


def test_every_example_is_tested():
    assert {file.stem for file in EXAMPLES.glob("*.py")} == {
        "embed_fastapi",
        "embed_litestar",
        "handlers",
        "library",
        "producer_in_transaction",
        "recurring",
    }


def test_the_library_shows_every_verdict():
    said = run("library.py")
    assert "send_receipt: 1200 cents to ada@example.org, attempt 2\n" in said
    assert "resize_picture: Completed after 1 attempt(s)" in said
    assert "await_payment: Cancelled after 2 attempt(s)" in said
    assert "charge_card: Failed after 1 attempt(s)" in said
    assert "send_receipt: Failed after 1 attempt(s)" in said
    assert "`$.cents`" in said


def test_a_schedule_fires_night_after_night():
    assert run("recurring.py").splitlines() == [
        "it will fire at 28 March 02:00 UTC",
        "it will fire at 29 March 01:00 UTC",
        "report to team: 28 March 03:00 in Berlin, 02:00 in UTC",
        "report to team: 29 March 03:00 in Berlin, 01:00 in UTC",
        "report to team: 03 April 03:00 in Berlin, 01:00 in UTC",
    ]


def test_what_was_stored_in_a_transaction_is_run_by_a_worker(
    database: dict[str, str], orders: str, postgres_url: str
):
    stored, refused = run("producer_in_transaction.py", **database).splitlines()
    assert stored.startswith("stored order 1 and task ")
    assert refused == "order 1 is there already: its second task was rolled back"
    worker = ("-m", "taskscheduler", "worker", "--app", "handlers:handlers", "--drain")
    assert run(*worker, **database) == "charge_order: 1 in attempt 1\n"
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT number, charges FROM example_orders").fetchall()
    assert found == [(1, 1)]
    listed = run("-m", "taskscheduler", "tasks", "list", "--json", **database)
    assert [task["status"] for task in msgspec.json.decode(listed)] == ["Completed"]


@contextmanager
def served(name: str, port: int, more: Mapping[str, str], log: Path) -> Generator[str]:
    command = [sys.executable, "-m", "uvicorn", f"{name}:app", f"--port={port}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=EXAMPLES, env=environment(more), stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + SECONDS
        while "Uvicorn running" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) in {0, -signal.SIGTERM}, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def until_completed(client: httpx.Client, task_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + SECONDS
    while True:
        task: dict[str, Any] = client.get(f"/tasks/{task_id}").raise_for_status().json()
        if task["status"] == "Completed":
            return task
        assert time.monotonic() < deadline, task
        time.sleep(0.02)


@pytest.fixture(params=["memory", "postgres"])
def where(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "memory":
        return {}
    settings: dict[str, str] = request.getfixturevalue("database")
    return settings


@pytest.mark.parametrize("name", ["embed_litestar", "embed_fastapi"])
def test_an_application_schedules_and_runs(
    name: str, where: dict[str, str], free_tcp_port: int, tmp_path: Path
):
    log = tmp_path / "log"
    with served(name, free_tcp_port, where, log) as address, httpx.Client(base_url=address) as web:
        accepted = web.post("/members/Ada")
        assert accepted.status_code == 202, accepted.text
        assert until_completed(web, accepted.json()["task_id"])["attempt"] == 1
        assert web.get("/tasks/018e917e-0000-7000-8000-000000000000").status_code == 404
    assert "welcome, Ada" in log.read_text()


def test_the_litestar_application_offers_the_routes_of_tasks(free_tcp_port: int, tmp_path: Path):
    log = tmp_path / "log"
    with (
        served("embed_litestar", free_tcp_port, {}, log) as address,
        httpx.Client(base_url=address) as web,
    ):
        stored = web.put("/tasks", json={"kind": "welcome", "payload": {"name": "Bob"}})
        assert stored.status_code == 201, stored.text
        until_completed(web, stored.json()["id"])
        refused = web.put("/tasks", json={"kind": "unheard-of"})
        assert refused.status_code == 400
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["known_kinds"] == ["welcome"]
        assert web.get("/nowhere").headers["content-type"] == "application/json"
