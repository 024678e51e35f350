"""The embedded PostgreSQL keeps its data and its word through stops, kills and awkward places."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from taskscheduler.adapters.embedded import EmbeddedPostgres
from taskscheduler.domain.errors import InvalidConfiguration, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_SECONDS: Final = 30.0

OWNER: Final = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from taskscheduler.adapters.embedded import EmbeddedPostgres

    with EmbeddedPostgres(Path(sys.argv[1])) as postgres:
        print(postgres.url, flush=True)
        sys.stdin.read()
    """
)
"""Another process that owns a database until its standard input ends."""


class Owner:
    """A process that runs ``OWNER`` on a folder."""

    def __init__(self, data: Path) -> None:
        """Start it, without waiting for its database."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        """Wait until its database answers; return where."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """Kill it as a crash would; its database's server is told nothing."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Let it end, and wait until it has."""
        self.process.communicate(timeout=PATIENCE_SECONDS)


@pytest.fixture
def owner_of() -> Iterator[Callable[[Path], Owner]]:
    """Start owners that do not outlive the test."""
    owners: list[Owner] = []

    def start(data: Path) -> Owner:
        owners.append(Owner(data))
        return owners[-1]

    yield start
    for owner in owners:
        if owner.process.poll() is None:
            owner.close()


def test_the_first_start_creates_a_durable_unicode_database(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "data") as postgres:
        settings = "fsync", "full_page_writes", "synchronous_commit", "server_encoding"
        values = [ask(postgres.url, f"SHOW {name}") for name in settings]
    assert values == ["on", "on", "on", "UTF8"]


def test_data_survives_a_stop(tmp_path: Path) -> None:
    remember(tmp_path, "a stop")
    assert remembered(tmp_path) == "a stop"


def test_it_listens_on_no_network_unless_told_to(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as postgres:
        assert ask(postgres.url, "SHOW listen_addresses") == ""
    with EmbeddedPostgres(tmp_path, settings={"listen_addresses": "127.0.0.1"}) as postgres:
        assert ask(postgres.url, "SHOW listen_addresses") == "127.0.0.1"


def test_other_processes_of_the_account_may_use_it(
    tmp_path: Path, owner_of: Callable[[Path], Owner]
) -> None:
    assert ask(owner_of(tmp_path).url(), "SELECT current_user::text") == "postgres"


def test_starting_twice_changes_nothing(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as postgres:
        before = server_pid(tmp_path)
        assert postgres.start() == postgres.url
        assert server_pid(tmp_path) == before


def test_it_is_stopped_once_and_for_all(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    postgres.start()
    postgres.stop()
    postgres.stop()
    assert is_shut_down(tmp_path)
    with pytest.raises(StoreUnavailable):
        _ = postgres.url


def test_a_second_owner_is_refused(tmp_path: Path, owner_of: Callable[[Path], Owner]) -> None:
    owner = owner_of(tmp_path)
    url = owner.url()
    with pytest.raises(InvalidConfiguration, match=rf"in use .*\b{owner.process.pid}\b"):
        EmbeddedPostgres(tmp_path).start()
    assert ask(url, "SELECT 'unharmed'") == "unharmed"


def test_the_server_of_a_killed_owner_is_adopted(
    tmp_path: Path, owner_of: Callable[[Path], Owner]
) -> None:
    owner = owner_of(tmp_path)
    url = owner.url()
    write(url, "the owner's death")
    pid = server_pid(tmp_path)
    owner.kill()

    with EmbeddedPostgres(tmp_path) as postgres:
        assert postgres.url == url
        assert server_pid(tmp_path) == pid
        assert ask(url, READ) == "the owner's death"
    assert is_shut_down(tmp_path)


def test_a_server_that_is_shutting_down_is_waited_for(
    tmp_path: Path, owner_of: Callable[[Path], Owner]
) -> None:
    owner = owner_of(tmp_path)
    write(owner.url(), "a shutdown")
    pid = server_pid(tmp_path)
    owner.kill()
    os.kill(pid, signal.SIGINT)
    assert remembered(tmp_path) == "a shutdown"


@pytest.mark.parametrize("progress", ["initdb-*", "initdb-*/PG_VERSION", "postgres.log"])
def test_a_kill_during_the_first_start_spoils_nothing(
    progress: str, tmp_path: Path, owner_of: Callable[[Path], Owner]
) -> None:
    owner = owner_of(tmp_path)
    wait_until(lambda: any(tmp_path.glob(progress)))
    owner.kill()
    remember(tmp_path, "a half start")
    assert remembered(tmp_path) == "a half start"
    assert not any(tmp_path.glob("initdb-*"))


def test_starting_again_revives_a_killed_server(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as postgres:
        write(postgres.url, "the server's death")
        os.kill(server_pid(tmp_path), signal.SIGKILL)
        assert ask(postgres.start(), READ) == "the server's death"


def test_data_survives_the_death_of_owner_and_server(
    tmp_path: Path, owner_of: Callable[[Path], Owner]
) -> None:
    owner = owner_of(tmp_path)
    write(owner.url(), "a power cut")
    os.kill(server_pid(tmp_path), signal.SIGKILL)
    owner.kill()
    assert remembered(tmp_path) == "a power cut"


def test_a_pid_that_is_another_programs_by_now_is_no_hindrance(
    tmp_path: Path, owner_of: Callable[[Path], Owner]
) -> None:
    owner = owner_of(tmp_path)
    write(owner.url(), "a power cut")
    os.kill(server_pid(tmp_path), signal.SIGKILL)
    owner.kill()
    pid_file = tmp_path / "cluster" / "postmaster.pid"
    _, *rest = pid_file.read_text().splitlines()
    with subprocess.Popen(["sleep", "100"], start_new_session=True) as bystander:
        pid_file.write_text("\n".join([str(bystander.pid), *rest]))
        assert remembered(tmp_path) == "a power cut"
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize("name", ["d" * 120, "a,b", "a b", 'a"b', "é"])
def test_any_path_will_do(name: str, tmp_path: Path) -> None:
    remember(tmp_path / name, name)
    assert remembered(tmp_path / name) == name


def test_a_folder_within_a_private_one_will_do(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    before = private.stat()
    remember(private / "data", "privacy")
    assert remembered(private / "data") == "privacy"
    after = private.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_the_terminals_interrupt_reaches_the_owner_alone(
    tmp_path: Path, owner_of: Callable[[Path], Owner]
) -> None:
    owner_of(tmp_path).url()
    pid = server_pid(tmp_path)
    assert os.getpgid(pid) == pid
    assert os.getsid(pid) == pid


def test_data_of_another_version_is_refused_with_the_reason(tmp_path: Path) -> None:
    remember(tmp_path, "version 9")
    (tmp_path / "cluster" / "PG_VERSION").write_text("9\n")
    with pytest.raises(StoreUnavailable, match="incompatible"):
        EmbeddedPostgres(tmp_path).start()


def test_what_cannot_be_a_folder_or_a_setting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidConfiguration, match="cannot keep a database"):
        EmbeddedPostgres(tmp_path / "file").start()
    with pytest.raises(InvalidConfiguration, match="not the name"):
        EmbeddedPostgres(tmp_path, settings={"fsync=off -c x": "y"})


READ: Final = "SELECT text FROM memory"


def write(url: str, text: str) -> None:
    """Store a text in the database."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE memory AS SELECT %s::text AS text", [text])


def remember(data: Path, text: str) -> None:
    """Store a text in a database that runs for that long only."""
    with EmbeddedPostgres(data) as postgres:
        write(postgres.url, text)


def remembered(data: Path) -> str:
    """Fetch the text from a database that runs for that long only."""
    with EmbeddedPostgres(data) as postgres:
        return ask(postgres.url, READ)


def ask(url: str, query: str) -> str:
    """Return the only value of a query's only row."""
    with psycopg.connect(url) as connection:
        row: tuple[str] | None = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def server_pid(data: Path) -> int:
    """Return the pid of the server that runs in a folder."""
    return int((data / "cluster" / "postmaster.pid").read_text().split()[0])


def is_shut_down(data: Path) -> bool:
    """Tell whether the last server of a folder ended in order: a crash leaves its pid file."""
    return not (data / "cluster" / "postmaster.pid").exists()


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; fail when that takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
