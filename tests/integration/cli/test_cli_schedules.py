"""``schedules``: what is stored again and again, for people and for machines."""

from __future__ import annotations

import json
import re
import shlex
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from taskscheduler.entrypoints.cli import schedules as commands

if TYPE_CHECKING:
    from tests.integration.cli.conftest import Call, Called
    from tests.integration.processes import Programs

NIGHTLY = "put nightly --kind Baz --cron '0 3 * * *' --time-zone Europe/Berlin"
PAST, FAR = "2001-01-01T00:00:00Z", "2093-05-06T07:08:09.123456Z"


class Operator:
    """Somebody who works on one database with ``taskscheduler schedules``."""

    def __init__(self, call: Call, programs: Programs) -> None:
        """Work on the database of ``programs``."""
        self._call = call
        self.programs = programs

    def calls(self, command: str) -> Called:
        """Give a command as a shell would."""
        return self._call(shlex.split(command), **self.programs.env)

    def good(self, command: str) -> str:
        """Give a command that must succeed; return what it prints."""
        called = self.calls(f"schedules {command}")
        assert (called.code, called.err) == (0, ""), called.err
        return called.out

    def asks(self, command: str) -> Any:
        """Return the JSON that a command answers."""
        return json.loads(self.good(f"{command} --json"))

    def tasks(self) -> list[dict[str, Any]]:
        """Return the tasks that there are."""
        return json.loads(self.calls("tasks list --json").out)

    def refused(self, command: str, code: int = 1) -> str:
        """Give a command that must be refused in one line; return that line."""
        called = self.calls(f"schedules {command}")
        assert (called.code, called.out) == (code, "")
        (line,) = called.err.splitlines()
        assert line.startswith("taskscheduler: ")
        return line


@pytest.fixture
def operator(call: Call, programs: Programs) -> Operator:
    """Give somebody to give commands."""
    return Operator(call, programs)


def test_as_a_process(programs: Programs):
    put = ("schedules", "put", "nightly", "--kind", "Baz", "--cron", "0 3 * * *")
    assert "0 3 * * *" in programs.good(*put)
    assert "nightly" in programs.good("schedules", "list")
    assert "not understood" in programs.refused(*put[:-1], "0 3 * *")
    assert "'weekly'" in programs.refused("schedules", "show", "weekly", code=1)


def test_a_schedule_from_its_making_to_its_deletion(operator: Operator):
    assert operator.good("list") == ""
    made = operator.good(NIGHTLY)
    assert re.fullmatch(
        r"nightly +Baz +default +0 3 \* \* \* +Europe/Berlin  next 2\S+Z  made\n", made
    )
    assert operator.good(NIGHTLY).endswith("Z  as it was\n")
    assert operator.good(f"{NIGHTLY} --priority 1").endswith("Z  changed\n")
    operator.good("put beat --kind Foo --every 90 --queue mail")
    heartbeat, nightly = operator.good("list").splitlines()
    assert re.match(r"beat +Foo +mail +every 90 s +UTC  next 2", heartbeat)
    assert nightly.startswith("nightly ")
    assert operator.good("pause nightly beat").count("  paused since 2") == 2
    assert operator.good(NIGHTLY).endswith("Z  changed\n")  # and paused still
    assert operator.good("list").count("paused since") == 2
    assert operator.good("resume beat nightly").count("  next 2") == 2
    task_id = operator.good("trigger nightly").strip()
    assert [task["id"] for task in operator.tasks()] == [task_id]
    assert operator.good("delete beat nightly") == "deleted beat\ndeleted nightly\n"
    assert operator.good("list") == ""
    assert [task["kind"] for task in operator.tasks()] == ["Baz"]
    assert "'nightly'" in operator.refused("delete nightly")


def test_all_that_is_known_of_one_is_shown(operator: Operator):
    operator.good("put plain --kind Baz --every 1.5")
    shown = operator.good("show plain").splitlines()
    assert "every 1.5 s" in shown[0]
    assert shown[1:5] == [
        "  payload: null",
        "  priority 5  attempts as its handler  timeout as its handler",
        "  starts -  ends -",
        "  catch-up latest  overlap allow",
    ]
    assert shown[5] == "  last due -  last task -"
    assert re.fullmatch(r"  made 2\S+Z  changed 2\S+Z  revision 1", shown[6])
    operator.good(
        """put full --kind Baz --every 31622400 --payload '{"a b": [1]}' --priority 0"""
        " --max-attempts 3 --timeout 0.5 --starts-at 2090-01-01T01:00:00+01:00"
        f" --ends-at {FAR} --catch-up none --overlap skip"
    )
    shown = operator.good("show full").splitlines()
    assert "every 31622400 s" in shown[0]
    assert shown[1:5] == [
        '  payload: {"a b": [1]}',
        "  priority 0  attempts 3  timeout 0.5 s",
        f"  starts 2090-01-01T00:00:00Z  ends {FAR}",
        "  catch-up none  overlap skip",
    ]


def test_for_machines(operator: Operator):
    assert operator.asks("list") == []
    made = operator.asks(
        f"""{NIGHTLY} --payload '{{"to": "team"}}' --queue mail --priority 0 --max-attempts 3"""
        f" --timeout 60 --starts-at {PAST} --ends-at {FAR} --catch-up all"
    )
    asked = {
        "name": "nightly",
        "kind": "Baz",
        "cron": "0 3 * * *",
        "every_s": None,
        "time_zone": "Europe/Berlin",
        "payload": {"to": "team"},
        "queue": "mail",
        "priority": 0,
        "max_attempts": 3,
        "timeout_s": 60,
        "starts_at": PAST,
        "ends_at": FAR,
        "catch_up": "all",
        "overlap": "allow",
    }
    assert asked.items() <= made.items()
    assert operator.asks("show nightly") == made
    assert operator.asks("list") == [made]
    assert operator.asks("pause nightly")["next_fire_at"] is None
    assert operator.asks("resume nightly")["next_fire_at"] == made["next_fire_at"]
    triggered = operator.asks("trigger nightly")
    assert UUID(triggered["id"]).version == 7
    (task,) = operator.tasks()
    assert (task["id"], task["queue"], task["payload"]) == (
        triggered["id"],
        "mail",
        {"to": "team"},
    )
    assert operator.asks("delete nightly") == {"deleted": "nightly"}


def test_what_fires_no_more_has_ended(operator: Operator):
    assert "ended" in operator.good(f"{NIGHTLY} --ends-at {PAST}")
    assert operator.good("preview nightly") == ""
    assert operator.asks("preview nightly")["fires"] == []


def test_fires_are_foretold_on_the_clocks_of_the_zone(operator: Operator):
    operator.good(f"{NIGHTLY} --starts-at 2026-03-27T12:00:00Z --ends-at 2093-01-01T00:00:00Z")
    lines = operator.good("preview nightly").splitlines()
    assert len(lines) == 10
    for line in lines:
        assert re.fullmatch(
            r"2\S+T0[12]:00:00Z  [A-Z][a-z]{2} 2\S+T03:00:00\+0[12]:00  Europe/Berlin", line
        )
    foretold = operator.asks("preview nightly -n 2")
    assert (foretold["name"], foretold["time_zone"]) == ("nightly", "Europe/Berlin")
    first, second = (datetime.fromisoformat(each["at"]) for each in foretold["fires"])
    assert timedelta(hours=23) <= second - first <= timedelta(hours=25)
    local = datetime.fromisoformat(foretold["fires"][0]["local"])
    assert (local, local.hour) == (first, 3)
    operator.good("pause nightly")
    assert operator.asks("preview nightly -n 2") == foretold


def test_what_was_done_is_on_the_trail(operator: Operator):
    for command in (NIGHTLY, NIGHTLY, "pause nightly", "resume nightly", "delete nightly"):
        operator.good(command)
    told = operator.calls("audit --target nightly").out
    assert len(told.splitlines()) == 4
    assert told.count("nightly  by cli:") == 4


def test_more_than_a_page_is_listed(operator: Operator, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(commands, "PAGE", 2)
    for name in ("c", "a", "b"):
        operator.good(f"put {name} --kind Baz --cron @daily")
    assert [line[0] for line in operator.good("list").splitlines()] == ["a", "b", "c"]
    assert [each["name"] for each in operator.asks("list")] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("", "give either --cron or --every"),
        ("--cron @daily --every 5", "give either --cron or --every"),
        ("--cron '0 3 * *'", "cron: '0 3 * *' is not understood"),
        ("--cron '61 3 * * *'", "cron: '61 3 * * *' is not understood"),
        ("--cron @daily --time-zone Mars/Base", "time_zone: 'Mars/Base' is no IANA time zone"),
        ("--every 5 --time-zone ../etc", "time_zone: "),
        ("--cron @daily --ends-at 2001-01-01", "--ends-at '2001-01-01' must be a time"),
        (f"--cron @daily --starts-at {FAR} --ends-at {PAST}", "ends_at: "),
        ("--cron @daily --starts-at 9999-12-31T00:00:00Z", "starts_at: "),
        ("--cron @daily --catch-up all --overlap skip", "catch_up: "),
        ("--cron @daily --queue a/b", "queue: "),
    ],
)
def test_what_cannot_be_a_schedule_is_refused(operator: Operator, options: str, why: str):
    assert why in operator.refused(f"put nightly --kind Baz {options}", code=2)
    assert operator.good("list") == ""


def test_what_is_not_there_is_refused(operator: Operator):
    for verb in ("show", "delete", "pause", "resume", "trigger", "preview"):
        assert "no schedule has the name 'nightly'" in operator.refused(f"{verb} nightly")
        assert "'a/b'" in operator.refused(f"{verb} a/b")


def test_a_kind_that_nobody_has_is_refused_unless_that_is_wanted(call: Call, programs: Programs):
    put = ["schedules", "put", "nightly", "--kind", "Nobody", "--cron", "0 3 * * *"]
    called = call(put, **programs.env)
    assert (called.code, called.out) == (2, "")
    assert "unknown kind 'Nobody'; known kinds: Bar, Baz, Foo, http" in called.err
    assert "--accept-unknown-kinds" in called.err
    assert programs.good("schedules", "list") == ""
    assert "made" in programs.good(*put, "--accept-unknown-kinds")


def test_policies_and_bounds(operator: Operator):
    options = "--also '0 5 * * *' --gap skip --fold both --jitter 1.5 --max-fires 3"
    made = operator.asks(f"{NIGHTLY} {options}")
    assert (made["crons"], made["gap"], made["fold"]) == (["0 5 * * *"], "skip", "both")
    assert (made["jitter_s"], made["max_fires"]) == (1.5, 3)
    shown = operator.good("show nightly")
    assert "0 3 * * * | 0 5 * * *" in shown
    assert "gap skip  fold both  jitter 1.5 s" in shown
    assert "tasks so far 0  at most 3" in shown
    starts = "--starts-at 2093-03-28T12:00:00Z"
    operator.good(f"put gap --kind Baz --cron '30 2 * * *' --time-zone Europe/Berlin {starts}")
    (line,) = operator.good("preview gap -n 1").splitlines()
    assert "gap: the clocks leave its time out; gap skip would leave the fire out" in line
    operator.refused("put a --kind Baz --cron '0 3 * * *' --gap before", code=2)


def test_what_became_of_fires(operator: Operator):
    operator.good(NIGHTLY)
    assert operator.good("fires nightly") == ""
    ids = [operator.good("trigger nightly").strip() for _ in range(3)]
    lines = operator.good("fires nightly").splitlines()
    assert [line.split()[1:3] for line in lines] == [["triggered", each] for each in reversed(ids)]
    (entry,) = operator.asks("fires nightly --limit 1")
    assert (entry["outcome"], entry["task_id"]) == ("triggered", ids[-1])
    assert "'weekly'" in operator.refused("fires weekly")


def test_a_span_is_backfilled(operator: Operator):
    operator.good(NIGHTLY)
    span = "--from 2024-03-01T00:00:00Z --to 2024-03-03T12:00:00Z"
    done = operator.good(f"backfill nightly {span}")
    assert done == "stored the tasks of 3 of 3 fires; the others had one\n"
    assert operator.asks(f"backfill nightly {span}") == {
        "looked_at": 3,
        "backfilled": 0,
        "present": 3,
    }
    assert operator.good("fires nightly").count("backfilled") == 3
    assert "schedule backfilled" in operator.calls("audit --target nightly").out
    far = "--from 2024-03-01T00:00:00Z --to 2093-01-01T00:00:00Z"
    assert "to: must not be in the future" in operator.refused(f"backfill nightly {far}", code=2)
    assert "--from" in operator.refused("backfill nightly --from now --to now", code=2)


def test_overlaps_bounds_rules_and_what_is_left_out(operator: Operator):
    rule = "FREQ=DAILY;BYHOUR=3;BYMINUTE=0;BYSECOND=0"
    options = (
        f"--rrule '{rule}' --except 2026-12-25 --except '* * * 8 *' --overlap buffer_all "
        "--catch-up-window 90 --catch-up-max 5 --pause-after-failures 2"
    )
    made = operator.asks(f"put report --kind Baz {options}")
    assert (made["rrule"], made["except"]) == (rule, ["2026-12-25", "* * * 8 *"])
    assert (made["overlap"], made["catch_up"]) == ("buffer_all", "all")
    assert (made["catch_up_window_s"], made["catch_up_max"]) == (90, 5)
    assert made["pause_after_failures"] == 2
    shown = operator.good("show report")
    for told in (rule, "except 2026-12-25 | * * * 8 *", "within 90 s  at most 5", "failures 2"):
        assert told in shown
    assert operator.asks("put often --kind Baz --cron '@every 90s'")["every_s"] == 90
    assert "rrule: " in operator.refused("put a --kind Baz --rrule FREQ=OFTEN", code=2)
    bad = "put a --kind Baz --cron @daily --except 2026-02-30"
    assert "except: " in operator.refused(bad, code=2)
