"""A finding of ``doctor``, and how bad it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How a finding is to be taken: ``warn`` can wait until tomorrow, ``fail`` cannot."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, and where that is not well, what it means and what to do."""

    check: str
    verdict: Severity
    found: str
    means: str = ""
    remedy: str = ""


def graded(check: str, verdict: Severity, found: str, means: str = "", remedy: str = "") -> Finding:
    """Return a finding; one that is well needs no explaining."""
    if verdict is Severity.OK:
        return Finding(check, verdict, found)
    return Finding(check, verdict, found, means, remedy)


def worst(findings: list[Finding]) -> Severity:
    """Return how bad the worst of ``findings``."""
    order = list(Severity)
    return max((finding.verdict for finding in findings), key=order.index, default=Severity.OK)


def judge_package(name: str, release: str, stranger: str | None) -> Finding:
    """Judge what is installed; ``stranger`` is the version of the other package of our name."""
    if stranger is None:
        return Finding("package", Severity.OK, f"{name} {release}")
    return Finding(
        "package",
        Severity.WARN,
        f"{name} {release}, and beside it taskscheduler {stranger} of somebody else",
        "the package called taskscheduler on PyPI has nothing to do with this program",
        f"run: pip uninstall taskscheduler; and write {name} where that was asked for",
    )
