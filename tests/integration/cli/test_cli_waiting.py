"""``tasks wait``: how tasks end, told when they have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.cli.conftest import Call
    from tests.integration.processes import Programs

APP = """
from taskscheduler import Discard, Handlers

handlers = Handlers()

@handlers.register("double")
async def double(context, number: int):
    return {"doubled": 2 * number}

@handlers.register("breaks")
async def breaks(context):
    raise Discard("it is broken")
"""


def test_results_are_waited_for(call: Call, programs: Programs):
    programs.write("answers.py", APP)
    unknown = "--accept-unknown-kinds"
    good = programs.good("tasks", "add", "double", "--payload", "21", unknown).strip()
    bad = programs.good("tasks", "add", "breaks", unknown).strip()
    early = call(f"tasks wait {good} --timeout 0", **programs.env)
    assert (early.code, early.out) == (1, f"{good}  has not ended yet\n")
    programs.good("worker", "--app", "answers:handlers", "--drain")
    one = call(f"tasks wait {good}", **programs.env)
    assert (one.code, one.err) == (0, "")
    assert one.out == f'{good}  Completed  {{"doubled":42}}\n'
    both = call(f"tasks wait {good} {bad} --json --timeout 5", **programs.env)
    assert both.code == 1
    first, second = map(json.loads, both.out.splitlines())
    assert first == {"id": good, "status": "Completed", "result": {"doubled": 42}, "error": None}
    assert second["error"]["message"] == "it is broken"
    shown = call(f"tasks show {good} --json", **programs.env)
    assert json.loads(shown.out)["result"] == {"doubled": 42}
    assert '  result: {"doubled":42}' in call(f"tasks show {good}", **programs.env).out
