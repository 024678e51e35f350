"""``manage.py taskscheduler_migrate``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from taskscheduler.django.framework import tasks

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from taskscheduler.django.backend import TaskSchedulerBackend


class Command(BaseCommand):
    """Creates or upgrades the schema that tasks are stored in."""

    help = "Create or upgrade the schema that tasks are stored in."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the name of a backend."""
        parser.add_argument("--backend", default="default", help="Which one of TASKS.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        from taskscheduler.container import migrate_schema  # noqa: PLC0415 - it loads the adapters

        del args
        backend: TaskSchedulerBackend = tasks.task_backends[options["backend"]]
        applied = asyncio.run(migrate_schema(backend.url, backend.schema))
        self.stdout.write(f"{len(applied)} migrations applied to the schema {backend.schema}")
