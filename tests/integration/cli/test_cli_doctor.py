"""``doctor``: what it finds on real databases, well ones and others."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taskscheduler import Scheduler
from taskscheduler.container import migrate_schema
from taskscheduler.domain.schedule import NewSchedule
from taskscheduler.domain.worker import WorkerProfile
from tests.integration.processes import store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.cli.conftest import Call

ORDER = [
    "package",
    "connection",
    "server",
    "encoding",
    "settings",
    "durability",
    "rights",
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
            await scheduler.store.workers.register(
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
    assert found.keys() == {"package", "connection"}


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


def test_a_schema_of_before_the_first_release(
    doctor: Doctor, admin: psycopg.Connection[Any], schema: str
):
    admin.execute(
        sql.SQL("UPDATE {} SET name = '0001_tasks' WHERE version = 1").format(
            sql.Identifier(schema, "migration")
        )
    )
    code, found = doctor()
    assert code == 1
    assert "fresh schema" in found["schema"]["remedy"]


def test_days_that_nobody_prepared(doctor: Doctor, admin: psycopg.Connection[Any], schema: str):
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    name = sql.Identifier(schema, f"finished_{tomorrow:%Y%m%d}")
    admin.execute(sql.SQL("DROP TABLE {}").format(name))
    code, found = doctor()
    assert (code, found["partitions"]["verdict"]) == (0, "warn")


def test_an_old_transaction_is_named(
    doctor: Doctor, postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("taskscheduler.adapters.postgres.health_checks.HELD_WARN", timedelta(0))
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


def test_defaults_that_are_awkward_are_named(call: Call, awkward_url: str) -> None:
    """They are no failure: each session is given what it needs."""
    name = f"test_{uuid4().hex[:16]}"
    asyncio.run(migrate_schema(awkward_url, name))
    doctor = Doctor(call, awkward_url, name)
    code, found = doctor()
    assert code == 0
    settings = found["settings"]
    assert settings["verdict"] == "warn"
    for said in ("default_transaction_isolation is serializable", "array_nulls is off"):
        assert said in settings["found"]
    assert "RESET" in settings["remedy"]


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_an_encoding_that_cannot_hold_every_text_is_refused(
    call: Call, postgres_url: str, encoding: str
) -> None:
    """In one line, before anything is made in the database."""
    name = f"encoded_{uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} ENCODING {} LOCALE 'C' TEMPLATE template0").format(
                sql.Identifier(name), sql.Literal(encoding)
            )
        )
    url = urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
    env = {"DATABASE_URL": url, "TASKSCHEDULER_SCHEMA": "s"}
    for command in ("migrate", "migrate --check"):
        refused = call(command, **env)
        assert refused.code == 2
        (line,) = refused.err.splitlines()
        assert encoding in line
        assert "UTF8" in line
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 's'").fetchone()
    assert row == (0,)
    code, found = Doctor(call, url, "s")()
    assert code == 1
    assert found["encoding"]["verdict"] == "fail"
    assert encoding in found["encoding"]["found"]
    refused = call("tasks list", **env)
    assert refused.code != 0
    assert encoding in refused.err


def test_commits_that_are_not_on_disk_are_warned_of(doctor: Doctor) -> None:
    url = make_conninfo(doctor.env["DATABASE_URL"], options="-c synchronous_commit=off")
    _, found = doctor(DATABASE_URL=url)
    assert found["durability"]["verdict"] == "warn"
    _, found = doctor()
    assert found["durability"]["verdict"] == "ok"


@pytest.fixture
def stranger(postgres_url: str, schema: str) -> Iterator[tuple[str, psycopg.Connection]]:
    """Yield the URL of a role that has no rights yet, and the owner's connection."""
    name = f"doctor_{uuid4().hex[:8]}"
    role = sql.Identifier(name)
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(role))
        yield make_conninfo(postgres_url, user=name, password="p"), owner  # noqa: S106
        owner.execute(sql.SQL("DROP OWNED BY {}").format(role))
        owner.execute(sql.SQL("DROP ROLE {}").format(role))


def test_rights_that_a_worker_needs_are_looked_at(
    doctor: Doctor, schema: str, stranger: tuple[str, psycopg.Connection]
):
    url, owner = stranger
    role = sql.Identifier(str(conninfo_to_dict(url)["user"]))
    name = sql.Identifier(schema)
    doctor.env["DATABASE_URL"] = url
    code, checks = doctor()
    assert (code, checks["rights"]["verdict"]) == (1, "fail")
    assert "USAGE on schema" in checks["rights"]["found"]
    for grant in (
        "GRANT USAGE ON SCHEMA {} TO {}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO {}",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {} TO {}",
    ):
        owner.execute(sql.SQL(grant).format(name, role))
    _, checks = doctor()
    assert checks["rights"]["verdict"] == "warn"
    assert "not the owner" in checks["rights"]["found"]
    owner.execute(sql.SQL("REVOKE DELETE ON {}.live FROM {}").format(name, role))
    code, checks = doctor()
    assert (code, checks["rights"]["verdict"]) == (1, "fail")
    assert "DELETE on live" in checks["rights"]["found"]


def test_a_schema_of_a_later_release_that_fits_is_well(
    doctor: Doctor, postgres_url: str, schema: str
):
    insert = "INSERT INTO {}.migration VALUES (9999, 'later', now(), %s)"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL(insert).format(sql.Identifier(schema)), [0])
        code, checks = doctor()
        assert (code, checks["schema"]["verdict"]) == (0, "ok")
        update = "UPDATE {}.migration SET oldest_program = 9999 WHERE version = 9999"
        connection.execute(sql.SQL(update).format(sql.Identifier(schema)))
    code, checks = doctor()
    assert (code, checks["schema"]["verdict"]) == (1, "fail")
