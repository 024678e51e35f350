#!/usr/bin/env bash
# python-dateutil 2.9.0.post0: an hourly rule in a zone gives one instant twice in spring and leaves out an
# hour in autumn.
#
# Guess: `FREQ=HOURLY` from an aware start gives instants that are one hour apart, also over a change of
# clocks.
#
# What happens: the rule adds hours to the clock on the wall. In spring it gives 02:30, which does not
# exist and is the same instant as 03:30, so one hour has two occurrences. In autumn, 01:30 comes once, and
# two hours lie between it and 02:30. The rule raises no error and gives no hint.
#
# Output seen:
#   spring: 01:30-0500 02:30-0500 03:30-0400 04:30-0400 | gaps: 1:00:00 0:00:00 1:00:00
#   autumn: 00:30-0400 01:30-0400 02:30-0500 03:30-0500 | gaps: 1:00:00 2:00:00 1:00:00
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    python-dateutil==2.9.0.post0 tzdata==2026.6

seen=$("$folder/venv/bin/python" - <<'PYTHON'
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from dateutil.rrule import HOURLY, rrule

new_york = ZoneInfo("America/New_York")
for name, start in (("spring", datetime(2026, 3, 8, 1, 30)), ("autumn", datetime(2026, 11, 1, 0, 30))):
    fires = list(rrule(HOURLY, count=4, dtstart=start.replace(tzinfo=new_york)))
    instants = [each.astimezone(UTC) for each in fires]
    gaps = [str(after - before) for before, after in zip(instants, instants[1:])]
    print(f"{name}:", *(f"{each:%H:%M%z}" for each in fires), "| gaps:", *gaps)
PYTHON
)
expected='spring: 01:30-0500 02:30-0500 03:30-0400 04:30-0400 | gaps: 1:00:00 0:00:00 1:00:00
autumn: 00:30-0400 01:30-0400 02:30-0500 03:30-0500 | gaps: 1:00:00 2:00:00 1:00:00'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
