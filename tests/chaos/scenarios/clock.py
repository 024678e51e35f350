"""The store's clock jumps by an hour, forward and back, while everybody works."""

from __future__ import annotations

import asyncio

from psycopg import sql

from tests.chaos.lab import LEASE_S, SCHEMA, Lab, quiet
from tests.chaos.report import Options, Row

NAME = "clock"
HOUR_S = 3600.0
SET = """
CREATE OR REPLACE FUNCTION {schema}.clock() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS {body}"""


def run(options: Options) -> list[Row]:
    """Let the clock jump: once while nobody dies, once around a worker's death."""
    if options.short:
        return [trial(options, "clock jumps an hour; worker killed before one", both)]
    rows = [trial(options, "store's clock jumps an hour, either way", jumps)]
    rows.append(trial(options, "worker killed, then the clock jumps back", death_before_jump))
    return rows


def trial(options: Options, fault: str, harm: object) -> Row:
    """Run one of the two."""
    assert callable(harm)
    tasks = options.tasks or (300 if options.short else 3_000)
    over_s = 6.0 if options.short else 40.0
    folder = options.folder / f"{NAME}-{harm.__name__}"
    with quiet(), Lab(folder, seed=options.seed) as lab:
        times = asyncio.run(
            lab.trial(
                lambda span: harm(lab, span),
                tasks=tasks,
                over_s=over_s,
                workers=2,
                ahead_s=2.0,
                # What was stored while the clock was ahead comes due again.
                before_drain=lambda: set_clock(lab, 2 * HOUR_S),
                drain_s=30.0,
            )
        )
        verdict = lab.judge()
    return Row.of(
        verdict,
        fault=fault,
        times=times,
        command=options.command(NAME),
        worst_s=verdict.worst_rescue_s,
    )


def set_clock(lab: Lab, offset_s: float) -> None:
    """Put the store's clock ahead of the host's by ``offset_s``."""
    body = f"SELECT statement_timestamp() + interval '{offset_s} s'"
    with lab.server.admin() as connection:
        connection.execute(
            sql.SQL(SET).format(schema=sql.Identifier(SCHEMA), body=sql.Literal(body))
        )
    lab.injector.add("clock", offset_s=offset_s)


async def jumps(lab: Lab, span: float) -> int:
    """Jump forward, back, and further back."""
    offsets = [HOUR_S, 0.0, -HOUR_S, 0.0, HOUR_S, 0.0]
    if span < 10:
        offsets = [HOUR_S, 0.0, -HOUR_S, 0.0]
    for offset in offsets:
        await asyncio.sleep(span / (len(offsets) + 1))
        await asyncio.to_thread(set_clock, lab, offset)
    return len(offsets)


async def both(lab: Lab, span: float) -> int:
    """Do a little of each."""
    return await jumps(lab, span / 2) + await death_before_jump(lab, span / 2)


async def death_before_jump(lab: Lab, span: float) -> int:
    """Kill a worker, and set the clock back by an hour before anybody has noticed."""
    times = 1 if span < 10 else 4
    offset = 0.0
    for _ in range(times):
        await asyncio.sleep(min(2.0, span / 4))
        lab.kill(0)
        offset -= HOUR_S
        await asyncio.to_thread(set_clock, lab, offset)
        await asyncio.sleep(2.6 * LEASE_S)
        lab.hire(0)
    return times
