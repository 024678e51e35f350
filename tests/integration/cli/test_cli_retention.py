"""``retention run``, and the workers that do it by themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.processes import eventually

if TYPE_CHECKING:
    from tests.integration.cli.conftest import Call
    from tests.integration.processes import Programs


def test_old_tasks_are_dropped_by_hand(call: Call, programs: Programs):
    def good(command: str) -> str:
        called = call(command, **programs.env)
        assert (called.code, called.err) == (0, ""), called.err
        return called.out

    task_id = good("tasks add Baz").strip()
    good(f"tasks cancel {task_id}")
    good("tasks add Baz")
    plan = json.loads(good("retention run --retention kind:Baz=0s --retention 9d --dry-run --json"))
    assert plan == {"days": [], "dropped": 0, "deleted": 1, "pruned": 0, "dry_run": True}
    assert task_id in good("tasks list")
    folder = programs.folder / "exported"
    command = f"retention run --retention kind:Baz=0s --retention 9d --retention-export {folder}"
    assert "1 single tasks deleted" in good(command)
    assert task_id not in good("tasks list")
    (file,) = folder.iterdir()
    assert json.loads(file.read_text())["id"] == task_id
    assert "0 single tasks deleted" in good(command)


def test_old_entries_of_the_trail_are_deleted_by_hand(call: Call, programs: Programs):
    call("queues pause mail", **programs.env)
    call("tasks add Baz", **programs.env)

    def pruned(more: str) -> int:
        called = call(f"retention run --json {more}", **programs.env)
        assert (called.code, called.err) == (0, ""), called.err
        return json.loads(called.out)["pruned"]

    assert pruned("--retention-audit 1h") == 0
    assert pruned("--retention 0s") == 0, "only what is asked for is dropped by hand"
    assert pruned("--retention-audit 0s --dry-run") == 2
    assert len(call("audit", **programs.env).out.splitlines()) == 2
    assert pruned("--retention-audit 0s") == 2
    assert call("audit", **programs.env).out == ""


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "--retention forever",
        "--retention 30",
        "--retention status:Pending=1d",
        "--retention-audit forever",
        "--retention-audit 30",
    ],
)
def test_what_makes_no_sense_is_refused(call: Call, programs: Programs, wrong: str):
    called = call(f"retention run {wrong}", **programs.env)
    assert (called.code, called.out) == (2, "")
    assert len(called.err.splitlines()) == 1


def test_what_cannot_be_exported_stays(call: Call, programs: Programs):
    task_id = call("tasks add Baz", **programs.env).out.strip()
    call(f"tasks cancel {task_id}", **programs.env)
    programs.write("file", "")
    folder = programs.folder / "file"
    rules = "--retention kind:Baz=0s --retention 9d"
    called = call(f"retention run {rules} --retention-export {folder}", **programs.env)
    assert (called.code, called.out) == (1, "")
    assert "cannot be exported" in called.err
    assert task_id in call("tasks list", **programs.env).out


def test_a_worker_drops_old_tasks(call: Call, programs: Programs):
    task_id = call("tasks add Baz", **programs.env).out.strip()
    call(f"tasks cancel {task_id}", **programs.env)
    worker = programs.start(
        "worker", TASKSCHEDULER_RETENTION="status:Cancelled=0s 9d", TASKSCHEDULER_QUEUE="other"
    )
    eventually(lambda: task_id not in call("tasks list", **programs.env).out, "it is dropped")
    worker.stop()


def test_a_worker_deletes_old_entries_of_the_trail(call: Call, programs: Programs):
    call("queues pause mail", **programs.env)
    for span, left in (("400d", 1), ("0s", 0)):
        worker = programs.start(
            "worker", "--drain", "--retention-audit", span, TASKSCHEDULER_QUEUE="other"
        )
        eventually(lambda: not worker.runs, "it ends")  # noqa: B023
        assert len(call("audit", **programs.env).out.splitlines()) == left
