#!/usr/bin/env bash
# ical.js 2.2.1 (npm): a yearly rule with two hours gives the first one only.
#
# Guess: `FREQ=YEARLY;BYHOUR=0,12` gives midnight and noon of one day in each year, as a daily or a monthly
# rule gives both.
#
# What happens: it gives midnight, and goes on to the next year. Noon never comes, also where the day is
# named by BYMONTH and BYMONTHDAY. Daily and monthly rules have both hours.
#
# Output seen:
#   FREQ=YEARLY;BYHOUR=0,12: 2026-01-15 2027-01-15 2028-01-15 2029-01-15
#   FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=15;BYHOUR=0,12: 2026-01-15 2027-01-15 2028-01-15 2029-01-15
#   FREQ=MONTHLY;BYHOUR=0,12: 2026-01-15 2026-01-15T12:00 2026-02-15 2026-02-15T12:00
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

  show("FREQ=YEARLY;BYHOUR=0,12", "2026-01-15T00:00:00", 4);
  show("FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=15;BYHOUR=0,12", "2026-01-15T00:00:00", 4);
  show("FREQ=MONTHLY;BYHOUR=0,12", "2026-01-15T00:00:00", 4);
})();
NODE
)
expected='FREQ=YEARLY;BYHOUR=0,12: 2026-01-15 2027-01-15 2028-01-15 2029-01-15
FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=15;BYHOUR=0,12: 2026-01-15 2027-01-15 2028-01-15 2029-01-15
FREQ=MONTHLY;BYHOUR=0,12: 2026-01-15 2026-01-15T12:00 2026-02-15 2026-02-15T12:00'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
