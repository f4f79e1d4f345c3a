"""Draws docs/completeness.png: two months of readings by day, from a run of weir on a real broker.

usage: completeness.py WEIR BROKERS PICTURE

Readings arrive out of order: most within hours, some after days. WEIR is the binary; a topic and a dataset of their own are
made, the dataset in a temporary folder.
"""

import csv
import gzip
import json
import random
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates as dates
import matplotlib.pyplot as plot

weir, brokers, picture = sys.argv[1:]
weir = str(Path(weir).resolve())
readings = Path(__file__).resolve().parent.parent / "src/cli/readings/air_quality.csv.gz"
topic = f"completeness-{random.SystemRandom().randrange(10**9)}"

PIPELINE = f"""
name = "{topic}"
[source]
type = "kafka"
brokers = "{brokers}"
topics = ["{topic}"]
format = "json"
[columns]
measured_at = {{ type = "timestamp", time_zone = "+01:00" }}
[window]
type = "tumbling"
size = "1d"
time = "measured_at"
time_zone = "+01:00"
out_of_order = "36h"
[sink]
type = "parquet"
partition_by = ["window"]
"""


def arrivals():
    """Two months of readings in the order in which they arrive."""
    chance = random.Random(2004)
    with gzip.open(readings, "rt") as file:
        rows = [row for row in csv.reader(file, delimiter=";") if row[:1] and row[0][:1].isdigit()][: 60 * 24]
    times = [datetime.strptime(f"{row[0]} {row[1]}", "%d/%m/%Y %H.%M.%S") for row in rows]
    delay = lambda: timedelta(hours=chance.uniform(48, 144) if chance.random() < 0.04 else chance.expovariate(1 / 3))
    return [time for _, time in sorted((time + delay(), time) for time in times)]


def run(folder, *arguments):
    return subprocess.run([weir, *arguments], cwd=folder, check=True, text=True, stdout=subprocess.PIPE).stdout


with tempfile.TemporaryDirectory() as folder:
    Path(folder, "p.toml").write_text(PIPELINE)
    Path(folder, "readings").write_text("".join(json.dumps({"measured_at": time.isoformat()}) + "\n" for time in arrivals()))
    run(folder, "produce", "--brokers", brokers, "--topic", topic, "--file", "readings")
    run(folder, "run", "p.toml", "--until-end")
    found = json.loads(run(folder, "windows", "p.toml", "--format", "json"))

windows, partitions = found["windows"], found["partitions"]
day = lambda window: datetime.fromisoformat(window["window"])
local = lambda instant: datetime.fromisoformat(instant).replace(tzinfo=None) + timedelta(hours=1)
late = sum(window["late"] for window in windows)
complete = [window for window in windows if window["state"] == "complete"]

figure, (above, below) = plot.subplots(
    2, 1, figsize=(11, 5.2), sharex=True, height_ratios=[3, 1], constrained_layout=True)
for state, colour, label in [("complete", "#2b6c8f", "rows of complete days"), ("open", "#a9cfe0", "rows of open days")]:
    chosen = [window for window in windows if window["state"] == state]
    above.bar([day(w) for w in chosen], [w["rows"] for w in chosen], 0.86, color=colour, label=label, align="edge")
above.bar([day(w) for w in windows], [w["late"] for w in windows], 0.86, bottom=[w["rows"] for w in windows],
          color="#d9722e", label="late rows, in late/", align="edge")
above.set_ylabel("readings a day")
above.set_ylim(0, 33)
above.legend(loc="upper center", ncols=3, frameon=False)
above.set_title(f"{len(complete)} of {len(windows)} days are complete; {late} of {60 * 24} readings came too late for theirs",
                loc="left", fontsize=11)
for height, partition in enumerate(partitions):
    watermark, largest = local(partition["watermark"]), local(partition["largest"])
    below.barh(height, watermark - day(windows[0]), 0.5, left=day(windows[0]), color="#2b6c8f")
    below.barh(height, largest - watermark, 0.5, left=watermark, color="#a9cfe0")
below.set_yticks(range(len(partitions)), [f"partition {p['partition'].rsplit(':', 1)[1]}" for p in partitions])
below.invert_yaxis()
below.text(day(windows[0]) + timedelta(hours=12), 0, "closed: up to the watermark, 36 h behind the newest reading",
           va="center", fontsize=8.5, color="white")
below.xaxis.set_major_locator(dates.WeekdayLocator(dates.MO))
below.xaxis.set_major_formatter(dates.DateFormatter("%d %b"))
for axes in (above, below):
    axes.spines[["top", "right"]].set_visible(False)
figure.savefig(picture, dpi=110)
json.dump({"windows": len(windows), "complete": len(complete), "late": late}, sys.stdout)
