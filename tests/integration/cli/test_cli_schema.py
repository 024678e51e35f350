"""``migrate``: the schema is made once, by any number at once, and can be looked at before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.cli.conftest import Call
    from tests.integration.processes import Programs

AWAY = "postgresql://127.0.0.1:1/nowhere"
DONE = (0, "up to date\n", "")


def test_makes_the_schema_once(call: Call, unmigrated: Programs):
    assert "applied: " in unmigrated.good("migrate")
    assert call("migrate", **unmigrated.env) == DONE


def test_checking_changes_nothing(call: Call, unmigrated: Programs):
    for _ in range(2):
        called = call("migrate --check", **unmigrated.env)
        assert (called.code, called.err) == (1, "")
        assert "pending: " in called.out
    assert call("migrate", **unmigrated.env).code == 0
    assert call("migrate --check", **unmigrated.env) == DONE


def test_what_is_printed_makes_the_schema(call: Call, unmigrated: Programs, schema: str):
    script = call("migrate --print", TASKSCHEDULER_SCHEMA=schema).out
    with psycopg.connect(unmigrated.env["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(script.encode())
    assert call("migrate --check", **unmigrated.env) == DONE
    assert call("tasks list", **unmigrated.env) == (0, "", "")


def test_any_number_may_run_at_once(unmigrated: Programs):
    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(unmigrated.good, "migrate") for _ in range(4)]
    said = [one.result() == "up to date\n" for one in running]
    assert sorted(said) == [False, True, True, True]


@pytest.fixture
def awkward(unmigrated: Programs, schema: str) -> Iterator[Programs]:
    """Run programs on a schema with an awkward name."""
    name = f'{schema} "x"; -- \N{SNOWMAN}'
    unmigrated.env["TASKSCHEDULER_SCHEMA"] = name
    yield unmigrated
    drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
    options = "-c client_min_messages=warning"
    url = unmigrated.env["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True, options=options) as connection:
        connection.execute(drop)


def test_a_schema_may_have_an_awkward_name(call: Call, awkward: Programs):
    assert call("migrate", **awkward.env).code == 0
    task_id = call("tasks add Baz", **awkward.env).out.strip()
    awkward.good("worker", "--drain")
    assert "Completed" in call(f"tasks show {task_id}", **awkward.env).out


@pytest.mark.parametrize("command", ["migrate", "migrate --check", "tasks list"])
def test_a_database_that_is_away_is_one_line(call: Call, command: str):
    called = call(command, DATABASE_URL=AWAY)
    assert (called.code, called.out) == (1, "")
    assert len(called.err.splitlines()) == 1


def test_a_schema_that_is_missing_is_one_line(call: Call, unmigrated: Programs):
    called = call("tasks list", **unmigrated.env)
    assert called.code == 1
    assert "taskscheduler migrate" in called.err
    assert len(called.err.splitlines()) == 1
