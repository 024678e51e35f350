#!/usr/bin/env bash
# python-dateutil 2.9.0.post0: with INTERVAL=2, the week at the turn of the year loses its Sunday, and
# the Sunday of another year's week comes in.
#
# Guess: with `INTERVAL=2;BYWEEKNO=53;BYDAY=MO,SU`, the rule takes week 53 of each second year. Week 53 of
# 2026 begins on Monday 28 December 2026 and ends on Sunday 3 January 2027: both days are in the rule, as
# they are without INTERVAL.
#
# What happens: the library asks each day for its calendar year. 3 January 2027 is in a year that is left
# out, so the week has no Sunday. 3 January 2038, the Sunday of week 53 of 2037, is in the rule, though its
# Monday is not.
#
# Output seen:
#   FREQ=YEARLY;INTERVAL=2;BYWEEKNO=53;BYDAY=MO,SU;COUNT=4: Mon 28 Dec 2026, Mon 27 Dec 2032, Sun 03 Jan 2038, Sun 03 Jan 2044
#   FREQ=YEARLY;INTERVAL=1;BYWEEKNO=53;BYDAY=MO,SU;COUNT=4: Mon 28 Dec 2026, Sun 03 Jan 2027, Mon 27 Dec 2032, Sun 02 Jan 2033
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


show("FREQ=YEARLY;INTERVAL=2;BYWEEKNO=53;BYDAY=MO,SU;COUNT=4", 2026, 12, 28)
show("FREQ=YEARLY;INTERVAL=1;BYWEEKNO=53;BYDAY=MO,SU;COUNT=4", 2026, 12, 28)
PYTHON
)
expected='FREQ=YEARLY;INTERVAL=2;BYWEEKNO=53;BYDAY=MO,SU;COUNT=4: Mon 28 Dec 2026, Mon 27 Dec 2032, Sun 03 Jan 2038, Sun 03 Jan 2044
FREQ=YEARLY;INTERVAL=1;BYWEEKNO=53;BYDAY=MO,SU;COUNT=4: Mon 28 Dec 2026, Sun 03 Jan 2027, Mon 27 Dec 2032, Sun 02 Jan 2033'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
