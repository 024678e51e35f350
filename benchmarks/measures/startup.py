"""How long the command line and the library take to come up, beside a bare interpreter."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.bench import OURS

if TYPE_CHECKING:
    from benchmarks.bench import Bench

REPEATS: Final = 7
COMMANDS: Final = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import taskscheduler": [sys.executable, "-c", "import taskscheduler"],
    "taskscheduler --help": [str(Path(sys.executable).with_name("taskscheduler")), "--help"],
}


async def measure(bench: Bench) -> None:
    """Each in turn; the quickest of seven counts, for only others' work makes it slower."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(REPEATS):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: ASYNC221
            taken[name].append((time.perf_counter() - began) * 1000)
    for name, values in taken.items():
        bench.note(name, OURS, min(values), "ms", lower_is_better=True)
