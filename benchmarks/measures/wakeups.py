"""What hearing of new work brings, in each of the four ways, and what NOTIFY costs the writers.

Ours alone. How soon one task begins, with one idle worker and with a hundred: those are a hundred
``Worker`` objects in four processes. And how many tasks are stored a second while some listen who
never get any, for they work for another queue: one process rings for them and another does not, by
turns, so that the notice itself is all that they differ by.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.bench import OURS
from benchmarks.brokers import AWS, NotReady, RabbitProcess, located, new_queue, sqs_service
from benchmarks.figures import percentile, ratios, rotated, spread
from benchmarks.measures.latency import PATIENCE_S, WARM, late_ms
from benchmarks.process import Broken, install, processes
from benchmarks.report import by_round

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.bench import Bench, Figure
    from benchmarks.process import Process

WAYS: Final = ("postgres", "rabbitmq", "sqs", "poll")
WRITERS: Final = ("postgres", "poll")
PROCESSES: Final = {0: 0, 1: 1, 100: 4}
"""In how many processes so many workers are."""
EVERY_S: Final = {1: 0.053, 100: 0.353}
"""No divisors of the poll interval: starts are to fall all over it. A hint wakes all who hear it,
and on few cores a hundred need a while until they are idle again."""
CALLERS: Final = {1: 1, 8: 4}
"""By how many callers tasks are stored, and how many times as many."""
SLICES: Final = 10
"""In how many slices tasks are stored, by turns, so that a busy moment hits both."""
HEARING_S: Final = 120.0
SETTINGS: Final = {"max_connections": "500"}
"""A worker has three connections of its own: two for the heartbeat, one to listen."""


async def measure(bench: Bench) -> None:
    """Each way in turn, another one first each round."""
    with carriers() as known:
        for way in rotated([way for way in WAYS if way in known], bench.number_of_round):
            for idle in EVERY_S:
                with environment(BENCH_WAKEUPS=way, **known[way]):
                    await _attempted(bench, _starts(bench, way, idle))
    for listening in PROCESSES:
        await _attempted(bench, _writers(bench, listening))


async def _attempted(bench: Bench, work: Any) -> None:
    try:
        await work
    except Broken as broken:
        bench.failures.append(f"wakeups: {broken}")


async def _starts(bench: Bench, way: str, idle: int) -> None:
    ours, count = bench.contestant(OURS), bench.sizes.starts
    with bench.server.database(f"wakeups_{way}") as url:
        await install(ours, url)
        async with AsyncExitStack() as stack:
            (producer,) = await stack.enter_async_context(processes(ours, url, aim="latency"))
            workers = await _idle(bench, stack, url, idle)
            every_s = EVERY_S[idle]
            await producer.ask("trickle", first=0, count=WARM, every_s=every_s, lead_s=0)
            told = await producer.ask("trickle", first=WARM, count=count, every_s=every_s, lead_s=0)
            late = late_ms(told["marks"], await begun(workers, WARM + count))
    for per_cent in (50, 99):
        value = percentile(late, per_cent)
        bench.note(start_name(way, idle, per_cent), OURS, value, "ms", lower_is_better=True)


async def _writers(bench: Bench, listening: int) -> None:
    """Have two callers' processes store in turn, by slices: one rings, the other does not."""
    ours = bench.contestant(OURS)
    with bench.server.database("wakeups_writers") as url:
        await install(ours, url)
        async with AsyncExitStack() as stack:
            with environment(BENCH_WAKEUPS="postgres", BENCH_QUEUE="elsewhere"):
                await _idle(bench, stack, url, listening)
            producers: dict[str, Process] = {}
            for way in WRITERS:
                with environment(BENCH_WAKEUPS=way):
                    (producers[way],) = await stack.enter_async_context(
                        processes(ours, url, aim="latency")
                    )
            for callers, times in CALLERS.items():
                count = max(bench.sizes.singles * times // SLICES, 1)
                seconds = dict.fromkeys(WRITERS, 0.0)
                for producer in producers.values():
                    await producer.ask("single", first=0, count=100, callers=callers)
                for number_of_slice in range(SLICES):
                    for way in rotated(WRITERS, number_of_slice + bench.number_of_round):
                        told = await producers[way].ask(
                            "single", first=0, count=count, callers=callers
                        )
                        seconds[way] += told["seconds"]
                for way in WRITERS:
                    name = writers_name(way, listening, callers)
                    bench.note(name, OURS, count * SLICES / seconds[way], "tasks/s")


async def _idle(bench: Bench, stack: AsyncExitStack, url: str, count: int) -> Sequence[Process]:
    """Start so many workers, and wait until they all hear."""
    if not count:
        return []
    number_of_processes = PROCESSES[count]
    with environment(BENCH_WORKERS=str(count // number_of_processes)):
        started = await stack.enter_async_context(
            processes(bench.contestant(OURS), url, number_of_processes, aim="latency")
        )
    for each in started:
        await each.ask("work", record=True)
    waited_s = 0.0
    while sum([(await each.ask("hearing"))["workers"] for each in started]) < count:
        if waited_s > HEARING_S:
            message = f"not all of {count} workers hear"
            raise Broken(message)
        await asyncio.sleep(0.5)
        waited_s += 0.5
    return started


async def begun(workers: Sequence[Process], count: int) -> dict[int, float]:
    """Wait until so many tasks have begun, by whomever; return when.

    Raises:
        Broken: they do not.
    """
    waited_s = 0.0
    while True:
        marks: dict[int, float] = {}
        for each in workers:
            marks.update((await each.ask("begun"))["marks"])
        if len(marks) >= count:
            return marks
        if waited_s > PATIENCE_S:
            message = f"only {len(marks)} of {count} tasks have begun"
            raise Broken(message)
        await asyncio.sleep(0.5)
        waited_s += 0.5


@contextmanager
def carriers() -> Iterator[Mapping[str, Mapping[str, str]]]:
    """Run what carries hints; yield, by way, what its processes must be told."""
    known: dict[str, dict[str, str]] = {"postgres": {}, "poll": {}}
    program = located("rabbitmq-server")
    with tempfile.TemporaryDirectory(prefix="taskscheduler-bench-") as folder:
        for name in ("rabbitmq", "sqs"):
            (Path(folder) / name).mkdir()
        rabbit = None if program is None else RabbitProcess(program, Path(folder) / "rabbitmq")
        try:
            with sqs_service(Path(folder) / "sqs") as endpoint:
                known["sqs"] = {**AWS, "BENCH_SQS_QUEUE_URL": new_queue(endpoint)}
                if rabbit is None:
                    print("LEFT OUT: rabbitmq: `.ci/unpack rabbitmq-server` brings it", flush=True)
                else:
                    rabbit.start()
                    known["rabbitmq"] = {"BENCH_RABBITMQ_URL": rabbit.url}
                yield known
        except NotReady as error:
            raise Broken(str(error)) from error
        finally:
            if rabbit is not None:
                rabbit.stop()


@contextmanager
def environment(**chosen: str) -> Iterator[None]:
    """Hand ``chosen`` to the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def start_name(way: str, idle: int, per_cent: int) -> str:
    """Name a figure."""
    return f"{way}, {idle} idle: start p{per_cent}"


def writers_name(way: str, listening: int, callers: int) -> str:
    """Name a figure."""
    return f"{way}, {listening} listening: stored by {callers}"


def tables(figures: Sequence[Figure]) -> list[str]:
    """Write both tables for docs/wakeups.md."""

    def of(name: str) -> dict[int, float]:
        return by_round(figures, name, OURS)

    def shown(name: str, unit: str) -> str:
        found = spread(of(name).values())
        return "not measured" if found is None else f"{found.text} {unit}"

    lines = ["| wake-ups by | idle workers | start, p50 | start, p99 |", "|---|---|---|---|"]
    for way in WAYS:
        for idle in EVERY_S:
            p50, p99 = (shown(start_name(way, idle, per_cent), "ms") for per_cent in (50, 99))
            lines.append(f"| `{way}` | {idle} | {p50} | {p99} |")
    lines += [
        "",
        "| callers | listening | `postgres` | `poll` | `postgres` over `poll`, per round |",
    ]
    lines.append("|---|---|---|---|---|")
    for callers in CALLERS:
        for listening in PROCESSES:
            names = [writers_name(way, listening, callers) for way in WRITERS]
            over = spread(ratios(of(names[0]), of(names[1])))
            compared = "not measured" if over is None else over.text
            cells = " | ".join(shown(name, "tasks/s") for name in names)
            lines.append(f"| {callers} | {listening or 'nobody'} | {cells} | {compared} |")
    return lines
