"""What a scenario has to say in the end: one line of a table, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.checker import Verdict

HEAD = (
    "| fault | times | tasks | lost | doubled | early | other | rescue or recovery | command |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|---|"
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a run was asked for."""

    short: bool
    seed: int
    tasks: int | None
    folder: Path

    def command(self, name: str) -> str:
        """Return the command that repeats a scenario."""
        words = ["python -m tests.chaos", f"--only {name}", f"--seed {self.seed}"]
        if self.short:
            words.append("--short")
        if self.tasks is not None:
            words.append(f"--tasks {self.tasks}")
        return " ".join(words)


@dataclass(kw_only=True)
class Row:
    """One line of the table."""

    fault: str
    times: int
    tasks: int
    command: str
    lost: int = 0
    doubled: int = 0
    early: int = 0
    other: int = 0
    worst_s: float | None = None
    violations: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, verdict: Verdict, *, fault: str, times: int, command: str, worst_s: float | None
    ) -> Row:
        """Return the line that tells a checker's verdict."""
        return cls(
            fault=fault,
            times=times,
            tasks=verdict.tasks,
            command=command,
            lost=verdict.count("lost"),
            doubled=verdict.count("doubled"),
            early=verdict.count("early"),
            other=verdict.count("other"),
            worst_s=worst_s,
            violations=[f"{found.sort}: {found.text}" for found in verdict.violations],
            remarks=verdict.remarks(),
        )

    def __str__(self) -> str:
        """Return the line as Markdown."""
        worst = "-" if self.worst_s is None else f"{self.worst_s:.1f} s"
        cells = (
            self.fault,
            self.times,
            self.tasks,
            self.lost,
            self.doubled,
            self.early,
            self.other,
            worst,
            f"`{self.command}`",
        )
        return "| " + " | ".join(map(str, cells)) + " |"


def table(rows: Iterable[Row]) -> str:
    """Return all lines under their heading."""
    return "\n".join([HEAD, *map(str, rows)])
