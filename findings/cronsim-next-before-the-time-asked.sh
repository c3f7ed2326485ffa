#!/usr/bin/env bash
# cronsim 2.8 asked for the next run of `30 2 * * *` after 02:00 winter time, the second 02:00 of the night on which
# Europe/Berlin goes back to it.
# Guess: the next run comes after the time that was asked about; it is what a scheduler sleeps until, and cronsim runs a
# daily job once in that night (cron-daylight-saving.sh).
# Really: the answer is 02:30 summer time, half an hour before the time asked. Asked after the second 02:31 it is right.
#   asked 2026-10-25T01:00Z (02:00 CET)  cronsim 2.8 answers 2026-10-25T00:30Z, croniter 7.0.0 2026-10-25T01:30Z
# In a zone that changes by half an hour it goes further: `0 */2 * * *` in Australia/Lord_Howe runs at 00:00 on the day of
# the change and next at 04:00: 02:00, which comes once on that day, is left out.
# What it means: once a job was done at 02:30 summer time, a process that starts again within the hour that is repeated
# does it a second time, at once. Ask until the answer is later than the time asked about, and know what ran last.
# Source: cronsim's README, "Cronsim vs croniter"; PEP 495 (fold).
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install cronsim==2.8 croniter==7.0.0 tzdata==2025.2

cat > "$folder/look.py" <<'PYTHON'
import sys
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from croniter import croniter
from cronsim import CronSim

BERLIN, LORD_HOWE = ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def next_runs(line, after, zone, count):
    ticks = CronSim(line, utc(after).astimezone(zone))
    return [next(ticks) for _ in range(count)]


def next_of_croniter(line, after, zone):
    return croniter(line, utc(after).astimezone(zone)).get_next(datetime)


def in_utc(at):
    return at.astimezone(timezone.utc).strftime("%dT%H:%MZ")


(early,) = next_runs("30 2 * * *", "2026-10-25T01:00", BERLIN, 1)
(later,) = next_runs("30 2 * * *", "2026-10-25T01:31", BERLIN, 1)
other = next_of_croniter("30 2 * * *", "2026-10-25T01:00", BERLIN)
hours = [at.strftime("%H:%M") for at in next_runs("0 */2 * * *", "2026-04-04T12:00", LORD_HOWE, 2)]
seen = {
    "asked 25T01:00Z": in_utc(early),
    "asked 25T01:31Z": in_utc(later),
    "croniter, asked 25T01:00Z": in_utc(other),
    "Lord Howe, every other hour": " ".join(hours),
}
expected = {
    "asked 25T01:00Z": "25T00:30Z",
    "asked 25T01:31Z": "26T01:30Z",
    "croniter, asked 25T01:00Z": "25T01:30Z",
    "Lord Howe, every other hour": "00:00 04:00",
}
for what, answer in seen.items():
    print(f"  {what:28} {answer}")
changed = [what for what in expected if seen[what] != expected[what]]
print("changed:", changed or "nothing")
sys.exit(bool(changed))
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
