"""The command line: option, then environment, then ``.env`` file; bad ones are one line, exit 2."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from dotenv import find_dotenv, load_dotenv

from taskscheduler.domain.errors import (
    InvalidConfiguration,
    InvalidHandler,
    InvalidKey,
    InvalidTask,
    TaskSchedulerError,
)
from taskscheduler.domain.printable import printable
from taskscheduler.domain.redaction import redacted
from taskscheduler.entrypoints.cli import (
    audit,
    batches,
    doctor,
    keys,
    limits,
    queues,
    retention,
    schedules,
    schema,
    secret_files,
    services,
    tasks,
)
from taskscheduler.entrypoints.signals import end

if TYPE_CHECKING:
    from collections.abc import Iterator

UsageError: Any = typer.BadParameter.__base__
"""What typer raises for any wrong call; it exports only this child of it."""

app = typer.Typer(
    name="taskscheduler",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
services.add_to(app)
schema.add_to(app)
audit.add_to(app)
doctor.add_to(app)
app.add_typer(tasks.app, name="tasks")
app.add_typer(queues.app, name="queues")
app.add_typer(batches.app, name="batches")
queues.add_to(app)
app.add_typer(limits.app, name="limits")
app.add_typer(schedules.app, name="schedules")
app.add_typer(retention.app, name="retention")
app.add_typer(keys.app, name="keys")


def main() -> NoReturn:
    """Run the command that the process was called with."""
    try:
        load_environment()
        code = program()(standalone_mode=False)
    except UsageError as error:
        code = fail(error.format_message(), 2)
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except (InvalidConfiguration, InvalidHandler, InvalidKey, InvalidTask) as error:
        code = fail(str(error), 2)
    except TaskSchedulerError as error:
        code = fail(str(error), 1)
    except BrokenPipeError:
        # Whoever read our output has had enough of it.
        sys.stderr.close()
        code = 0
    end(code or 0)


def program() -> Any:
    """Return all commands, each option with a twin in the environment.

    Options that several commands share name theirs; of any other it is the way to the option:
    ``TASKSCHEDULER_TASKS_ADD_PRIORITY``.
    """
    group = typer.main.get_command(app)
    for name, command in _commands(group, ("TASKSCHEDULER",)):
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.envvar is None:
                option = max(parameter.opts, key=len).removeprefix("--")
                parameter.envvar = "_".join((*name, option)).upper().replace("-", "_")
    return group


def _commands(group: Any, name: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for command in group.commands.values():
        if hasattr(command, "commands"):
            yield from _commands(command, (*name, command.name))
        else:
            yield (*name, command.name), command


def load_environment() -> None:
    """Add to the environment what the ``.env`` file of this folder, or one above it, says.

    Then come secret_files that are in files of their own.

    Raises:
        InvalidConfiguration: one of them cannot be read.
    """
    file = find_dotenv(usecwd=True)
    try:
        load_dotenv(file)
    except (OSError, ValueError) as error:
        message = f"{file} cannot be read: {error}"
        raise InvalidConfiguration(message) from None
    secret_files.read_files(os.environ)
    secret_files.learn_all(os.environ)


def version(asked: bool) -> None:
    """Say which release this is, and end."""
    if asked:
        from taskscheduler.application.distribution import NAME, release

        typer.echo(f"{NAME} {release()}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=version, is_eager=True, help="Say which release.")
]


@app.callback(invoke_without_command=True)
def start(context: typer.Context, version: Version = False) -> None:  # noqa: ARG001
    """Store a task; a worker runs it at or after its time; it is never lost."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def fail(message: str, code: int) -> int:
    """Say why in one line and return ``code``."""
    said = printable(redacted(" ".join(message.split())))
    print(f"taskscheduler: {said}", file=sys.stderr)  # noqa: T201
    return code
