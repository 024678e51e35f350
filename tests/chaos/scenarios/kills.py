"""Workers are killed, and workers are stopped and resumed as zombies, in storms."""

from __future__ import annotations

import asyncio

from tests.chaos.lab import Lab, note, quiet
from tests.chaos.report import Options, Row

NAME = "kills"
WORKERS = 3
CONCURRENCY = 8
TASKS_AT_ONCE = 500
SETTLED_S = 1.5
"""A process that is still starting holds nothing that could be lost."""
BURST_S = 4.0
"""So few slots, and so much at once, that leases wait for a slot: a zombie must not begin them."""


def run(options: Options) -> list[Row]:
    """Let a storm pass over three workers while tasks come in; then make zombies of two."""
    return [storms(options), zombies(options)]


def storms(options: Options) -> Row:
    """Kill and pause at random."""
    tasks = options.tasks or (1_500 if options.short else 20_000)
    kills = max(10, tasks * 110 // 20_000)
    with quiet(), Lab(options.folder / NAME, seed=options.seed) as lab:
        killed, paused = asyncio.run(storm(lab, tasks, kills))
        verdict = lab.judge()
    row = Row.of(
        verdict,
        fault="kill -9, SIGSTOP and SIGCONT at random",
        times=killed + paused,
        command=options.command(NAME),
        worst_s=verdict.worst_rescue_s,
    )
    row.remarks.insert(0, f"{killed} killed, {paused} paused and resumed")
    return row


def zombies(options: Options) -> Row:
    """Stop workers for longer than a lease while leases wait for a slot in them."""
    times = 2 if options.short else 20
    with quiet(), Lab(options.folder / f"{NAME}-zombies", seed=options.seed) as lab:
        asyncio.run(raise_zombies(lab, times))
        verdict = lab.judge()
    return Row.of(
        verdict,
        fault="SIGSTOP for two leases amid waiting leases",
        times=times,
        command=options.command(NAME),
        worst_s=verdict.worst_rescue_s,
    )


async def raise_zombies(lab: Lab, times: int) -> None:
    """Stop one of two workers while it is busiest, and let it go on when all has passed on."""
    await lab.hire_all(2, concurrency=CONCURRENCY)
    lab.observe()
    for number in range(times):
        await lab.produce(TASKS_AT_ONCE, over_s=0.1, burst_s=1, work_s=0.03, ahead_s=1)
        lab.pause(number % 2)
        await asyncio.sleep(2.1 * lab.lease_s)
        lab.resume(number % 2)
        await asyncio.sleep(0.5)
    await lab.drained(60)


async def storm(lab: Lab, tasks: int, kills: int) -> tuple[int, int]:
    """Produce, strike, and wait until all is done; return how often was killed and paused."""
    await lab.hire_all(WORKERS, concurrency=CONCURRENCY)
    lab.observe()
    over_s = kills * 1.0
    producing = asyncio.create_task(lab.produce(tasks, over_s=over_s, burst_s=BURST_S, ahead_s=2.0))
    killed, paused = await strike(lab, kills, over_s)
    await producing
    for index in range(WORKERS):
        lab.resume(index)
        if lab.crew[index] is None:
            lab.hire(index, concurrency=CONCURRENCY)
    note(f"{killed} killed, {paused} paused; waiting for the rest to be done")
    await lab.drained(150)
    return killed, paused


async def strike(lab: Lab, kills: int, over_s: float) -> tuple[int, int]:
    """Kill and pause at random until ``kills`` are done; replace who was killed."""
    killed = paused = 0
    healing: set[asyncio.Task[None]] = set()
    while killed < kills:
        await asyncio.sleep(over_s / kills * lab.random.uniform(0.4, 1.4))
        lab.watch_crew()
        for index, member in enumerate(lab.crew):
            if member is None:
                lab.hire(index, concurrency=CONCURRENCY)
        victims = lab.settled(SETTLED_S)
        if not victims:
            continue
        victim = lab.random.choice(victims)
        if lab.random.random() < 0.3:
            lab.pause(victim)
            paused += 1
            task = asyncio.create_task(resume_later(lab, victim))
            healing.add(task)
            task.add_done_callback(healing.discard)
        else:
            lab.kill(victim)
            killed += 1
    await asyncio.gather(*healing)
    return killed, paused


async def resume_later(lab: Lab, index: int) -> None:
    """Let a stopped worker go on, sometimes before anybody has noticed, mostly long after."""
    await asyncio.sleep(lab.lease_s * lab.random.choice([0.3, 0.8, 1.5, 2.2]))
    lab.resume(index)
