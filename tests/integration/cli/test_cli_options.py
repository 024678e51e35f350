"""Help, options, their twins in the environment and in ``.env``, and refusals in one line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.cli.conftest import Call, Called
    from tests.integration.processes import Programs

COMMANDS = (
    "dev",
    "api",
    "worker",
    "migrate",
    "audit",
    "keys",
    "keys add",
    "keys list",
    "keys revoke",
    "tasks",
    "tasks add",
    "tasks list",
    "tasks show",
    "tasks why",
    "tasks update",
    "tasks cancel",
    "tasks retry",
    "tasks run",
    "tasks delete",
    "doctor",
    "workers",
    "queues",
    "queues list",
    "queues pause",
    "queues resume",
    "retention",
    "retention run",
    "schedules",
    "schedules list",
    "schedules show",
    "schedules put",
    "schedules delete",
    "schedules pause",
    "schedules resume",
    "schedules trigger",
    "schedules preview",
)
URL = "postgresql://127.0.0.1:1/nowhere"


def refused(called: Called) -> str:
    """Check that a call was refused in one line; return that line."""
    assert (called.code, called.out) == (2, "")
    (line,) = called.err.splitlines()
    assert line.startswith("taskscheduler: ")
    return line


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_explains_itself(call: Call, command: str):
    called = call(f"{command} --help")
    assert (called.code, called.err) == (0, "")
    assert called.out.startswith("Usage: ")
    for name in COMMANDS:
        outer, _, inner = name.rpartition(" ")
        if outer == command:
            assert re.search(rf"^  {inner} +\S", called.out, re.MULTILINE), called.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_twin_in_the_environment(call: Call, command: str):
    options = call(f"{command} --help").out.partition("\nOptions:")[2].partition("Commands:")[0]
    blocks = re.split(r"\n  (?:-n, )?--", options)
    assert blocks[-1].startswith("help")
    if command in {"dev", "api", "worker"}:
        assert len(blocks) > 10
    for block in blocks[1:]:
        option, _, text = " ".join(block.split()).partition(" ")
        if option != "help":
            name = option.upper().replace("-", "_")
            way = command.upper().replace(" ", "_")
            twin = rf"TASKSCHEDULER_({way}_)?{name}"
            # A long name is broken where the column ends.
            assert re.search(rf"envvar:([^\]]*,)?{twin}[,;\]]", "".join(text.split())), (
                option,
                text,
            )


def test_a_twin_of_a_verbs_own_option_counts(call: Call, programs: Programs):
    twins = {"TASKSCHEDULER_TASKS_ADD_PRIORITY": "2", "TASKSCHEDULER_TASKS_ADD_JSON": "1"}
    task_id = json.loads(call("tasks add Foo", **programs.env, **twins).out)["id"]
    assert json.loads(programs.good("tasks", "show", task_id, "--json"))["priority"] == 2
    twins = {"TASKSCHEDULER_TASKS_ADD_PRIORITY": "high"}
    assert "TASKSCHEDULER_TASKS_ADD_PRIORITY" in refused(call("tasks add Foo", **twins))


def test_it_says_which_release_it_is(call: Call):
    called = call("--version")
    assert (called.code, called.err) == (0, "")
    assert re.fullmatch(r"durable-taskscheduler \S+\n", called.out)


def test_a_shell_completes_commands_options_and_values(bare: Programs):
    def completed(typed: str) -> list[str]:
        words = typed.split(" ")
        shell = {"COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
        return bare.good(_TASKSCHEDULER_COMPLETE="complete_bash", **shell).split()

    assert completed("taskscheduler sched") == ["schedules"]
    assert "--accept-unknown-kinds" in completed("taskscheduler tasks add --a")
    assert completed("taskscheduler tasks list --status F") == ["Failed"]
    assert "_taskscheduler_completion" in bare.good("--show-completion", "bash")


def test_without_a_command_it_explains_itself_and_fails(call: Call):
    called = call("")
    assert called.code == 2
    assert "Usage: " in called.out + called.err


def test_as_a_process(bare: Programs):
    assert bare.good("--help").startswith("Usage: taskscheduler")
    assert "concurrency" in bare.refused("worker", "--concurrency", "x")


@pytest.mark.parametrize(
    "command",
    [
        "nonsense",
        "tasks",
        "tasks nonsense",
        "worker --nonsense",
        "worker extra",
        "worker --concurrency x",
        "worker --concurrency 0",
        "worker --processes 0",
        "worker --lease 0",
        "worker --lease nan",
        "worker --poll-interval nan",
        "worker --unique-for nan",
        "dev --shutdown-timeout nan",
        "worker --lease inf",
        "worker --lease 1e300",
        "worker --poll-interval 0",
        "worker --poll-interval inf",
        "worker --shutdown-timeout -1",
        "worker --shutdown-timeout inf",
        "worker --unique-for 1e300",
        "worker --queue a/b",
        "worker --queue=",
        "worker --schema=",
        "worker --schema pg_mine",
        "worker --schema a$$b",
        "migrate --schema a$$b",
        "api --schema a\x1bb",
        "worker --app nonsense",
        "worker --app nonsense:handlers",
        "worker --app json:nonsense",
        "worker --app json:loads",
        "worker --app json:decoder",
        "worker --log-level nonsense",
        "worker --log-format nonsense",
        "worker --database-url mysql://127.0.0.1/x",
        "api --port x",
        "api --port 0 --access nonsense",
        "api --port 0 --host 0.0.0.0 --access open",
        "api --port 0 --rate-limit 5/s",
        "api --port 0 --access keys --rate-limit x",
        "api --port 0 --access keys --rate-limit 0/s",
        "api --port 0 --access keys --rate-limit nan",
        "api --port 0 --access keys --rate-limit 5/x",
        "api --port 0 --access keys --rate-limit 5/",
        "api --port 0 --cors-origin example.org",
        "api --port 0 --allowed-host http://example.org",
        "api --port 0 --allowed-host example.org:80",
        "api --port 0 --trusted-proxy balancer",
        "api --port 0 --connections-max 0",
        "api --port 0 --cors-origin https://example.org/path",
        "api --port 0 --cors-origin https://a@example.org",
        "dev --port 0 --host 0.0.0.0 --access open",
        "keys",
        "keys add",
        "keys add x --scope root",
        "keys add x --expires tomorrow",
        "keys add x --expires 0d",
        "keys add x --expires 9999999d",
        "keys add x --expires 2030-01-01T00:00:00",
        "keys add x --queue-prefix a/b",
        "api --port 65536",
        "api --host 256.0.0.1",
        "api --pool-size 0",
        "api --body-bytes-max 1",
        "api --log-level nonsense",
        "dev --port -1",
        "dev --data a-file",
        "dev --app nonsense:handlers",
        "migrate --schema=",
        "tasks show",
        "tasks show 7",
        "tasks list --status completed",
        "tasks list --limit 0",
        "tasks list --limit 5 --all",
        "tasks list --before x",
        "tasks add",
        "tasks add Foo --at tomorrow",
        "tasks add Foo --at 2093-01-01T00:00:00",
        "tasks add Foo --payload {",
        "tasks add Foo --priority 10",
        "tasks add Foo --max-attempts 0",
        "tasks add Foo --delay -1",
        "tasks add Foo --delay nan",
        "tasks add Foo --delay 1e300",
        "tasks add Foo --delay 5 --at 2093-01-01T00:00:00Z",
        "tasks add Foo --timeout 0",
        "tasks add Foo --timeout inf",
        "tasks add Foo --timeout nan",
        "tasks add Foo --expires-at tomorrow",
        "schedules",
        "schedules show",
        "schedules delete",
        "schedules put",
        "schedules put a --cron @daily",
        "schedules put a --kind Foo",
        "schedules put a --kind Foo --cron @daily --every 60",
        "schedules put a/b --kind Foo --cron @daily",
        "schedules put a --kind F/oo --cron @daily",
        "schedules put a --kind Foo --cron=",
        "schedules put a --kind Foo --every 0",
        "schedules put a --kind Foo --every nan",
        "schedules put a --kind Foo --every inf",
        "schedules put a --kind Foo --every x",
        "schedules put a --kind Foo --cron @daily --time-zone=",
        "schedules put a --kind Foo --cron @daily --payload {",
        "schedules put a --kind Foo --cron @daily --queue a/b",
        "schedules put a --kind Foo --cron @daily --priority 10",
        "schedules put a --kind Foo --cron @daily --max-attempts 0",
        "schedules put a --kind Foo --cron @daily --timeout 0",
        "schedules put a --kind Foo --cron @daily --timeout nan",
        "schedules put a --kind Foo --cron @daily --starts-at tomorrow",
        "schedules put a --kind Foo --cron @daily --ends-at 2093-01-01T00:00:00",
        "schedules put a --kind Foo --cron @daily --catch-up some",
        "schedules put a --kind Foo --cron @daily --overlap maybe",
        "schedules put a --kind Foo --cron @daily --catch-up all --overlap skip",
        "schedules preview a -n 0",
        "schedules preview a -n 101",
    ],
)
def test_a_bad_call_is_refused_in_one_line(call: Call, tmp_path: Path, command: str):
    (tmp_path / "a-file").touch()
    refused(call(command, DATABASE_URL=URL))


@pytest.mark.parametrize(
    "command",
    ["Fo/o", "Foo --queue a/b", "Foo --at 9999-12-31T00:00:00Z", "Foo --unique-key="],
)
def test_what_cannot_be_a_task_is_refused_in_one_line(call: Call, programs: Programs, command: str):
    refused(call(f"tasks add {command}", **programs.env))
    assert programs.good("tasks", "list") == ""


@pytest.mark.parametrize("command", ["api", "worker", "migrate", "tasks list"])
def test_no_database_at_all_is_refused(call: Call, command: str):
    assert "DATABASE_URL" in refused(call(command))


@pytest.mark.parametrize(
    "name", ["LEASE", "CONCURRENCY", "PROCESSES", "POLL_INTERVAL", "SHUTDOWN_TIMEOUT", "LOG_LEVEL"]
)
def test_a_bad_twin_is_refused_by_its_name(call: Call, name: str):
    twin = f"TASKSCHEDULER_{name}"
    assert twin in refused(call("worker", **{twin: "nonsense", "DATABASE_URL": URL}))


def test_a_bad_line_of_the_file_is_refused_by_its_name(bare: Programs):
    bare.write(".env", "TASKSCHEDULER_BODY_BYTES_MAX=nonsense\n")
    assert "TASKSCHEDULER_BODY_BYTES_MAX" in bare.refused("dev")
    assert "TASKSCHEDULER_BODY_BYTES_MAX" in bare.refused("api", DATABASE_URL=URL)


def test_a_file_that_is_not_text_is_refused(bare: Programs):
    (bare.folder / ".env").write_bytes(b"\xff\xfe=\0\n")
    assert ".env" in bare.refused("migrate", "--print")


def test_option_then_environment_then_file(bare: Programs):
    def schema(*arguments: str, **env: str) -> str:
        found = re.search(r"from_\w+", bare.good("migrate", "--print", *arguments, **env))
        assert found is not None
        return found[0]

    bare.write(".env", "TASKSCHEDULER_SCHEMA=from_file\n")
    assert schema() == "from_file"
    assert schema(TASKSCHEDULER_SCHEMA="from_environment") == "from_environment"
    both = {"TASKSCHEDULER_SCHEMA": "from_environment"}
    assert schema("--schema", "from_option", **both) == "from_option"


def test_the_database_is_found_in_the_file_too(programs: Programs):
    url, schema = programs.env["DATABASE_URL"], programs.env["TASKSCHEDULER_SCHEMA"]
    programs.write(".env", f"DATABASE_URL={url}\nTASKSCHEDULER_SCHEMA={schema}\n")
    del programs.env["DATABASE_URL"], programs.env["TASKSCHEDULER_SCHEMA"]
    assert programs.good("migrate", "--check") == "up to date\n"
    programs.refused("migrate", "--check", code=1, DATABASE_URL=URL)
    programs.refused("migrate", "--check", code=1, TASKSCHEDULER_DATABASE_URL=URL)
    here = {"DATABASE_URL": URL, "TASKSCHEDULER_DATABASE_URL": url}
    assert programs.good("migrate", "--check", **here) == "up to date\n"
