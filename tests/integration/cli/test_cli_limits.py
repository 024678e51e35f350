"""``limits``: put, listed, shown and deleted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.cli.conftest import Call
    from tests.integration.processes import Programs


def test_limits_are_put_listed_shown_and_deleted(call: Call, programs: Programs):
    def good(command: str) -> str:
        called = call(command, **programs.env)
        assert (called.code, called.err) == (0, ""), called.err
        return called.out

    assert good("limits list") == ""
    made = good("limits put mail --queue mail --concurrency 10 --rate 100/s --burst 20")
    assert "queue mail  concurrency 10, rate 100/s, burst 20  running 0  waiting 0  made" in made
    assert "each group  concurrency 2" in good("limits put tenants --per-group --concurrency 2")
    good("tasks add Baz --queue mail")
    shown = json.loads(good("limits show mail --json"))
    assert (shown["rate"], shown["burst"], shown["waiting"]) == ("100/s", 20, 1)
    assert [each["name"] for each in json.loads(good("limits list --json"))] == ["mail", "tenants"]
    assert "there" in good("limits put mail --weight 5")
    assert json.loads(good("limits show mail --json"))["queue"] is None
    assert good("limits list").count("\n") == 2
    assert "mail  deleted" in good("limits delete mail")
    called = call("limits show mail", **programs.env)
    assert (called.code, called.out) == (1, "")
    assert "no limit has the name 'mail'" in called.err
    actions = [each["action"] for each in json.loads(good("audit --target mail --json"))]
    assert actions == ["limit deleted", "limit changed", "limit added"]


def test_what_is_no_limit_is_refused_in_one_line(call: Call, programs: Programs):
    for arguments, said in (
        ("put mail", "give at least one of concurrency, rate, weight"),
        ("put a/b --weight 1", "name: must be 1 to 128"),
        ("put mail --rate 10", "rate: must be such as 100/s"),
    ):
        called = call(f"limits {arguments}", **programs.env)
        assert (called.code, called.out) == (2, "")
        assert said in called.err
