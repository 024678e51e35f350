"""The command line: option, then environment, then ``.env`` file; bad ones are one line, exit 2."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import typer
from dotenv import find_dotenv, load_dotenv

from taskscheduler.domain.errors import (
    InvalidConfiguration,
    InvalidKey,
    InvalidTask,
    TaskSchedulerError,
)
from taskscheduler.domain.printable import printable
from taskscheduler.domain.redaction import redacted
from taskscheduler.entrypoints.cli import (
    audit,
    doctor,
    keys,
    queues,
    retention,
    schedules,
    schema,
    secrets,
    services,
    tasks,
)

UsageError: Any = typer.BadParameter.__base__
"""What typer raises for any wrong call; it exports only this child of it."""

app = typer.Typer(
    name="taskscheduler",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
services.add_to(app)
schema.add_to(app)
audit.add_to(app)
doctor.add_to(app)
app.add_typer(tasks.app, name="tasks")
app.add_typer(queues.app, name="queues")
queues.add_to(app)
app.add_typer(schedules.app, name="schedules")
app.add_typer(retention.app, name="retention")
app.add_typer(keys.app, name="keys")


def main() -> NoReturn:
    """Run the command that the process was called with."""
    try:
        load_environment()
        code = app(standalone_mode=False)
    except UsageError as error:
        code = fail(error.format_message(), 2)
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except (InvalidConfiguration, InvalidKey, InvalidTask) as error:
        code = fail(str(error), 2)
    except TaskSchedulerError as error:
        code = fail(str(error), 1)
    except BrokenPipeError:
        # Whoever read our output has had enough of it.
        sys.stderr.close()
        code = 0
    sys.exit(code)


def load_environment() -> None:
    """Add to the environment what the ``.env`` file of this folder, or one above it, says.

    Then come secrets that are in files of their own.

    Raises:
        InvalidConfiguration: one of them cannot be read.
    """
    file = find_dotenv(usecwd=True)
    try:
        load_dotenv(file)
    except (OSError, ValueError) as error:
        message = f"{file} cannot be read: {error}"
        raise InvalidConfiguration(message) from None
    secrets.read_files(os.environ)
    secrets.learn_all(os.environ)


@app.callback(invoke_without_command=True)
def start(context: typer.Context) -> None:
    """Store a task; a worker runs it at or after its time; it is never lost."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def fail(message: str, code: int) -> int:
    """Say why in one line and return ``code``."""
    said = printable(redacted(" ".join(message.split())))
    print(f"taskscheduler: {said}", file=sys.stderr)  # noqa: T201
    return code
