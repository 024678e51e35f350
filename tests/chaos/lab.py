"""A laboratory: a PostgreSQL of its own, worker processes, a producer, an observer, the records."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString, Self

import psycopg

from taskscheduler import Scheduler, StoreUnavailable
from taskscheduler.adapters.embedded import EmbeddedPostgres
from taskscheduler.adapters.postgres.migrate import migrate
from tests.chaos.checker import Rules, Verdict, judge_folder
from tests.chaos.history import History, read

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = "chaos"
ROLE = "chaos"
LEASE_S = 2.0
READY_S = 30.0

HBA = """\
local all         all peer map=owner
local replication all peer map=owner
host  all         all 127.0.0.1/32 scram-sha-256
host  replication all 127.0.0.1/32 scram-sha-256
"""


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Server:
    """One embedded PostgreSQL, over TCP for those under test, over its socket for us."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """Keep the data in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
        self.folder = folder
        self.port = free_port()
        (folder / "hba").write_text(HBA)
        (folder / "hba").chmod(0o644)
        self.postgres = EmbeddedPostgres(
            folder,
            settings={
                "listen_addresses": "127.0.0.1",
                "port": str(self.port),
                "hba_file": str(folder / "hba"),
                "max_connections": "120",
                "shared_buffers": "64MB",
                "autovacuum_naptime": "10s",
                **settings,
            },
        )

    @property
    def cluster(self) -> Path:
        """The data itself."""
        return self.folder / "cluster"

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        """The superuser's way in, past every proxy."""
        path = f"&options=-csearch_path%3D{SCHEMA}"
        return self.postgres.url.replace("/postgres?", f"/{ROLE}?") + path

    def start(self) -> None:
        """Start it, or wait until it is up."""
        self.postgres.start()

    def prepare(self) -> None:
        """Make the role and the database of those under test."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD '{ROLE}'")
            connection.execute(f"CREATE DATABASE {ROLE} OWNER {ROLE}")

    def admin(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect as the superuser."""
        return psycopg.connect(self.admin_url, autocommit=True, connect_timeout=5)

    def crash(self) -> None:
        """Stop it the immediate way, which is a crash."""
        pid = int((self.cluster / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                return
            if state == "Z":
                return
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it in order."""
        self.postgres.stop()


def url_of(*addresses: str, options: str = "") -> str:
    """Return the URL by which those under test connect."""
    return f"postgresql://{ROLE}:{ROLE}@{','.join(addresses)}/{ROLE}{options}"


@dataclass
class Member:
    """One worker process."""

    process: subprocess.Popen[bytes]
    hired_at: float = field(default_factory=time.monotonic)
    paused: bool = False


class Lab:
    """What one scenario works with."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        lease_s: float = LEASE_S,
        server: dict[str, str] | None = None,
    ) -> None:
        """Keep everything in ``folder``; ``server`` are settings of its PostgreSQL."""
        self.folder = folder
        self.lease_s = lease_s
        self.random = random.Random(seed)
        self.records = folder / "records"
        self.records.mkdir(parents=True, exist_ok=True)
        self.injector = History(self.records, "injector")
        self.server = Server(folder / "postgres", **(server or {}))
        self.crew: list[Member | None] = []
        self.url = ""
        self.listen_url: str | None = None
        self._observer: threading.Thread | None = None
        self._observing = threading.Event()
        self.admin_url: Callable[[], str] = lambda: self.server.admin_url

    # -- coming and going ------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Start the server and make the schema."""
        self.server.start()
        try:
            self.server.prepare()
            self.url = url_of(self.server.address)
            self.prepare_schema()
        except BaseException:
            self.server.stop()
            raise
        return self

    def prepare_schema(self) -> None:
        """Make the schema, and the table that handlers write to."""
        asyncio.run(migrate(url_of(self.server.address), SCHEMA))
        with psycopg.connect(url_of(self.server.address), autocommit=True) as connection:
            connection.execute("CREATE TABLE public.chaos_effect (id uuid, token bigint)")

    def __exit__(self, *error: object) -> None:
        """Stop everybody."""
        self._observing.clear()
        for member in self.crew:
            if member is not None:
                with contextlib.suppress(ProcessLookupError):
                    member.process.kill()
                member.process.wait()
        if self._observer is not None:
            self._observer.join(10)
        self.server.stop()

    # -- workers ---------------------------------------------------------------------------------

    def hire(self, index: int | None = None, *, concurrency: int = 20) -> int:
        """Start a worker process in place ``index``, or in a new one; return the place."""
        if index is None:
            self.crew.append(None)
            index = len(self.crew) - 1
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TASKSCHEDULER", "PG"))}
        environment = kept | {"CHAOS_HISTORY": str(self.records), "DATABASE_URL": self.url}
        command = [
            sys.executable,
            "-m",
            "taskscheduler",
            "worker",
            "--app=tests.chaos.handlers:handlers",
        ]
        command += [f"--schema={SCHEMA}", f"--lease={self.lease_s:g}", "--poll-interval=0.5"]
        command += [f"--concurrency={concurrency}", "--log-level=warning", "--log-format=json"]
        if self.listen_url is not None:
            command.append(f"--listen-url={self.listen_url}")
        with (self.folder / "workers.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.injector.add("hired", victim=process.pid)
        self.crew[index] = Member(process)
        return index

    async def hire_all(self, count: int, **options: Any) -> None:
        """Start ``count`` workers and wait until they have joined."""
        for _ in range(count):
            self.hire(**options)
        if not await self.until(lambda: self.joined() >= count, READY_S, "no worker"):
            said = (self.folder / "workers.log").read_text(errors="replace")[-2000:]
            message = f"the workers did not join:\n{said}"
            raise RuntimeError(message)

    def joined(self) -> int:
        """Return how many workers are registered."""
        with contextlib.suppress(psycopg.Error), psycopg.connect(self.admin_url()) as connection:
            row = connection.execute("SELECT count(*) FROM worker").fetchone()
            return row[0] if row else 0
        return 0

    def watch_crew(self) -> None:
        """Note who has ended by himself."""
        for index, member in enumerate(self.crew):
            if member is not None and member.process.poll() is not None:
                self.injector.add(
                    "exited", victim=member.process.pid, code=member.process.returncode
                )
                self.crew[index] = None

    def kill(self, index: int) -> None:
        """Kill -9."""
        member = self.crew[index]
        if member is None:
            return
        member.process.kill()
        member.process.wait()
        self.injector.add("killed", victim=member.process.pid)
        self.crew[index] = None

    def pause(self, index: int) -> None:
        """SIGSTOP."""
        member = self.crew[index]
        if member is not None and not member.paused:
            self.injector.add("paused", victim=member.process.pid)
            member.process.send_signal(signal.SIGSTOP)
            member.paused = True

    def resume(self, index: int) -> None:
        """SIGCONT."""
        member = self.crew[index]
        if member is not None and member.paused:
            self.injector.add("continued", victim=member.process.pid)
            member.process.send_signal(signal.SIGCONT)
            member.paused = False

    def settled(self, for_s: float) -> list[int]:
        """Return the places whose workers have been there ``for_s`` and are not paused."""
        since = time.monotonic() - for_s
        return [
            index
            for index, member in enumerate(self.crew)
            if member is not None and not member.paused and member.hired_at <= since
        ]

    # -- tasks -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def scheduler(self, url: str | None = None) -> AsyncGenerator[Scheduler]:
        """Open a scheduler for producing."""
        async with Scheduler.postgres(url or self.url, schema=SCHEMA) as scheduler:
            yield scheduler

    async def produce(
        self,
        count: int,
        *,
        over_s: float,
        ahead_s: float = 5.0,
        work_s: float = 0.1,
        url: str | None = None,
        callers: int = 8,
        burst_s: float = 0.0,
    ) -> None:
        """Store ``count`` tasks over ``over_s``, each until that is acknowledged.

        They come evenly, or those of ``burst_s`` at once. A quarter of them is due later, by up to
        ``ahead_s``.
        """
        history = History(self.records, "producer")
        chance = random.Random(self.random.random())
        numbers = iter(range(count))
        began = time.monotonic()

        async def call(scheduler: Scheduler) -> None:
            for number in numbers:
                at = over_s * number / count
                at -= at % burst_s if burst_s else 0.0
                await asyncio.sleep(began + at - time.monotonic())
                await self.schedule_one(scheduler, history, chance, ahead_s, work_s)

        async with self.scheduler(url) as scheduler, asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(call(scheduler))
        history.close()

    async def schedule_one(
        self,
        scheduler: Scheduler,
        history: History,
        chance: random.Random,
        ahead_s: float,
        work_s: float,
    ) -> None:
        """Store one task of some kind; try with the same id until it is acknowledged."""
        kind = chance.choices(["steady", "threaded", "stubborn", "effect"], [65, 10, 5, 20])[0]
        work = {"seconds": chance.choice([0.005, work_s * chance.uniform(0.1, 1.9)])}
        if kind == "steady" and chance.random() < 0.1:
            work["failures"] = chance.randint(1, 2)
        execute_at = None
        if chance.random() < 0.25:
            execute_at = datetime.now(UTC) + timedelta(seconds=chance.uniform(0, ahead_s))
        task = scheduler.prepare(
            kind, work, execute_at=execute_at, priority=chance.choice([4, 5, 5, 5])
        )
        history.add(
            "scheduling",
            id=str(task.id),
            kind=kind,
            execute_at=execute_at and execute_at.timestamp(),
        )
        wait_s = 0.05
        while True:
            try:
                await scheduler.put(task)
            except StoreUnavailable as error:
                history.add("unacknowledged", id=str(task.id), error=str(error))
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, 1.0)
            else:
                history.add("acknowledged", id=str(task.id))
                return

    # -- looking on ------------------------------------------------------------------------------

    def observe(self, every_s: float = 0.3) -> None:
        """Begin to look at the database from a thread and write down what changes."""
        self._observing.set()
        self._observer = threading.Thread(target=self._observe, args=[every_s], daemon=True)
        self._observer.start()

    def _observe(self, every_s: float) -> None:
        history = History(self.records, "observer")
        ended: dict[Any, tuple[Any, ...]] = {}
        tokens: dict[Any, int] = {}
        joined: set[int] = set()
        while self._observing.is_set():
            # The database is expected to be away at times.
            with (
                contextlib.suppress(psycopg.Error, StoreUnavailable, OSError),
                psycopg.connect(self.admin_url(), autocommit=True, connect_timeout=3) as connection,
            ):
                while self._observing.is_set():
                    self._look(connection, history, ended, tokens, joined)
                    time.sleep(every_s)
            time.sleep(every_s)
        history.close()

    def _look(
        self,
        connection: psycopg.Connection[tuple[Any, ...]],
        history: History,
        ended: dict[Any, tuple[Any, ...]],
        tokens: dict[Any, int],
        joined: set[int],
    ) -> None:
        leased = connection.execute(
            "SELECT id, token FROM live WHERE worker_id IS NOT NULL"
        ).fetchall()
        for task, token in leased:
            if tokens.get(task) != token:
                tokens[task] = token
                history.add("leased", id=str(task), token=token)
        crew = connection.execute(
            "SELECT name, extract(epoch FROM clock() - started_at)::float FROM worker"
        ).fetchall()
        for name, since_s in crew:
            pid = int(name.rpartition(":")[2])
            if pid not in joined:
                joined.add(pid)
                history.add("joined", victim=pid, since=time.time() - since_s)
        found = connection.execute("SELECT id, token, status FROM finished").fetchall()
        for task, *outcome in found:
            if ended.get(task) != (told := tuple(outcome)):
                ended[task] = told
                history.add("terminal", id=str(task), token=told[0], status=told[1])

    async def until(self, holds: Callable[[], Any], within_s: float, otherwise: str) -> bool:
        """Wait until something holds; note it when it does not within the time."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if await asyncio.to_thread(holds):
                return True
            await asyncio.sleep(0.25)
        self.injector.add("gave up", why=otherwise)
        return False

    async def drained(self, within_s: float = 60.0) -> bool:
        """Wait until no task is live."""

        def nothing_left() -> bool:
            self.watch_crew()
            with contextlib.suppress(psycopg.Error), psycopg.connect(self.admin_url()) as link:
                row = link.execute("SELECT count(*) FROM live").fetchone()
                return row is not None and row[0] == 0
            return False

        return await self.until(nothing_left, within_s, "tasks were left")

    async def trial(
        self,
        harm: Callable[[float], Awaitable[int]],
        *,
        tasks: int,
        over_s: float,
        workers: int = 3,
        drain_s: float = 60.0,
        before_drain: Callable[[], None] = lambda: None,
        **production: Any,
    ) -> int:
        """Do ``harm`` for about ``over_s`` while tasks come in; return how often it was done."""
        await self.hire_all(workers)
        self.observe()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.produce(tasks, over_s=over_s, **production))
            harming = group.create_task(harm(over_s))
        await asyncio.to_thread(before_drain)
        await self.drained(drain_s)
        return harming.result()

    @asynccontextmanager
    async def fault(self, name: str) -> AsyncGenerator[None]:
        """Note when a fault began and when it was over."""
        self.injector.add("fault", name=name)
        try:
            yield
        finally:
            self.injector.add("healed", name=name)

    # -- judging ---------------------------------------------------------------------------------

    def dump(self) -> None:
        """Write the final state of the database among the records."""
        history = History(self.records, "dump")
        statements: dict[str, LiteralString] = {
            "live": "SELECT id, token, worker_id, attempt, process_at, started_at FROM live",
            "finished": """
                SELECT f.id, f.token, f.worker_id, f.attempt, f.process_at, f.started_at,
                       f.finished_at, f.status, coalesce(t.max_attempts, k.max_attempts)
                       AS max_attempts
                FROM finished f JOIN task t USING (id)
                JOIN lane n ON n.id = f.lane JOIN kind k ON k.name = n.kind""",
            "attempt": """
                SELECT id, token, worker_id, number, started_at, finished_at, outcome, error_type
                FROM attempt""",
            "effect": "SELECT id, token FROM public.chaos_effect",
        }
        with psycopg.connect(self.admin_url()) as connection:
            for table, statement in statements.items():
                cursor = connection.execute(statement)
                names = [column.name for column in cursor.description or []]
                for row in cursor:
                    facts = {
                        name: value.timestamp() if isinstance(value, datetime) else value
                        for name, value in zip(names, row, strict=True)
                    }
                    history.add("row", table=table, **(facts | {"id": str(facts["id"])}))
        history.close()

    def judge(self, **rules: Any) -> Verdict:
        """Stop the observer, dump the database, and judge the run."""
        self._observing.clear()
        if self._observer is not None:
            self._observer.join(10)
        self.dump()
        chosen = Rules(lease_s=self.lease_s, **rules)
        self.injector.add("rules", rules=asdict(chosen))
        return judge_folder(self.records, chosen)

    def worst_recovery_s(self, end_event: str = "healed") -> float | None:
        """Return the longest that any worker took to begin a task after a fault had ended."""
        records = read(self.records)
        ends = [each["mono"] for each in records if each["event"] == end_event]
        if not ends:
            return None
        worst = 0.0
        members = {each["victim"] for each in records if each["event"] == "hired"}
        for pid in members:
            begun = [e["mono"] for e in records if e["event"] == "started" and e["pid"] == pid]
            for index, end in enumerate(ends):
                later = [at for at in begun if at >= end]
                limit = ends[index + 1] if index + 1 < len(ends) else float("inf")
                if later and later[0] < limit:
                    worst = max(worst, later[0] - end)
        return worst


@contextmanager
def quiet() -> Generator[None]:
    """Keep the producers' warnings, which are expected, off the screen."""
    logger = logging.getLogger("taskscheduler")
    psycopg_logger = logging.getLogger("psycopg")
    before = logger.level, psycopg_logger.level
    logger.setLevel(logging.CRITICAL)
    psycopg_logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before[0])
        psycopg_logger.setLevel(before[1])


def note(text: str) -> None:
    """Tell whoever watches."""
    print(f"  {text}", file=sys.stderr, flush=True)
