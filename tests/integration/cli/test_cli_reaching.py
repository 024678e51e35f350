"""Why the database cannot be reached: every command says so in one line, and ends as documented."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from benchmarks.brokers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.cli.conftest import Call
    from tests.integration.conftest import EmbeddedUrls
    from tests.integration.processes import Programs

COMMANDS = (
    "tasks add Foo",
    "tasks list",
    "tasks cancel --all",
    "tasks show 01a20928-20ba-7686-92a6-36011161cc11",
    "queues list",
    "schedules list",
    "workers",
    "audit",
    "keys list",
    "retention run --retention 1d",
    "migrate",
    "migrate --check",
    "worker --drain",
    "worker --drain --processes 2",
)
WRONG = "wrong"
REFUSED = ("worker", "worker --processes 2", "api --port 0")


def wrong_password(url: str) -> tuple[str, str]:
    return _with(url, password=WRONG), "password authentication failed for user"


def wrong_role(url: str) -> tuple[str, str]:
    return _with(url, username="nobody-of-this-name"), "nobody-of-this-name"


def wrong_database(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts._replace(path="/nowhere").geturl(), 'database "nowhere" does not exist'


def no_tls(url: str) -> tuple[str, str]:
    return f"{url}?sslmode=require", "server does not support SSL, but SSL was required"


def no_certificate(url: str) -> tuple[str, str]:
    return f"{url}?sslmode=verify-full&sslrootcert=/nowhere/root.crt", "SSL"


def wrong_port(url: str) -> tuple[str, str]:
    port = free_port()
    return _with(url, port=port), f"port {port} failed: Connection refused"


def wrong_host(url: str) -> tuple[str, str]:
    return _with(url, hostname="nowhere.invalid"), "failed to resolve host 'nowhere.invalid'"


def wrong_socket(url: str) -> tuple[str, str]:
    return "postgresql:///x?host=/nowhere", "No such file or directory"


LASTING = (wrong_password, wrong_role, wrong_database, no_tls, no_certificate)
PASSING = (wrong_port, wrong_host, wrong_socket)


def _with(url: str, **changes: object) -> str:
    parts = urlsplit(url)
    facts = {"username": parts.username, "password": parts.password} | {
        "hostname": parts.hostname,
        "port": parts.port,
    }
    facts |= changes
    place = "{username}:{password}@{hostname}:{port}".format(**facts)
    return parts._replace(netloc=place).geturl()


@pytest.fixture
def silent() -> Iterator[int]:
    """Listen on a port, and answer nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize(
    ("command", "wrong"),
    [(command, wrong) for command in COMMANDS for wrong in (wrong_password, wrong_port)]
    + [("worker --drain", wrong) for wrong in (*LASTING[1:], *PASSING[1:])]
    + [("tasks list", wrong) for wrong in (*LASTING[1:], *PASSING[1:])],
)
def test_every_command_says_why(
    call: Call, embedded: EmbeddedUrls, wrong: Callable[[str], tuple[str, str]], command: str
):
    url, reason = wrong(embedded.tcp)
    called = call(command, DATABASE_URL=url)
    (line,) = called.err.splitlines()
    assert (called.code, called.out) == (1, "")
    assert line.startswith("taskscheduler: the database ")
    assert reason in line
    assert "wrong@" not in line
    assert ":test@" not in line


@pytest.mark.parametrize("wrong", [wrong_password, no_tls])
@pytest.mark.parametrize("command", REFUSED)
def test_a_service_does_not_wait_for_what_waiting_cannot_mend(
    bare: Programs, embedded: EmbeddedUrls, wrong: Callable[[str], tuple[str, str]], command: str
):
    url, reason = wrong(embedded.tcp)
    assert reason in bare.refused(*command.split(), code=1, DATABASE_URL=url)


@pytest.mark.parametrize("wrong", [wrong_port, wrong_host])
@pytest.mark.parametrize("command", ["worker", "api --port 0"])
def test_a_service_says_what_it_waits_for(
    bare: Programs, embedded: EmbeddedUrls, wrong: Callable[[str], tuple[str, str]], command: str
):
    url, reason = wrong(embedded.tcp)
    program = bare.start(*command.split(), "--log-format", "text", DATABASE_URL=url)
    program.says(reason)
    program.says("waiting for the ")  # from here on it heeds signals
    program.stop()


@pytest.mark.parametrize("command", ["tasks list", "worker --drain", "migrate"])
def test_a_server_that_says_nothing(call: Call, silent: int, command: str):
    url = f"postgresql://test@127.0.0.1:{silent}/test?connect_timeout=2"
    called = call(command, DATABASE_URL=url)
    (line,) = called.err.splitlines()
    assert called.code == 1
    assert "the database cannot be reached" in line
    assert "does not answer" in line or "timeout" in line


@pytest.mark.parametrize("wrong", [*LASTING, *PASSING])
def test_doctor_says_why(
    call: Call, embedded: EmbeddedUrls, wrong: Callable[[str], tuple[str, str]]
):
    url, reason = wrong(embedded.tcp)
    called = call("doctor", DATABASE_URL=url)
    assert called.code == 1
    (line,) = [each for each in called.out.splitlines() if each.startswith("fail")]
    assert reason in line


def test_a_role_that_may_not_connect(call: Call, embedded: EmbeddedUrls, schema: str):
    name = sql.Identifier(f"role_{schema}")
    url: str = embedded.tcp
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} PASSWORD 'wrong' NOLOGIN").format(name))
        try:
            mine = _with(url, username=f"role_{schema}", password=WRONG)
            called = call("worker --drain", DATABASE_URL=mine)
        finally:
            admin.execute(sql.SQL("DROP ROLE {}").format(name))
    assert called.code == 1
    assert "is not permitted to log in" in called.err
