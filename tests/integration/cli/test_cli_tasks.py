"""``tasks``: the operator's verbs, for people and for machines."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from tests.integration.processes import store

if TYPE_CHECKING:
    from tests.integration.cli.conftest import Call, Called
    from tests.integration.processes import Programs

FAR = "2093-05-06T07:08:09.123456Z"


class Operator:
    """Somebody who works on one database with ``taskscheduler tasks``."""

    def __init__(self, call: Call, programs: Programs) -> None:
        """Work on the database of ``programs``."""
        self._call = call
        self.programs = programs

    def call(self, command: str) -> Called:
        """Give a command, however it ends."""
        return self._call(f"tasks {command}", **self.programs.env)

    def good(self, command: str) -> str:
        """Give a command that must succeed; return what it prints."""
        called = self.call(command)
        assert (called.code, called.err) == (0, "")
        return called.out

    def asks(self, command: str) -> Any:
        """Return the JSON that a command answers."""
        return json.loads(self.good(f"{command} --json"))

    def refused(self, command: str, code: int = 1) -> str:
        """Give a command that must be refused in one line; return that line."""
        called = self.call(command)
        assert (called.code, called.out) == (code, "")
        (line,) = called.err.splitlines()
        return line


@pytest.fixture
def operator(call: Call, programs: Programs) -> Operator:
    """Give somebody to give commands."""
    return Operator(call, programs)


def test_as_a_process(programs: Programs):
    task_id = programs.good("tasks", "add", "Baz", "--payload", '{"a": "b c"}').strip()
    assert json.loads(programs.good("tasks", "show", task_id, "--json"))["payload"] == {"a": "b c"}
    assert task_id in programs.good("tasks", "list")
    assert "Pending" in programs.refused("tasks", "retry", task_id, code=1)


def test_a_task_from_its_adding_to_its_deletion(operator: Operator):
    task_id = operator.good(f"add Baz --at {FAR}").strip()
    assert UUID(task_id).version == 7
    shown = operator.good(f"show {task_id}")
    assert all(text in shown for text in (task_id, "Pending", "Baz", "default", FAR))
    assert operator.good("list").count("\n") == 1
    assert "Cancelled" in operator.good(f"cancel {task_id}")
    assert "Pending" in operator.good(f"retry {task_id}")
    assert "Pending" in operator.good(f"run {task_id}")
    assert task_id in operator.good(f"delete {task_id}")
    assert operator.good("list") == ""
    assert task_id in operator.refused(f"show {task_id}")


def test_for_machines(operator: Operator):
    added = operator.asks(
        "add Baz --at 2093-05-06T09:08:09.123456+02:00 --queue mail --priority 0"
        ' --max-attempts 3 --unique-key k --group acme --payload {"a":[1]}'
    )
    assert list(added) == ["id"]
    task = operator.asks(f"show {added['id']}")
    asked = {"kind": "Baz", "execute_at": FAR, "queue": "mail", "priority": 0, "max_attempts": 3}
    assert asked.items() <= task.items()
    assert task["group"] == "acme"
    assert [one["id"] for one in operator.asks("list --group acme --group b")] == [added["id"]]
    assert operator.asks("list --group b") == []
    assert operator.asks(f"update {added['id']} --group b")["group"] == "b"
    assert (task["payload"], task["unique_key"], task["attempts"]) == ({"a": [1]}, "k", [])
    assert operator.asks("add Baz --unique-key k") == added
    assert [one["id"] for one in operator.asks("list")] == [added["id"]]
    assert operator.asks(f"cancel {added['id']}")["status"] == "Cancelled"
    assert operator.asks(f"retry {added['id']}")["status"] == "Pending"
    assert operator.asks(f"run {added['id']}")["process_at"] < FAR


def test_tasks_that_wait_are_changed(operator: Operator):
    ids = [operator.good(f"add Baz --at {FAR}").strip() for _ in range(2)]
    assert operator.good(f"update {' '.join(ids)} --priority 1").count("Pending") == 2
    task = operator.asks(f"update {ids[0]} --at 2094-01-01T00:00:00Z --payload [1]")
    assert (task["process_at"], task["payload"]) == ("2094-01-01T00:00:00Z", [1])
    assert (task["priority"], operator.asks(f"show {ids[1]}")["payload"]) == (1, None)
    operator.good(f"cancel {ids[0]}")
    assert "Cancelled" in operator.refused(f"update {ids[0]} --priority 2")
    assert "--priority" in operator.refused(f"update {ids[0]}", code=2)


def test_lists_are_filtered_and_bounded(operator: Operator):
    ids = [operator.good(f"add {kind}").strip() for kind in ("Foo", "Baz", "Baz")]
    operator.good(f"cancel {ids[2]}")

    def found(arguments: str = "") -> list[str]:
        called = operator.call(f"list --json {arguments}")
        assert called.code == 0
        assert bool(called.err) == ("--limit" in arguments)  # those leave some out, and say so
        return [task["id"] for task in json.loads(called.out)]

    assert found() == ids[::-1]
    assert found("--kind Baz") == [ids[2], ids[1]]
    assert found("--kind Baz --status Pending") == [ids[1]]
    assert found("--queue other") == []
    assert found("--limit 1") == [ids[2]]
    assert found(f"--limit 1 --before {ids[2]}") == [ids[1]]


def test_tags_are_shown_and_find_their_tasks(operator: Operator):
    tagged = operator.good("add Baz --tag b --tag a").strip()
    operator.good("add Baz")
    assert "tags: b a" in operator.good(f"show {tagged}")
    assert [(each["id"], each["tags"]) for each in operator.asks("list --tag a --tag c")] == [
        (tagged, ["b", "a"])
    ]
    assert operator.asks("list --tag c") == []
    assert "letters" in operator.refused("add Baz --tag ü", code=2)
    operator.good("cancel --filter tag:b")
    assert operator.asks(f"show {tagged}")["status"] == "Cancelled"


def test_an_earlier_task_of_the_key_is_replaced(operator: Operator):
    add = f"add Baz --at {FAR} --unique-key k --on-conflict"
    first = operator.asks(f"{add} replace --payload 1")
    assert list(first) == ["id"]
    again = operator.asks(f"{add} replace --payload 2")
    assert again == {"id": first["id"], "created": False}
    assert operator.asks(f"{add} debounce --max-delay 60 --payload 3") == again
    task = operator.asks(f"show {first['id']}")
    assert task["payload"] == 3
    assert task["process_at"] < FAR
    assert "unique_key" in operator.refused("add Baz --on-conflict keep", code=2)


def test_a_failure_is_shown_with_its_traceback(operator: Operator):
    task_id = operator.good("add Raise --max-attempts 1 --accept-unknown-kinds").strip()
    operator.programs.good("worker", "--app", "jobs:handlers", "--drain")
    shown = operator.good(f"show {task_id}")
    assert "Failed" in shown
    assert "RuntimeError: it did not work" in shown
    assert "Traceback" in shown
    (attempt,) = operator.asks(f"show {task_id}")["attempts"]
    assert attempt["error"]["type"] == "RuntimeError"


def test_several_at_once(operator: Operator):
    ids = " ".join(operator.good("add Baz").strip() for _ in range(2))
    assert operator.good(f"cancel {ids}").count("Cancelled") == 2
    assert operator.good(f"delete {ids}").count("deleted") == 2


def test_what_is_not_allowed_is_one_line(operator: Operator):
    task_id = operator.good("add Baz").strip()
    operator.programs.good("worker", "--drain")
    for verb in ("cancel", "retry", "run"):
        assert "Completed" in operator.refused(f"{verb} {task_id}")
    unknown = str(uuid4())
    for verb in ("show", "cancel", "retry", "run", "delete"):
        assert unknown in operator.refused(f"{verb} {unknown}")


def test_retry_says_when_a_task_is_due(operator: Operator):
    """Its own time, unless another is asked for."""
    task_id = operator.good(f"add Baz --at {FAR}").strip()
    operator.good(f"cancel {task_id}")
    assert operator.good(f"retry {task_id}").endswith(f"  due at {FAR}\n")
    operator.good(f"cancel {task_id}")
    assert operator.good("retry --all") == (
        "retried 1 of 1 that matched; 0 are due now, 1 wait for their time\n"
    )
    operator.good(f"cancel {task_id}")
    at = "2094-01-01T00:00:00.0000001Z"
    assert operator.good(f"retry {task_id} --at {at}").endswith("2094-01-01T00:00:00.000001Z\n")
    operator.good(f"cancel {task_id}")
    assert operator.good(f"retry {task_id} --now").endswith("  due now\n")
    operator.good(f"cancel {task_id}")
    assert operator.asks("retry --all --now")["waiting"] == 0
    assert "--at or --now" in operator.refused(f"retry {task_id} --now --at {FAR}", code=2)
    assert "--at 'soon' must be a time" in operator.refused(f"retry {task_id} --at soon", code=2)


def test_a_payload_is_kept_to_the_letter(operator: Operator):
    task_id = operator.good('add Baz --payload {"a":1.10,"a":1e999}').strip()
    assert '  payload: {"a":1.10,"a":1e999}' in operator.good(f"show {task_id}").splitlines()
    operator.good(f"update {task_id} --at {FAR} --payload [1.0,2E+0]")
    assert "  payload: [1.0,2E+0]" in operator.good(f"show {task_id}").splitlines()


def test_many_by_filter(operator: Operator):
    for kind in ("Foo", "Baz", "Baz"):
        operator.good(f"add {kind} --queue mail")
    assert operator.good("cancel --filter kind:Baz --filter queue:mail") == (
        "cancelled 2 of 2 that matched\n"
    )
    assert operator.asks("retry --filter status:Cancelled") == {
        "looked_at": 2,
        "changed": 2,
        "waiting": 0,
    }
    either = "--filter kind:Foo --filter kind:Baz --filter queue:mail"
    assert operator.good(f"cancel {either}") == "cancelled 3 of 3 that matched\n"
    assert operator.good(f"retry {either}") == (
        "retried 3 of 3 that matched; 3 are due now, 0 wait for their time\n"
    )
    assert len(operator.asks("list --kind Foo --kind Baz --status Pending --queue mail")) == 3
    assert len(operator.asks("list --kind Foo --status Pending --status Failed")) == 1
    assert operator.asks("delete --filter kind:Foo --filter queue:other")["looked_at"] == 0
    assert operator.asks("delete --filter kind:Baz --from Completed:")["looked_at"] == 0
    assert operator.good("delete --all") == "deleted 3 of 3 that matched\n"
    assert operator.good("list") == ""


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "--filter kind",
        "--filter status:completed",
        f"{uuid4()} --all",
        f"{uuid4()} --filter kind:Foo",
        "--all --from x",
    ],
)
@pytest.mark.parametrize("verb", ["cancel", "retry", "delete"])
def test_what_is_meant_must_be_clear(operator: Operator, verb: str, wrong: str):
    operator.refused(f"{verb} {wrong}", code=2)


def test_a_status_that_forbids_it_is_refused(operator: Operator):
    assert "Completed" in operator.refused("retry --filter status:Completed")


def test_what_is_added_may_say_when_how_long_and_until_when(operator: Operator):
    (task_id,) = operator.good(f"add Baz --delay 3600 --timeout 2.5 --expires-at {FAR}").split()
    task = operator.asks(f"show {task_id}")
    begins = datetime.fromisoformat(task["execute_at"])
    assert timedelta(minutes=59) < begins - datetime.now(UTC) < timedelta(minutes=61)
    assert task["timeout_s"] == 2.5
    assert task["expires_at"] == FAR


@pytest.mark.parametrize("command", ["add Nobody", "list --kind Nobody"])
def test_a_kind_that_nobody_has_is_refused_and_the_known_ones_are_named(
    operator: Operator, command: str
):
    line = operator.refused(command, code=2)
    assert "unknown kind 'Nobody'" in line
    assert "Bar, Baz, Foo, http" in line
    assert operator.asks("list") == []


def test_a_kind_that_nobody_has_is_stored_where_that_is_wanted(operator: Operator):
    operator.good("add Nobody --accept-unknown-kinds")
    twin = {"TASKSCHEDULER_ACCEPT_UNKNOWN_KINDS": "1"}
    assert UUID(operator.programs.good("tasks", "add", "Nobody", **twin).strip())
    assert [task["kind"] for task in operator.asks("list")] == ["Nobody"] * 2
    assert [task["kind"] for task in operator.asks("list --kind Nobody")] == ["Nobody"] * 2
    assert operator.asks("cancel --filter kind:Nobody")["changed"] == 2


def test_a_kind_that_a_worker_has_registered_is_known(operator: Operator):
    operator.refused("add Quick", code=2)
    operator.programs.good("worker", "--app", "jobs:handlers", "--drain")
    operator.good("add Quick")


def test_a_list_that_leaves_some_out_says_so(operator: Operator):
    env = operator.programs.env
    ids = store(env["DATABASE_URL"], env["TASKSCHEDULER_SCHEMA"], [("Baz", None)] * 1105)
    newest = [str(each) for each in sorted(ids, reverse=True)]

    called = operator.call("list")
    assert [line.split()[0] for line in called.out.splitlines()] == newest[:100]
    assert called.err == (
        f"taskscheduler: there are more than 100: go on with --before {newest[99]}, or give --all\n"
    )
    called = operator.call(f"list --limit 1103 --json --before {newest[0]}")
    assert [task["id"] for task in json.loads(called.out)] == newest[1:1104]
    assert "more than 1103" in called.err
    for whole in ("--all", "--limit 1105", "--limit 5000"):
        assert [task["id"] for task in operator.asks(f"list {whole}")] == newest
    assert operator.asks(f"list --before {newest[-1]}") == []
