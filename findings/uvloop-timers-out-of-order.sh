#!/usr/bin/env bash
# uvloop 0.23.0: a timer that is due later may run first.
#
# Guess: loop.call_later orders by time, on each event loop. What is due in 0.6 milliseconds runs before
# what is due in 1.4.
#
# What happens: uvloop rounds each delay to whole milliseconds, so 0.6 and 1.4 are both 1, and equal delays
# run in the order of the calls. asyncio's own loop keeps the order of the times. It also means that a
# delay of 0.4 milliseconds is none.
#
# Output seen:
#   asyncio: 0.6 1.4
#   uvloop: 1.4 0.6
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uvloop==0.23.0

seen=$("$folder/venv/bin/python" - <<'PYTHON'
import asyncio

import uvloop


async def main():
    loop = asyncio.get_running_loop()
    order = []
    now = loop.time()
    for delay in (1.4, 0.6):
        loop.call_at(now + delay / 1000, order.append, delay)
    await asyncio.sleep(0.1)
    return order


print("asyncio:", *asyncio.run(main()))
print("uvloop:", *uvloop.run(main()))
PYTHON
)
expected='asyncio: 0.6 1.4
uvloop: 1.4 0.6'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
