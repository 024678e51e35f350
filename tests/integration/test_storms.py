"""Storms in earnest: ten thousand seeds in memory, and some on PostgreSQL."""

from __future__ import annotations

import logging
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from taskscheduler.testing.postgres import PostgresClock, empty, postgres_store
from tests.support.storm import storm, storms_in_memory

SEEDS = 10_000
BATCH = 250
SEEDS_ON_POSTGRES = 12
PROCESSES = os.cpu_count() or 1


@pytest.mark.timeout(300)
def test_ten_thousand_seeds_break_no_promise() -> None:
    """One that does is run again by ``storms_in_memory(seed, seed + 1)``."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool:
        firsts = range(0, SEEDS, BATCH)
        found = pool.map(storms_in_memory, firsts, (first + BATCH for first in firsts))
        broken = {seed: complaints for part in found for seed, complaints in part.items()}
    assert not broken


@pytest.mark.anyio
async def test_seeds_break_no_promise_on_postgres(
    postgres_url: str, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The same storms, in a real database under a clock in the test's hands."""
    caplog.set_level(logging.CRITICAL, "taskscheduler")
    broken: dict[int, list[str]] = {}
    for seed in range(SEEDS_ON_POSTGRES):
        with PostgresClock(postgres_url, schema) as clock:
            async with postgres_store(postgres_url, schema, clock) as store:
                if complaints := await storm(store, clock, seed, steps=25):
                    broken[seed] = complaints
        empty(postgres_url, schema)
    assert not broken
