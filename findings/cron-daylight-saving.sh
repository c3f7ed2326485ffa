#!/usr/bin/env bash
# One line of crontab, `30 2 * * *` in Europe/Berlin, and the two nights a year when the clock is changed.
# Guess: a daily job runs once a day; that is what Debian's cron does, since it knows changes of less than three hours.
# Really, with the versions below:
#   cronsim 2.8                                     spring at 03:00,              autumn once
#   croniter 7.0.0                                  spring at 03:00,              autumn twice
#   robfig/cron 3.0.1, which Kubernetes' CronJob is skipped in spring,            autumn twice
#   APScheduler 3.11.3                              spring at 02:30 winter time,  autumn twice
# 02:30 winter time is a time that no clock in Berlin shows that night (it is 03:30 there). So a job that is moved from
# one scheduler to another, or a test that predicts CronJobs with a Python library, is right on 363 days.
# What it means: schedule in UTC, or outside 01:00 to 03:00, and make daily jobs idempotent per date.
# Source: cron(8) of Debian, notes on daylight saving time; Kubernetes' CronJob controller imports robfig/cron/v3.
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install \
  croniter==7.0.0 cronsim==2.8 APScheduler==3.11.3 tzdata==2025.2

export GOPATH="$folder/go" GOFLAGS="-mod=mod -modcacherw -trimpath"
mkdir "$folder/robfig"
cat > "$folder/robfig/go.mod" <<'GO'
module robfig

go 1.23

require github.com/robfig/cron/v3 v3.0.1
GO
cat > "$folder/robfig/main.go" <<'GO'
package main

import (
	"fmt"
	"os"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

func main() {
	schedule, err := cron.ParseStandard("CRON_TZ=Europe/Berlin " + os.Args[1])
	if err != nil {
		panic(err)
	}
	at, _ := time.Parse(time.RFC3339, os.Args[2])
	for range 2 {
		at = schedule.Next(at)
		fmt.Println(at.UTC().Format("2006-01-02T15:04Z"))
	}
}
GO
(cd "$folder/robfig" && go build -o "$folder/next" . 2> "$folder/log") || { cat "$folder/log"; exit 1; }

cat > "$folder/look.py" <<'PYTHON'
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim

BERLIN = ZoneInfo("Europe/Berlin")
LINE = "30 2 * * *"


def of_cronsim(start):
    ticks = CronSim(LINE, start)
    return [next(ticks) for _ in range(2)]


def of_croniter(start):
    ticks = croniter(LINE, start)
    return [ticks.get_next(datetime) for _ in range(2)]


def of_robfig(start):
    done = subprocess.run([sys.argv[1], LINE, start.isoformat()], capture_output=True, text=True, check=True)
    return [datetime.fromisoformat(line) for line in done.stdout.split()]


def of_apscheduler(start):
    trigger = CronTrigger.from_crontab(LINE, timezone=BERLIN)
    first = trigger.get_next_fire_time(None, start)
    return [first, trigger.get_next_fire_time(first, first + timedelta(minutes=1))]


def shown(scheduler, start):
    return [at.astimezone(timezone.utc).strftime("%d %H:%M") for at in scheduler(start)]


def line(instants):
    return ", ".join(f"{text} UTC" for text in instants)


EXPECTED = {  # in UTC; 02:30 is 00:30 in summer and 01:30 in winter
    of_cronsim: (["29 01:00", "30 00:30"], ["25 00:30", "26 01:30"]),
    of_croniter: (["29 01:00", "30 00:30"], ["25 00:30", "25 01:30"]),
    of_robfig: (["30 00:30", "31 00:30"], ["25 00:30", "25 01:30"]),
    of_apscheduler: (["29 01:30", "30 00:30"], ["25 00:30", "25 01:30"]),
}
spring, autumn = datetime(2026, 3, 28, 12, tzinfo=BERLIN), datetime(2026, 10, 24, 12, tzinfo=BERLIN)
changed = []
for scheduler, expected in EXPECTED.items():
    name = scheduler.__name__.removeprefix("of_")
    seen = shown(scheduler, spring), shown(scheduler, autumn)
    print(f"  {name:12} March: {line(seen[0])}   October: {line(seen[1])}")
    if seen != expected:
        changed.append(name)
print("changed:", changed or "nothing")
sys.exit(bool(changed))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/next"
