#!/usr/bin/env bash
# ical.js 2.2.1 (npm): BYSETPOS has no effect but in monthly rules.
#
# Guess: `FREQ=YEARLY;BYDAY=MO;BYSETPOS=1` is the first Monday of the year, as
# `FREQ=MONTHLY;BYDAY=MO;BYSETPOS=1` is the first of the month. What the library cannot do, it refuses.
#
# What happens: the monthly rule is right. The yearly one gives each Monday, a weekly one with -1 gives all
# of its days, and a daily one gives all of its hours. No error is raised, and COUNT is used up within
# weeks.
#
# Output seen:
#   FREQ=MONTHLY;BYDAY=MO;BYSETPOS=1: 2026-01-05 2026-02-02 2026-03-02
#   FREQ=YEARLY;BYDAY=MO;BYSETPOS=1: 2026-01-05 2026-01-12 2026-01-19
#   FREQ=WEEKLY;BYDAY=MO,WE;BYSETPOS=-1: 2026-01-07 2026-01-12 2026-01-14
#   FREQ=DAILY;BYHOUR=0,12;BYSETPOS=1: 2026-01-15 2026-01-15T12:00 2026-01-16
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

  show("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=1", "2026-01-05T00:00:00", 3);
  show("FREQ=YEARLY;BYDAY=MO;BYSETPOS=1", "2026-01-05T00:00:00", 3);
  show("FREQ=WEEKLY;BYDAY=MO,WE;BYSETPOS=-1", "2026-01-07T00:00:00", 3);
  show("FREQ=DAILY;BYHOUR=0,12;BYSETPOS=1", "2026-01-15T00:00:00", 3);
})();
NODE
)
expected='FREQ=MONTHLY;BYDAY=MO;BYSETPOS=1: 2026-01-05 2026-02-02 2026-03-02
FREQ=YEARLY;BYDAY=MO;BYSETPOS=1: 2026-01-05 2026-01-12 2026-01-19
FREQ=WEEKLY;BYDAY=MO,WE;BYSETPOS=-1: 2026-01-07 2026-01-12 2026-01-14
FREQ=DAILY;BYHOUR=0,12;BYSETPOS=1: 2026-01-15 2026-01-15T12:00 2026-01-16'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
