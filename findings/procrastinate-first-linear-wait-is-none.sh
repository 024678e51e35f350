#!/usr/bin/env bash
# procrastinate 3.10.0: with linear_wait=100, the first retry comes at once.
#
# Guess: the guide says of `linear_wait=5` that it waits 5 seconds, then 10, then 15. So the first retry
# with linear_wait=100 is due in 100 seconds.
#
# What happens: the wait is multiplied by the failures before this one, of which there are none. A worker
# that runs what is due works on the job twice, one run right after the other, and only the second retry
# waits for 100 seconds. With exponential_wait=100, the first retry waits. The docstring of RetryStrategy
# has the numbers that are true (0, 3, 6).
#
# Output seen:
#   linear: 2 runs, the next in 100 seconds
#   exponential: 1 runs, the next in 100 seconds
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check procrastinate==3.10.0

seen=$("$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import logging
from datetime import datetime, timezone

from procrastinate import App, RetryStrategy
from procrastinate.testing import InMemoryConnector

logging.disable(logging.CRITICAL)
connector = InMemoryConnector()
app = App(connector=connector)
runs = []


@app.task(name="linear", retry=RetryStrategy(max_attempts=5, linear_wait=100))
async def linear():
    runs.append("linear")
    raise LookupError


@app.task(name="exponential", retry=RetryStrategy(max_attempts=5, exponential_wait=100))
async def exponential():
    runs.append("exponential")
    raise LookupError


async def main():
    async with app.open_async():
        await linear.defer_async()
        await exponential.defer_async()
        begun = datetime.now(timezone.utc)
        await app.run_worker_async(wait=False, install_signal_handlers=False)
        for job in connector.jobs.values():
            wait = (job["scheduled_at"] - begun).total_seconds()
            name = job["task_name"]
            print(f"{name}: {runs.count(name)} runs, the next in {wait // 100 * 100:.0f} seconds")


asyncio.run(main())
PYTHON
)
expected='linear: 2 runs, the next in 100 seconds
exponential: 1 runs, the next in 100 seconds'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
