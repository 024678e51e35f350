"""``--app`` that cannot be loaded: one line says what, and where in the user's code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.integration.cli.test_cli_options import URL, refused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.cli.conftest import Call


class Broken(NamedTuple):
    """A user's module, and what is said of it."""

    reason: str
    source: str
    attribute: str = "handlers"


BROKEN = {
    "missing": Broken("No module named 'nothing_of_this'", "import nothing_of_this\n"),
    "wrong": Broken("SyntaxError", "def handlers(:\n"),
    "leaves": Broken("SystemExit: 3", "import sys\nsys.exit(3)\n"),
    "raises": Broken("ValueError: no way", "def handlers():\n    raise ValueError('no\\nway')\n"),
    "within": Broken("JSONDecodeError", "import json\nhandlers = json.loads('{')\n"),
    "refused": Broken(
        "kind 'a/b'",
        """\
from taskscheduler import Handlers
handlers = Handlers()
@handlers.register("a/b")
def job(context): ...
""",
    ),
    "speechless": Broken(
        "Speechless",
        """\
class Speechless(Exception):
    def __str__(self): raise RuntimeError
raise Speechless
""",
    ),
    "late": Broken(
        "OSError: disk",
        """\
class Late:
    @property
    def handlers(self): raise OSError("disk")
late = Late()
""",
        attribute="late.handlers",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("command", ["worker", "dev --port 0"])
def test_an_app_that_cannot_be_loaded_is_one_line(
    call: Call, tmp_path: Path, command: str, name: str
):
    broken = BROKEN[name]
    (tmp_path / f"broken_{name}.py").write_text(broken.source)
    line = refused(call(f"{command} --app broken_{name}:{broken.attribute}", DATABASE_URL=URL))
    assert broken.reason in line
    assert f"broken_{name}.py" in line
    assert re.search(r"line \d", line)
