#!/usr/bin/env bash
# icalendar 7.3.2 and recurring-ical-events 3.8.2: 24 hours become one day, which is another length when
# clocks change.
#
# Guess: RFC 5545 tells days from hours. From noon on 7 March 2026 in New York, P1D ends at noon on the
# next day, and PT24H ends at 13:00, for this day has 23 hours. Who reads a file and writes it again keeps
# PT24H.
#
# What happens: both lengths become the same timedelta, which is added to the clock on the wall. Both
# events end at noon, so the one of 24 hours has lost one. And PT24H is written back as P1D, and PT36H as
# P1DT12H: now the file says it too.
#
# Output seen:
#   P1D ends at 08 Mar 12:00, is written as DURATION:P1D
#   PT24H ends at 08 Mar 12:00, is written as DURATION:P1D
#   PT36H ends at 09 Mar 00:00, is written as DURATION:P1DT12H
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    icalendar==7.3.2 recurring-ical-events==3.8.2 tzdata==2026.6

seen=$("$folder/venv/bin/python" - <<'PYTHON'
import icalendar
import recurring_ical_events

for length in ("P1D", "PT24H", "PT36H"):
    text = "\r\n".join([
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:finding", "BEGIN:VEVENT", "UID:1", "DTSTAMP:20260101T000000Z",
        "DTSTART;TZID=America/New_York:20260307T120000", f"DURATION:{length}", "END:VEVENT", "END:VCALENDAR", "",
    ])
    calendar = icalendar.Calendar.from_ical(text)
    (event,) = recurring_ical_events.of(calendar).between((2026, 3, 1), (2026, 3, 31))
    (written,) = [line for line in calendar.to_ical().decode().splitlines() if line.startswith("DURATION")]
    print(f"{length} ends at {event.end:%d %b %H:%M}, is written as {written}")
PYTHON
)
expected='P1D ends at 08 Mar 12:00, is written as DURATION:P1D
PT24H ends at 08 Mar 12:00, is written as DURATION:P1D
PT36H ends at 09 Mar 00:00, is written as DURATION:P1DT12H'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
