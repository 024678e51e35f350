#!/usr/bin/env bash
# ical.js 2.2.1 (npm): what began on 29 February takes place on 1 March in other years.
#
# Guess: RFC 5545 says that a rule ignores dates that do not exist. A yearly event of 29 February 2024
# comes in 2028 and 2032, as a monthly one of the 31st leaves short months out.
#
# What happens: in years without this day, it comes on 1 March. A monthly rule is right as long as it is
# alone; with `BYHOUR=6,18`, an event of the 31st also comes on the first of short months, at 18:00 and not
# at 6:00.
#
# Output seen:
#   FREQ=YEARLY: 2024-02-29 2025-03-01 2026-03-01 2027-03-01 2028-02-29
#   FREQ=MONTHLY: 2024-01-31T06:00 2024-03-31T06:00 2024-05-31T06:00 2024-07-31T06:00 2024-08-31T06:00
#   FREQ=MONTHLY;BYHOUR=6,18: 2024-01-31T06:00 2024-01-31T18:00 2024-02-01T18:00 2024-03-31T06:00 2024-03-31T18:00 2024-04-01T18:00
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" ical.js@2.2.1

seen=$(cd "$folder" && node - <<'NODE'
(async () => {
  const { default: ICAL } = await import("ical.js");
  const show = (rule, start, count) => {
    const dates = ICAL.Recur.fromString(rule).iterator(ICAL.Time.fromString(start));
    const shown = Array.from({ length: count }, () => dates.next().toString().slice(0, 16).replace("T00:00", ""));
    console.log(`${rule}: ${shown.join(" ")}`);
  };

  show("FREQ=YEARLY", "2024-02-29T00:00:00", 5);
  show("FREQ=MONTHLY", "2024-01-31T06:00:00", 5);
  show("FREQ=MONTHLY;BYHOUR=6,18", "2024-01-31T06:00:00", 6);
})();
NODE
)
expected='FREQ=YEARLY: 2024-02-29 2025-03-01 2026-03-01 2027-03-01 2028-02-29
FREQ=MONTHLY: 2024-01-31T06:00 2024-03-31T06:00 2024-05-31T06:00 2024-07-31T06:00 2024-08-31T06:00
FREQ=MONTHLY;BYHOUR=6,18: 2024-01-31T06:00 2024-01-31T18:00 2024-02-01T18:00 2024-03-31T06:00 2024-03-31T18:00 2024-04-01T18:00'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
