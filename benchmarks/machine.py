"""What it was measured on, and whether that machine had anything else to do."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.contestants import NODE, PEERS_PYTHON, node
from taskscheduler.application.distribution import release

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.contestants import Contestant

BUSY_LOAD: Final = 0.25
"""Of other people's work for each core: more than that, and the figures are theirs as well."""

CPU_MODEL: Final = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)
MEMORY_KIB: Final = re.compile(r"^MemTotal:\s*(\d+)", re.MULTILINE)


def describe() -> dict[str, Any]:
    """Return what somebody else would need to know."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": _found(CPU_MODEL, Path("/proc/cpuinfo")) or platform.machine(),
        "memory_gib": round(int(_found(MEMORY_KIB, Path("/proc/meminfo")) or 0) / 2**20, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "load": load(),
    }


def load() -> float:
    """Return how many processes wanted to run in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def busy() -> str | None:
    """Say it, if the machine is at work before we have begun."""
    cores = os.cpu_count() or 1
    if load() <= BUSY_LOAD * cores:
        return None
    return (
        f"THE MACHINE IS BUSY: load average {load()} on {cores} cores before the first measure. "
        "Compare ratios of one round, and believe no absolute figure."
    )


def versions(contestants: Iterable[Contestant]) -> dict[str, str]:
    """Return the version of everybody who takes part."""
    return {each.name: _version(each) for each in contestants}


def _version(contestant: Contestant) -> str:
    if contestant.name == "taskscheduler":
        return release()
    if contestant.name == "bare psycopg":
        return version("psycopg")
    if contestant.program.endswith(".mjs"):
        code = (
            "console.log(JSON.parse(require('fs').readFileSync(process.argv[1])).version,"
            "'on Node', process.versions.node)"
        )
        manifest = NODE / "node_modules" / contestant.name / "package.json"
        return _said([node() or "node", "-e", code, str(manifest)])
    name = {"awa": "awa-pg"}.get(contestant.name, contestant.name)
    code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    return _said([str(PEERS_PYTHON), "-c", code, name])


def _said(command: list[str]) -> str:
    ran = subprocess.run(command, capture_output=True, check=False, text=True, timeout=30)
    return ran.stdout.strip() or "unknown"


def _found(pattern: re.Pattern[str], path: Path) -> str | None:
    try:
        found = pattern.search(path.read_text("utf-8"))
    except OSError:
        return None
    return None if found is None else found[1]
