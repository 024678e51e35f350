#!/usr/bin/env bash
# python-dateutil 2.9.0.post0: the first of a week's days is the first that is left after the start, in the
# first week alone.
#
# Guess: `FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=1` is each Monday. RFC 5545 says that a set begins with its
# interval, which is the week. From Thursday 15 January 2026 on, the first is Monday 19 January.
#
# What happens: the library cuts the first week at the start before it counts. Of Monday, Wednesday and
# Friday, Friday alone is left, so it is the first: the rule for Mondays begins with a Friday. The second
# of a week becomes its third in the same way. Monthly rules count the whole month.
#
# Output seen:
#   FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=1;COUNT=3: Fri 16 Jan 2026, Mon 19 Jan 2026, Mon 26 Jan 2026
#   FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=2;COUNT=3: Fri 16 Jan 2026, Wed 21 Jan 2026, Wed 28 Jan 2026
#   FREQ=MONTHLY;BYDAY=MO,WE,FR;BYSETPOS=1;COUNT=2: Mon 02 Feb 2026, Mon 02 Mar 2026
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check python-dateutil==2.9.0.post0

seen=$("$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime

from dateutil.rrule import rrulestr


def show(rule, *start):
    days = rrulestr(rule, dtstart=datetime(*start))
    print(f"{rule}:", ", ".join(f"{day:%a %d %b %Y}" for day in days))


show("FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=1;COUNT=3", 2026, 1, 15)
show("FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=2;COUNT=3", 2026, 1, 14)
show("FREQ=MONTHLY;BYDAY=MO,WE,FR;BYSETPOS=1;COUNT=2", 2026, 1, 15)
PYTHON
)
expected='FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=1;COUNT=3: Fri 16 Jan 2026, Mon 19 Jan 2026, Mon 26 Jan 2026
FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=2;COUNT=3: Fri 16 Jan 2026, Wed 21 Jan 2026, Wed 28 Jan 2026
FREQ=MONTHLY;BYDAY=MO,WE,FR;BYSETPOS=1;COUNT=2: Mon 02 Feb 2026, Mon 02 Mar 2026'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
