"""Make one mutant, and see what the tests say to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.witness import FOLDER

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "taskscheduler"
PATIENCE_S = 150
TESTS_FAILED = 1

ENDS = {".sql": "\nEND $$;", ".py": "\n\n"}
"""How a function ends in SQL, and a statement in Python, by the name of the file."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """``find`` occurs in ``file`` exactly once, and becomes ``put``; ``tests`` must notice.

    With ``within``, which occurs once too, only what comes after it counts, up to the end of the
    function, or of the statement, that it begins.
    """

    name: str
    file: str
    find: str
    put: str
    tests: str
    only: str = ""
    within: str = ""

    def applied(self) -> str:
        """Return the mutated text of the file."""
        text = (PACKAGE / self.file).read_text()
        before = after = ""
        if self.within:
            before, _, text = self._split(text, self.within)
            text, end, after = text.partition(ENDS[Path(self.file).suffix])
            before, after = before + self.within, end + after
        head, _, tail = self._split(text, self.find)
        return before + head + self.put + tail + after

    def _split(self, text: str, at: str) -> tuple[str, str, str]:
        if (found := text.count(at)) != 1:
            message = f"{self.name}: {self.file} has its text {found} times, not once"
            raise ValueError(message)
        return text.partition(at)


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    word: str
    why: str

    @property
    def killed(self) -> bool:
        """Whether a test noticed."""
        return self.word == "killed"


def judge(mutant: Mutant) -> Verdict:
    """Run the mutant's tests against it."""
    text = mutant.applied()
    with tempfile.TemporaryDirectory(prefix="mutant-") as made:
        folder = Path(made).resolve()
        folder.chmod(0o755)
        shutil.copytree(
            PACKAGE, folder / "taskscheduler", ignore=shutil.ignore_patterns("__pycache__")
        )
        (folder / "taskscheduler" / mutant.file).write_text(text)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "tests.mutants.witness"]
        command += ["-p", "no:cacheprovider", "-o", "timeout=60", mutant.tests]
        if mutant.only:
            command += ["-k", mutant.only]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([made, str(ROOT)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
            FOLDER: str(folder),
        }
        try:
            ran = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Verdict(mutant, "BROKEN", f"not done after {PATIENCE_S} s")
        verdict = folder / "verdict.json"
        if not verdict.exists():
            return Verdict(mutant, "BROKEN", (ran.stdout + ran.stderr)[-500:])
        seen = json.loads(verdict.read_text())
    if seen["ran"] == 0 or seen["broken"] or ran.returncode not in {0, TESTS_FAILED}:
        why = seen["why"] or f"exit code {ran.returncode}, {seen['ran']} tests ran"
        return Verdict(mutant, "BROKEN", why)
    if ran.returncode == 0:
        return Verdict(mutant, "SURVIVED", f"{seen['ran']} tests passed")
    return Verdict(mutant, "killed", seen["failed"].rpartition("::")[2])
