"""How many PUT /tasks a second one API process acknowledges to 64 connections.

Beside it the same routes on a store that keeps nothing: what the web framework leaves to gain. And
the load generator against a server that parses nothing: its own ceiling.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.bench import OURS
from benchmarks.contestants import ROOT
from benchmarks.process import Broken, install

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from benchmarks.bench import Bench

CONNECTIONS: Final = 64
WARM: Final = 1_000
START_S: Final = 30.0
PATIENCE_S: Final = 120.0


async def measure(bench: Bench) -> None:
    """Ours, then the framework alone, then the load generator."""
    try:
        await _measure(bench)
    except Broken as broken:
        bench.failures.append(f"http: {broken}")


async def _measure(bench: Bench) -> None:
    requests = bench.sizes.requests
    with bench.server.database("http") as url:
        await install(bench.contestant(OURS), url)
        port = _free_port()
        api = ["-m", "taskscheduler", "api", "--accept-unknown-kinds", "--port", str(port)]
        async with _serving(api, port, DATABASE_URL=url):
            stored = await _rate(port, requests)
    port = _free_port()
    async with _serving(["-m", "benchmarks.nowhere", str(port)], port):
        framework = await _rate(port, requests)
    port = _free_port()
    async with _serving(["-m", "benchmarks.hammer", "parrot", str(port)], port):
        ceiling = await _rate(port, requests * 3)
    bench.note("PUT /tasks", OURS, stored, "requests/s")
    bench.note("PUT /tasks, no database", OURS, framework, "requests/s")
    bench.note("PUT /tasks/no database", OURS, stored / framework, "of the framework alone")
    bench.note("load generator's ceiling", OURS, ceiling, "requests/s")


async def _rate(port: int, requests: int) -> float:
    await _hammer(port, WARM)
    return await _hammer(port, requests)


async def _hammer(port: int, requests: int) -> float:
    arguments = ["-m", "benchmarks.hammer", "hammer", port, requests, CONNECTIONS]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *map(str, arguments), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
    if process.returncode:
        message = "the load generator failed"
        raise Broken(message)
    said = json.loads(out)
    if said["bad"] or said["good"] != requests:
        message = f"of {requests} requests {said['good']} were answered well, {said['bad']} badly"
        raise Broken(message)
    return said["good"] / said["seconds"]


@asynccontextmanager
async def _serving(arguments: Sequence[str], port: int, **environment: str) -> AsyncGenerator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    try:
        await _reached(port, process)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _reached(port: int, process: asyncio.subprocess.Process) -> None:
    for _ in range(int(START_S / 0.1)):
        if process.returncode is not None:
            break
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            await writer.wait_closed()
            return
    message = "the service did not come up"
    raise Broken(message)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
