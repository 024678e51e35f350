"""``python -m taskscheduler``."""

from taskscheduler.entrypoints.cli import main

main()
