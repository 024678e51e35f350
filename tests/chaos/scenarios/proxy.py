"""The network between everybody and PostgreSQL fails in the ways that networks fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.chaos.lab import Lab, quiet, url_of
from tests.chaos.proxy import COMMIT_REPLY, STATEMENT_REPLY, Proxy, Swallow
from tests.chaos.report import Options, Row

NAME = "proxy"
Harm = Callable[[Lab, Proxy, float], Awaitable[int]]


def run(options: Options) -> list[Row]:
    """Run each fault by itself; in short, all of them one after the other."""
    if options.short:
        return [trial(options, "cut, silent, slow, replies lost", every, 300, 5.0, workers=2)]
    tasks = options.tasks or 4_000
    return [
        trial(options, "connections cut", cuts, tasks, 30.0),
        trial(options, "network silent for 0.5 to 4 s", silences, tasks, 45.0),
        trial(options, "network slow, up to 0.3 s a piece", delays, tasks // 2, 30.0),
        trial(options, "reply to COMMIT lost", lost_commits, tasks, 30.0),
        trial(options, "reply to a statement lost", lost_replies, tasks, 30.0),
    ]


def trial(
    options: Options, fault: str, harm: Harm, tasks: int, over_s: float, *, workers: int = 3
) -> Row:
    """Run one fault."""
    folder = options.folder / f"{NAME}-{harm.__name__}"
    with quiet(), Lab(folder, seed=options.seed) as lab:
        times = asyncio.run(through_proxy(lab, harm, tasks, over_s, workers))
        verdict = lab.judge(only_the_dead=False)
    return Row.of(
        verdict,
        fault=fault,
        times=times,
        command=options.command(NAME),
        worst_s=lab.worst_recovery_s(),
    )


async def through_proxy(lab: Lab, harm: Harm, tasks: int, over_s: float, workers: int) -> int:
    """Lead workers and producers through a proxy."""
    async with Proxy("127.0.0.1", lab.server.port, lab.random.randrange(2**32)) as proxy:
        lab.url = url_of(f"127.0.0.1:{proxy.port}")
        return await lab.trial(
            lambda span: harm(lab, proxy, span),
            tasks=tasks,
            over_s=over_s,
            workers=workers,
            ahead_s=1.0,
        )


async def cuts(lab: Lab, proxy: Proxy, span: float) -> int:
    """Reset connections, some or all."""
    times = 0
    for _ in range(int(span)):
        await asyncio.sleep(lab.random.uniform(0.5, 1.5))
        async with lab.fault("cut"):
            times += proxy.cut(lab.random.choice([0.3, 0.7, 1.0]))
    return times


async def silences(lab: Lab, proxy: Proxy, span: float) -> int:
    """Hold everything back, for less or more than a lease; then go on, or cut."""
    times = 0
    until = asyncio.get_running_loop().time() + span
    while asyncio.get_running_loop().time() < until:
        await asyncio.sleep(lab.random.uniform(1, 2))
        async with lab.fault("silent"):
            proxy.silence()
            await asyncio.sleep(lab.lease_s * lab.random.choice([0.25, 0.7, 0.75, 1.1, 2.0]))
            if lab.random.random() < 0.4:
                proxy.cut()
            proxy.flow()
        times += 1
    return times


async def delays(lab: Lab, proxy: Proxy, span: float) -> int:
    """Slow everything down, again and again."""
    times = 0
    until = asyncio.get_running_loop().time() + span
    while asyncio.get_running_loop().time() < until:
        async with lab.fault("slow"):
            proxy.delay_s = lab.random.choice([0.05, 0.3])
            await asyncio.sleep(lab.random.uniform(1, 3))
            proxy.delay_s = 0.0
        times += 1
        await asyncio.sleep(lab.random.uniform(0.2, 1))
    return times


async def lost_commits(lab: Lab, proxy: Proxy, span: float) -> int:
    """Lose the answer to COMMIT: nobody can tell from it what became of the transaction."""
    return await swallow(lab, proxy, span, Swallow(COMMIT_REPLY, 0))


async def lost_replies(lab: Lab, proxy: Proxy, span: float) -> int:
    """Lose the answer to a statement that is its own transaction: a claim, an outcome, a task."""
    return await swallow(lab, proxy, span, Swallow(STATEMENT_REPLY, 0))


async def swallow(lab: Lab, proxy: Proxy, span: float, armed: Swallow) -> int:
    """Arm the proxy again and again."""
    before = proxy.swallowed
    proxy.swallow = armed
    until = asyncio.get_running_loop().time() + span
    while asyncio.get_running_loop().time() < until:
        async with lab.fault("reply lost"):
            armed.left = lab.random.randint(1, 3)
            await asyncio.sleep(lab.random.uniform(0.1, 0.5))
            armed.left = 0
        await asyncio.sleep(lab.random.uniform(0.1, 0.4))
    return proxy.swallowed - before


async def every(lab: Lab, proxy: Proxy, span: float) -> int:
    """Do a little of each."""
    times = 0
    for harm in (cuts, lost_commits, lost_replies, silences, delays):
        times += await harm(lab, proxy, span / 5)
    return times
