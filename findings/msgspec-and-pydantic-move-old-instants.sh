#!/usr/bin/env bash
# msgspec 0.23.0 and pydantic 2.14.4: what a datetime is written to and read from is another instant, if
# its zone has seconds.
#
# Guess: a datetime that is written to JSON and read again is the same instant. Monrovia was 44 minutes and
# 30 seconds behind UTC until 1972, and the zone database says so.
#
# What happens: RFC 3339 has no place for seconds in an offset. Both libraries write minutes and leave the
# time of day as it is, so the instant moves by half a minute. Amsterdam, which was 19 minutes and 32
# seconds ahead in January 1935, comes out 28 seconds off in msgspec, which rounds, and 32 in pydantic,
# which cuts. Python's isoformat() writes the seconds. Converted to UTC first, all are right.
#
# Output seen:
#   Africa/Monrovia 1970: -004430 by isoformat
#     msgspec writes -00:44, the instant moves by 30 seconds
#     pydantic writes -00:44, the instant moves by 30 seconds
#   Europe/Amsterdam 1935: +001932 by isoformat
#     msgspec writes +00:20, the instant moves by 28 seconds
#     pydantic writes +00:19, the instant moves by 32 seconds
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    msgspec==0.23.0 pydantic==2.14.4 tzdata==2026.6

seen=$("$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from pydantic import TypeAdapter

adapter = TypeAdapter(datetime)
for zone, year in (("Africa/Monrovia", 1970), ("Europe/Amsterdam", 1935)):
    instant = datetime(year, 1, 1, 12, tzinfo=ZoneInfo(zone))
    print(f"{zone} {year}: {instant:%z} by isoformat")
    for name, written, read in (
        ("msgspec", msgspec.json.encode(instant), msgspec.json.decode(msgspec.json.encode(instant), type=datetime)),
        ("pydantic", adapter.dump_json(instant), adapter.validate_json(adapter.dump_json(instant))),
    ):
        moved = abs((read - instant).total_seconds())
        print(f"  {name} writes {written.decode()[-7:-1]}, the instant moves by {moved:.0f} seconds")
PYTHON
)
expected='Africa/Monrovia 1970: -004430 by isoformat
  msgspec writes -00:44, the instant moves by 30 seconds
  pydantic writes -00:44, the instant moves by 30 seconds
Europe/Amsterdam 1935: +001932 by isoformat
  msgspec writes +00:20, the instant moves by 28 seconds
  pydantic writes +00:19, the instant moves by 32 seconds'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
