"""A few of the mutants: the tests notice them, and it is noticed when they do not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.runner import ROOT, judge

CHOSEN = {each.name: each for each in MUTANTS}
SNOOZE = CHOSEN["snooze counts"]


def test_a_handful_is_killed() -> None:
    names = ("IN_PROGRESS RELEASE astray", "drops a batch", "complete without the token")
    command = [sys.executable, "-m", "tests.mutants", *(f"--only={name}" for name in names)]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(names)} of {len(names)} mutants killed" in ran.stdout


def test_every_mutant_has_a_name_and_a_place_of_its_own() -> None:
    assert len(CHOSEN) == len(MUTANTS)
    for each in MUTANTS:
        each.applied()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"put": SNOOZE.find}, "SURVIVED"),
        ({"put": "nonsense("}, "BROKEN"),
        ({"only": "no_such_test"}, "BROKEN"),
    ],
)
def test_what_no_test_notices_is_told(changes: dict[str, str], word: str) -> None:
    assert judge(replace(SNOOZE, **changes)).word == word


def test_a_text_that_is_not_there_once_is_refused() -> None:
    with pytest.raises(ValueError, match="times, not once"):
        replace(SNOOZE, find="attempt").applied()
