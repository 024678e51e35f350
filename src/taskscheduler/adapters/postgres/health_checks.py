"""What ``doctor`` thinks of the facts that it reads from PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

from taskscheduler.application.doctor import Finding, Severity, graded

Size = TypeVar("Size", int, timedelta)

SKEW_WARN: Final = timedelta(seconds=1)
SKEW_FAIL: Final = timedelta(minutes=1)
HELD_WARN: Final = timedelta(minutes=5)
HELD_FAIL: Final = timedelta(hours=1)
SLOT_WARN: Final = 1_000_000
SLOT_FAIL: Final = 50_000_000
DEAD_WARN: Final = 100_000
DEAD_FAIL: Final = 5_000_000
LATE_WARN: Final = timedelta(minutes=1)
LATE_FAIL: Final = timedelta(minutes=10)
OVERDUE_WARN: Final = timedelta(seconds=10)
DAYS_WARN: Final = 2


def grade(value: Size, warn: Size, fail: Size) -> Severity:
    """Return how bad ``value`` is, which is the worse the larger it is."""
    if value >= fail:
        return Severity.FAIL
    return Severity.WARN if value >= warn else Severity.OK


def judge_version(number: int, text: str, *, least: int) -> Finding:
    """Judge the server's version; ``number`` is PostgreSQL's own, 180006 say."""
    verdict = Severity.OK if number // 10_000 >= least else Severity.FAIL
    return graded(
        "server",
        verdict,
        f"PostgreSQL {text}",
        f"releases before {least} are not tested, and lack what the statements use",
        f"upgrade the server to PostgreSQL {least} or newer",
    )


def judge_encoding(encoding: str, needed: str) -> Finding:
    """Judge how the database keeps text."""
    return graded(
        "encoding",
        Severity.OK if encoding == needed else Severity.FAIL,
        f"the database keeps text in {encoding}",
        "it cannot hold every text, and payloads are kept to the letter: migrate refuses it",
        f"CREATE DATABASE ... ENCODING '{needed}' TEMPLATE template0, and move there",
    )


def judge_settings(awkward: Mapping[str, str], *, pooled: bool) -> Finding:
    """Judge the defaults of the role and the database that are not as statements need them."""
    cost = "each statement takes two more round trips, to ask for what it needs" if pooled else ""
    return graded(
        "settings",
        Severity.WARN if awkward else Severity.OK,
        "by default " + ", ".join(f"{name} is {value}" for name, value in awkward.items())
        if awkward
        else "the defaults of sessions are as needed",
        cost or "each session is given what it needs; SQL of your own is subject to the defaults",
        "ALTER ROLE ... RESET, or ALTER DATABASE ... RESET, unless others need it so",
    )


def judge_durability(synchronous_commit: str) -> Finding:
    """Judge whether what is acknowledged is on disk."""
    return graded(
        "durability",
        Severity.WARN if synchronous_commit == "off" else Severity.OK,
        f"synchronous_commit is {synchronous_commit}",
        "a server that crashes may lose tasks whose storing was acknowledged",
        "ALTER ROLE ... RESET synchronous_commit, or set it to on",
    )


def judge_schema(
    name: str, version: int, newest: int, *, fits: bool = False, foreign: bool = False
) -> Finding:
    """Judge the schema's version beside the newest that this program knows.

    ``fits`` tells that a newer one says itself that this program can work with it; ``foreign``,
    that a development version of before the first release made it.
    """
    if foreign:
        return Finding(
            "schema",
            Severity.FAIL,
            f"{name} was made by a development version of before the first release",
            "programs of this release refuse to start on it, and no release can upgrade it",
            "make a fresh schema under another name (--schema), or drop this one with its tasks",
        )
    if version == newest:
        return Finding("schema", Severity.OK, f"{name} is at version {version}")
    if version > newest and fits:
        return Finding(
            "schema",
            Severity.OK,
            f"{name} is at version {version}, of a later release, and fit for this program, which "
            f"knows up to {newest}",
        )
    if version > newest:
        return Finding(
            "schema",
            Severity.FAIL,
            f"{name} is at version {version}, this program knows up to {newest}",
            "the schema is newer than this program, which refuses to work on it",
            "install a newer taskscheduler here",
        )
    return Finding(
        "schema",
        Severity.FAIL,
        f"{name} is missing" if version == 0 else f"{name} is at version {version} of {newest}",
        "programs of this release refuse to start on it",
        "run: taskscheduler migrate",
    )


def judge_skew(skew: timedelta, uncertain: timedelta) -> Finding:
    """Judge how far this machine's clock is from the database's, give or take ``uncertain``."""
    surely = max(abs(skew) - uncertain, timedelta(0))
    where = "behind" if skew > timedelta(0) else "ahead of"
    return graded(
        "clock",
        grade(surely, SKEW_WARN, SKEW_FAIL),
        f"this machine is {seconds(abs(skew))} {where} the database "
        f"(give or take {seconds(uncertain)})",
        "the database's clock decides what is due; a delay counted here, and the times in this "
        "machine's logs, are off by as much",
        "let NTP or chrony set both clocks; give execute_at rather than delay",
    )


def judge_held(what: str, age: timedelta, detail: str) -> Finding:
    """Judge something that keeps dead rows from being removed for ``age``."""
    return graded(
        "xmin horizon",
        grade(age, HELD_WARN, HELD_FAIL),
        f"{what} since {seconds(age)}: {detail}",
        "VACUUM cannot remove rows that died since then, so tables and indexes grow",
        "end it: pg_terminate_backend(pid), or ROLLBACK PREPARED; set "
        "idle_in_transaction_session_timeout",
    )


def judge_slot(name: str, transactions: int) -> Finding:
    """Judge a replication slot that holds rows back for so many transactions."""
    return graded(
        "xmin horizon",
        grade(transactions, SLOT_WARN, SLOT_FAIL),
        f"replication slot {name} holds back {transactions} transactions",
        "VACUUM cannot remove rows that died since then, so tables and indexes grow",
        "bring its standby or consumer back, or pg_drop_replication_slot()",
    )


def judge_dead(table: str, dead: int, live: int) -> Finding:
    """Judge the dead rows of a hot table; many are well among many more that live."""
    verdict = grade(dead, DEAD_WARN, DEAD_FAIL) if dead > live else Severity.OK
    return graded(
        "dead rows",
        verdict,
        f"{table}: {dead} dead, {live} live (estimates)",
        "claims read past the dead rows, and become slower",
        f"see the xmin horizon; then VACUUM {table}, and let autovacuum be quicker",
    )


def judge_oldest(late: timedelta | None, lane: str) -> Finding:
    """Judge how late the oldest task is that waits although it is due."""
    if late is None:
        return Finding("oldest due", Severity.OK, "no task is due")
    return graded(
        "oldest due",
        grade(late, LATE_WARN, LATE_FAIL),
        f"{seconds(late)} late: {lane}",
        "work comes in faster than it is done, or nobody is there to do it",
        "see the workers below; start more, or raise --concurrency",
    )


def judge_schedules(late: timedelta | None, name: str) -> Finding:
    """Judge how late the schedule is that should have fired first."""
    if late is None:
        return Finding("schedules", Severity.OK, "none is overdue")
    return graded(
        "schedules",
        grade(late, OVERDUE_WARN, LATE_WARN),
        f"{name} should have fired {seconds(late)} ago",
        "no worker fires it: its task is stored late, or left out, as its catch_up says",
        "see the workers above; if one is live, see its log for the schedule's name",
    )


def judge_workers(live: int, silent: int, unserved: list[str], *, due: bool) -> Finding:
    """Judge the workers; ``unserved`` names what is due and no live worker takes."""
    found = f"{live} live" + (f", {silent} silent" if silent else "")
    if unserved:
        return Finding(
            "workers",
            Severity.FAIL,
            f"{found}; none for {', '.join(unserved[:5])}" + (" …" if unserved[5:] else ""),
            "these tasks wait until a worker comes that has their kind and takes their queue",
            "start a worker: taskscheduler worker --app module:attribute --queue NAME",
        )
    if live == 0:
        return Finding(
            "workers",
            Severity.FAIL if due else Severity.WARN,
            found,
            "nothing that falls due will be run",
            "start a worker: taskscheduler worker",
        )
    return graded(
        "workers",
        Severity.WARN if silent else Severity.OK,
        found,
        "a silent worker crashed or is cut off; another takes its tasks within two leases",
        "look again in a minute; if it stays, look at that worker's log",
    )


def judge_threads(abandoned: dict[str, int]) -> Finding:
    """Judge the threads, by worker, that run on although their attempts have ended."""
    found = ", ".join(f"{number} in {name}" for name, number in abandoned.items() if number)
    return graded(
        "threads",
        Severity.WARN if found else Severity.OK,
        f"abandoned: {found}" if found else "none is abandoned",
        "plain functions did not end when told to: each keeps a thread, and what it holds",
        "give what they wait for a timeout, let them look at context.cancelled, and restart the "
        "worker",
    )


def judge_wakeups(why_not: str | None, took: timedelta, *, pooled: bool) -> Finding:
    """Judge a NOTIFY that was sent, and listened for, from here."""
    if why_not is None:
        return Finding("wake-ups", Severity.OK, f"NOTIFY came back in {seconds(took)}")
    return Finding(
        "wake-ups",
        Severity.FAIL,
        why_not,
        "workers find work by polling alone: up to --poll-interval later",
        "give --listen-url, a way past the pooler"
        if pooled
        else "see whether a pooler or proxy is in between, and give --listen-url",
    )


def judge_partitions(days_ahead: int, strays: list[str]) -> Finding:
    """Judge for how many days from today on partitions are there; -1 is not even for today."""
    found = (
        "there are none for today" if days_ahead < 0 else f"prepared for {days_ahead} days ahead"
    )
    if strays:
        found += f"; rows in {', '.join(strays)}"
    verdict = Severity.OK
    if days_ahead < DAYS_WARN:
        verdict = Severity.WARN if days_ahead >= 0 else Severity.FAIL
    return graded(
        "partitions",
        verdict,
        found,
        "new tasks go to the default partitions, which cannot be dropped by the day",
        "a running worker makes them, and so does: taskscheduler migrate; if neither does, see "
        "the log for lock timeouts",
    )


def judge_rights(role: str, lacking: list[str], *, owner: bool) -> Finding:
    """Judge what ``role`` may not do although a worker does it; ``owner``: it owns the tables."""
    if lacking:
        return Finding(
            "rights",
            Severity.FAIL,
            f"role {role} lacks {', '.join(lacking[:6])}" + (" …" if lacking[6:] else ""),
            "tasks cannot be stored, run or settled by this role",
            "let the schema's owner grant USAGE on the schema; SELECT, INSERT, UPDATE and DELETE "
            "on its tables; USAGE on its sequences; EXECUTE on its functions",
        )
    return graded(
        "rights",
        Severity.OK if owner else Severity.WARN,
        f"role {role} may do all that a worker does" + ("" if owner else ", but is not the owner"),
        "retention cannot drop whole days: only the owner of a table may drop it",
        "run taskscheduler retention, or one worker with --retention, as the schema's owner",
    )


def seconds(span: timedelta) -> str:
    """Return ``span`` as a reader likes it."""
    value = span.total_seconds()
    if value < 10:  # noqa: PLR2004 - where fractions begin to matter
        return f"{value:.3f} s"
    return f"{value:.0f} s" if value < 120 else str(timedelta(seconds=round(value)))  # noqa: PLR2004
