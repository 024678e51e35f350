"""``doctor``: is all well, and if not, what is to be done?"""

from __future__ import annotations

import typer

from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli._runtime import say, tell
from taskscheduler.entrypoints.cli.store import database_url as chosen


def add_to(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(doctor)


def doctor(
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    listen_url: o.ListenUrl = None,
    json: o.Json = False,
) -> None:
    """Look the database over; exit 1 when something is wrong. Changes nothing."""
    from taskscheduler.application.distribution import NAME, release, stranger
    from taskscheduler.application.doctor import Severity, judge_package, worst
    from taskscheduler.container import examine
    from taskscheduler.entrypoints.logs import no_logs
    from taskscheduler.entrypoints.loop import run

    no_logs()
    findings = [
        judge_package(NAME, release(), stranger()),
        *run(examine(chosen(database_url), schema, listen_url)),
    ]
    verdict = worst(findings)
    if json:
        say({"verdict": verdict, "checks": findings}, as_json=True, text="")
    else:
        for each in findings:
            tell(f"{each.verdict.value:<5} {each.check:<13} {each.found}")
            if each.means:
                tell(f"{'':<20}means: {each.means}")
            if each.remedy:
                tell(f"{'':<20}do:    {each.remedy}")
    raise typer.Exit(1 if verdict is Severity.FAIL else 0)
