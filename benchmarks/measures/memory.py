"""Whether a worker's memory grows with what it has run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.bench import OURS
from benchmarks.measures.feeding import fed
from benchmarks.process import install

if TYPE_CHECKING:
    from benchmarks.bench import Bench

WARM: Final = 100_000


async def measure(bench: Bench) -> None:
    """Ours: after the first hundred thousand tasks, and after all of them."""
    contestant = bench.contestant(OURS)
    lifetime = bench.sizes.lifetime
    with bench.server.database("memory") as url:
        await install(contestant, url)
        samples = await fed(
            contestant, url, bench.sizes.ahead, lambda sample: sample.handled >= lifetime
        )
    warm = next(sample for sample in samples if sample.handled >= min(WARM, lifetime // 2))
    end = samples[-1]
    mib = 2**20
    bench.note(
        f"memory after {warm.handled:,} tasks",
        OURS,
        warm.rss_bytes / mib,
        "MiB",
        lower_is_better=True,
    )
    bench.note(
        f"memory after {end.handled:,} tasks",
        OURS,
        end.rss_bytes / mib,
        "MiB",
        lower_is_better=True,
    )
    bench.note(
        "memory, end/beginning",
        OURS,
        end.rss_bytes / warm.rss_bytes,
        "of the beginning",
        lower_is_better=True,
    )
