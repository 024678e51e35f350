"""``doctor``: what it finds on real databases, well ones and others."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from taskscheduler import Scheduler
from taskscheduler.container import migrate_schema
from taskscheduler.domain.schedule import NewSchedule
from taskscheduler.domain.worker import WorkerProfile
from tests.integration.processes import store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.cli.conftest import Call

ORDER = [
    "connection",
    "server",
    "schema",
    "clock",
    "xmin horizon",
    "dead rows",
    "oldest due",
    "workers",
    "threads",
    "partitions",
    "schedules",
    "wake-ups",
]


class Doctor:
    """Asks ``doctor --json`` about one schema."""

    def __init__(self, call: Call, url: str, schema: str) -> None:
        self._call = call
        self.env = {"DATABASE_URL": url, "TASKSCHEDULER_SCHEMA": schema}

    def __call__(self, **env: str) -> tuple[int, dict[str, Any]]:
        called = self._call("doctor --json", **{**self.env, **env})
        assert called.err == ""
        answer = json.loads(called.out)
        self.order = list(dict.fromkeys(each["check"] for each in answer["checks"]))
        return called.code, {each["check"]: each for each in answer["checks"]}


@pytest.fixture
def doctor(call: Call, postgres_url: str, schema: str) -> Doctor:
    asyncio.run(migrate_schema(postgres_url, schema))
    return Doctor(call, postgres_url, schema)


@pytest.fixture
def admin(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def join(url: str, schema: str, kind: str) -> None:
    async def work() -> None:
        async with Scheduler.postgres(url, schema=schema, pool_size=2) as scheduler:
            await scheduler.store.workers.join(
                WorkerProfile(
                    name="there",
                    queues=frozenset({"default"}),
                    kinds={kind: 1},
                    concurrency=1,
                    lease=timedelta(hours=1),
                )
            )

    asyncio.run(work())


def test_a_well_one_is_well(doctor: Doctor, postgres_url: str, schema: str):
    join(postgres_url, schema, "mail")
    code, found = doctor()
    assert doctor.order == ORDER
    assert (code, {each["verdict"] for each in found.values()}) == (0, {"ok"}), found
    assert found["wake-ups"]["found"].startswith("NOTIFY came back in ")
    assert found["partitions"]["found"] == "prepared for 7 days ahead"


def test_for_humans_it_says_what_to_do(call: Call, doctor: Doctor):
    called = call("doctor", **doctor.env)
    assert called.code == 0  # a warning: nothing waits for the worker that is not there
    assert "warn  workers       0 live\n" in called.out
    assert "do:    start a worker: taskscheduler worker" in called.out


def test_a_database_that_is_away(doctor: Doctor):
    code, found = doctor(DATABASE_URL="postgresql://127.0.0.1:1/nowhere")
    assert code == 1
    assert found["connection"]["verdict"] == "fail"
    assert found.keys() == {"connection"}


def test_a_url_that_is_none_is_one_line(call: Call, doctor: Doctor):
    called = call("doctor", **{**doctor.env, "DATABASE_URL": "mysql://x"})
    assert (called.code, called.out, len(called.err.splitlines())) == (2, "", 1)


def test_a_schema_that_is_missing(call: Call, postgres_url: str, schema: str):
    code, found = Doctor(call, postgres_url, schema)()
    assert code == 1
    assert found["schema"]["remedy"] == "run: taskscheduler migrate"
    assert found["wake-ups"]["verdict"] == "ok"


def test_what_is_due_and_what_nobody_takes(
    doctor: Doctor, admin: psycopg.Connection[Any], postgres_url: str, schema: str
):
    join(postgres_url, schema, "other")
    store(postgres_url, schema, [("mail", None)])
    code, found = doctor()
    assert code == 1
    assert found["oldest due"]["verdict"] == "ok"
    assert found["workers"]["found"] == "1 live; none for kind mail in queue default"
    admin.execute(
        sql.SQL("UPDATE {} SET process_at = process_at - interval '20 minutes'").format(
            sql.Identifier(schema, "live")
        )
    )
    _, found = doctor()
    assert found["oldest due"]["verdict"] == "fail"
    assert found["oldest due"]["found"].endswith("late: kind mail in queue default")


def test_a_schedule_that_nobody_fires(
    doctor: Doctor, admin: psycopg.Connection[Any], postgres_url: str, schema: str
):
    async def put() -> None:
        async with Scheduler.postgres(postgres_url, schema=schema) as scheduler:
            await scheduler.schedules.put(NewSchedule(name="nightly", kind="mail", cron="@daily"))

    asyncio.run(put())
    assert doctor()[1]["schedules"]["verdict"] == "ok"
    admin.execute(
        sql.SQL("UPDATE {} SET next_fire_at = now() - interval '20 minutes'").format(
            sql.Identifier(schema, "schedule")
        )
    )
    code, found = doctor()
    assert (code, found["schedules"]["verdict"]) == (1, "fail")
    assert found["schedules"]["found"].startswith("nightly should have fired 0:20:0")


def test_a_silent_worker(
    doctor: Doctor, admin: psycopg.Connection[Any], postgres_url: str, schema: str
):
    join(postgres_url, schema, "mail")
    join(postgres_url, schema, "mail")
    admin.execute(
        sql.SQL(
            "UPDATE {t} SET seen_at = seen_at - interval '1 day' "
            "WHERE id = (SELECT min(id) FROM {t})"
        ).format(t=sql.Identifier(schema, "worker"))
    )
    code, found = doctor()
    assert (code, found["workers"]["verdict"]) == (0, "warn")
    assert found["workers"]["found"] == "1 live, 1 silent"


def test_days_that_nobody_prepared(doctor: Doctor, admin: psycopg.Connection[Any], schema: str):
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    name = sql.Identifier(schema, f"finished_{tomorrow:%Y%m%d}")
    admin.execute(sql.SQL("DROP TABLE {}").format(name))
    code, found = doctor()
    assert (code, found["partitions"]["verdict"]) == (0, "warn")


def test_an_old_transaction_is_named(
    doctor: Doctor, postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("taskscheduler.domain.checkup.HELD_WARN", timedelta(0))
    options = "-c default_transaction_isolation=repeatable\\ read"
    with psycopg.connect(postgres_url, options=options, application_name="forgetful") as held:
        held.execute("SELECT 1 FROM pg_class LIMIT 1")
        _, found = doctor()
        assert found["xmin horizon"]["verdict"] == "warn"
        assert (
            f"pid {held.info.backend_pid} (idle in transaction)" in found["xmin horizon"]["found"]
        )
        assert "pg_terminate_backend" in found["xmin horizon"]["remedy"]


def test_behind_a_pooler_wake_ups_fail_and_it_says_so(
    doctor: Doctor, pgbouncer_url: str, postgres_url: str
):
    code, found = doctor(DATABASE_URL=pgbouncer_url)
    assert code == 1
    assert "behind a pooler" in found["connection"]["found"]
    assert "LISTEN does not work behind a pooler" in found["wake-ups"]["found"]
    assert "--listen-url" in found["wake-ups"]["remedy"]
    code, found = doctor(DATABASE_URL=pgbouncer_url, TASKSCHEDULER_LISTEN_URL=postgres_url)
    assert (code, found["wake-ups"]["verdict"]) == (0, "ok")
