"""The REST service on a store that keeps nothing: what the web framework alone would do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from taskscheduler import Scheduler
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.routes.tasks import TaskRules
from taskscheduler.entrypoints.http.server import bind, build_server
from taskscheduler.entrypoints.loop import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taskscheduler import NewTask, TaskId


class Nowhere(Scheduler):
    """Says that it has stored everything, as soon as it is asked to."""

    async def put(self, task: NewTask) -> TaskId:
        """Keep nothing."""
        return task.id

    async def require_known(self, kinds: Iterable[str]) -> None:
        """Know every kind."""


async def main(port: int) -> None:
    """Serve until terminated."""
    app = create_app(Nowhere.in_memory(), rules=TaskRules(accept_unknown_kinds=True))
    server = build_server(app)
    await server.serve(sockets=[bind("127.0.0.1", port)])


if __name__ == "__main__":
    run(main(int(sys.argv[1])))
