"""Real databases for the integration tests.

A container's where a Docker engine answers, the embedded one's where none does: no test is ever
skipped, and the report says which of them it was.
"""

from __future__ import annotations

import functools
import gc
import os
import subprocess
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import docker
import docker.errors
import psycopg
import pytest
from psycopg import sql
from testcontainers.community.postgres import PostgresContainer

from benchmarks.brokers import free_port, located
from taskscheduler.adapters.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMAGE_VARIABLE: Final = "TASKSCHEDULER_TEST_POSTGRES_IMAGE"
DEFAULT_IMAGE: Final = "postgres:18"
SERVER_SETTINGS: Final = {"max_connections": "300"}
READY_SECONDS: Final = 30.0


class Choice(NamedTuple):
    """What ``postgres_url`` is: a container of ``image``, or else, ``reason`` why not."""

    image: str
    reason: str = ""

    def __str__(self) -> str:
        """Say it to whoever reads the report."""
        if self.reason:
            return f"postgres_url: EMBEDDED PostgreSQL, NOT a container: {self.reason}"
        return f"postgres_url: a container of {self.image}"


@functools.cache
def choice() -> Choice:
    """Choose once. Where there is an engine, an image asked for by name is insisted on."""
    image = os.environ.get(IMAGE_VARIABLE, DEFAULT_IMAGE)
    engine = docker_engine()
    if engine is None:
        return Choice(image, "no Docker engine answers")
    try:
        if not engine.images.list(name=image):
            engine.images.pull(image)
    except docker.errors.DockerException:
        if IMAGE_VARIABLE not in os.environ:
            return Choice(image, f"{image} is not here and cannot be pulled")
    finally:
        engine.close()
    return Choice(image)


def docker_engine() -> docker.DockerClient | None:
    """Return the Docker engine, where one answers."""
    with warnings.catch_warnings():
        # A client that finds no engine leaves its socket to the collector, which complains.
        warnings.simplefilter("ignore", ResourceWarning)
        with suppress(docker.errors.DockerException):
            return docker.from_env(timeout=600)
        gc.collect()
        return None


def pytest_report_header() -> list[str]:
    """Announce the database before the tests, and what is left out."""
    lines = [str(choice())]
    if located("prometheus") is None:
        lines.append("Prometheus: NOT HERE, what tests/integration/prometheus says is NOT TESTED")
    if chromium() is None:
        lines.append("Chromium: NOT HERE, what tests/integration/http/browser says is NOT TESTED")
    return lines


def chromium() -> str | None:
    """Return the path of a Chromium, or of the browser that is made of it."""
    return located("chromium") or located("google-chrome")


#: Why the container that was chosen was not used after all.
unreachable = pytest.StashKey[str]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Repeat after the tests what they ran on, for the header is far away by then."""
    chosen = choice()
    if (reason := terminalreporter.config.stash.get(unreachable, "")) and not chosen.reason:
        chosen = chosen._replace(reason=reason)
    terminalreporter.write_line(str(chosen), yellow=bool(chosen.reason), bold=bool(chosen.reason))


@pytest.fixture(scope="session")
def started_urls() -> set[str]:
    """Collect the databases that this session brings up."""
    return set()


class EmbeddedUrls(NamedTuple):
    """The two roads to the embedded server."""

    socket: str
    tcp: str


@pytest.fixture(scope="session")
def embedded(
    tmp_path_factory: pytest.TempPathFactory, started_urls: set[str]
) -> Iterator[EmbeddedUrls]:
    """Run one embedded server for all tests, over TCP too, where it asks for a password."""
    port = free_port()
    settings = SERVER_SETTINGS | {"listen_addresses": "127.0.0.1", "port": str(port)}
    data = tmp_path_factory.mktemp("embedded")
    with EmbeddedPostgres(data, settings=settings) as postgres:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE test SUPERUSER LOGIN PASSWORD 'test'")
            connection.execute("CREATE DATABASE test OWNER test")
        url = postgres.url.replace("/postgres?", "/test?")
        started_urls.add(url)
        yield EmbeddedUrls(url, f"postgresql://test:test@127.0.0.1:{port}/test")


@pytest.fixture(scope="session")
def embedded_url(embedded: EmbeddedUrls) -> str:
    """Give a superuser's URL of an embedded PostgreSQL, over its Unix socket."""
    return embedded.socket


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest, started_urls: set[str]) -> Iterator[str]:
    """Give a superuser's URL, over TCP, of a container where that can be had."""
    chosen = choice()
    if chosen.reason:
        urls: EmbeddedUrls = request.getfixturevalue("embedded")
        yield urls.tcp
        return
    arguments = [f"--{name}={value}" for name, value in SERVER_SETTINGS.items()]
    container = PostgresContainer(chosen.image, driver=None).with_command(arguments)
    with container:
        url = container.get_connection_url()
        reason = refusal(url)
        if reason:
            request.config.stash[unreachable] = f"its port cannot be reached: {reason}"
            tcp: EmbeddedUrls = request.getfixturevalue("embedded")
            yield tcp.tcp
            return
        started_urls.add(url)
        yield url
        wrapped = container.get_wrapped_container()
        wrapped.reload()
        if wrapped.status != "running":
            pytest.fail(f"the container is {wrapped.status}:\n{wrapped.logs(tail=50).decode()}")


def refusal(url: str) -> str:
    """Say why a server that is up inside its container cannot be reached from here, if so."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                return str(error).splitlines()[0]
            time.sleep(0.1)
        else:
            return ""


@pytest.fixture(params=["container", "embedded"])
def any_postgres_url(request: pytest.FixtureRequest) -> str:
    """Give each of the two databases in turn, to test on two major versions."""
    name = "postgres_url" if request.param == "container" else "embedded_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
def schema(started_urls: set[str]) -> Iterator[str]:
    """Name a schema that is in no database; drop it from all of them afterwards."""
    name = f"test_{uuid4().hex[:16]}"
    yield name
    drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
    for url in started_urls:
        # A test that leaves a transaction open is found out here, and not by a hang.
        options = "-c lock_timeout=10s -c client_min_messages=warning"
        with psycopg.connect(url, autocommit=True, options=options) as connection:
            connection.execute(drop)


#: Defaults that somebody else may have chosen for the database, none of which is ours to change.
AWKWARD: Final = {
    "array_nulls": "off",
    "backslash_quote": "off",
    "bytea_output": "escape",
    "check_function_bodies": "off",
    "client_encoding": "LATIN1",
    "DateStyle": "German, DMY",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "extra_float_digits": "-15",
    "IntervalStyle": "sql_standard",
    "plan_cache_mode": "force_generic_plan",
    "quote_all_identifiers": "on",
    "search_path": "nowhere",
    "standard_conforming_strings": "off",
    "TimeZone": "Asia/Kathmandu",
    "transform_null_equals": "on",
    "xmloption": "document",
}


@pytest.fixture(scope="session")
def awkward_url(postgres_url: str) -> str:
    """Give a database of which every default is set awkwardly."""
    name = f"awkward_{uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(
                sql.Identifier(name)
            )
        )
        for setting, value in AWKWARD.items():
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    sql.Identifier(name), sql.Identifier(setting), sql.Literal(value)
                )
            )
    return urlsplit(postgres_url)._replace(path=f"/{name}").geturl()


PGBOUNCER: Final = """\
[databases]
* = host={server.hostname} port={server.port}

[pgbouncer]
auth_file = {folder}/users
auth_type = scram-sha-256
default_pool_size = 20
listen_addr = 127.0.0.1
listen_port = {port}
max_client_conn = 500
pool_mode = transaction
unix_socket_dir =
"""


@pytest.fixture(scope="session")
def pgbouncer_url(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Put a PgBouncer that pools by transaction in front of ``postgres_url``."""
    program = provided("pgbouncer")
    server, port = urlsplit(postgres_url), free_port()
    folder = tmp_path_factory.mktemp("pgbouncer")
    (folder / "ini").write_text(PGBOUNCER.format(server=server, folder=folder, port=port))
    (folder / "users").write_text(f'"{server.username}" "{server.password}"\n')
    command = [program, "--quiet", str(folder / "ini")]
    if os.geteuid() == 0:  # which it refuses to be
        command.insert(1, "--user=nobody")
    url = server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{port}").geturl()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until_ready(url, process, folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(READY_SECONDS)


def provided(program: str) -> str:
    """Return the path of a program that is installed, or that ``.ci/unpack`` brought."""
    if (found := located(program)) is None:
        pytest.fail(f"there is no {program}: `make setup-test` brings it on Debian and Ubuntu")
    return found


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for a server to let us in; show its log when it does not."""
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"{process.args!r} does not answer:\n{log.read_text()}")
