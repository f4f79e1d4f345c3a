"""From a producer's send to a file in data/, and what a quiet service costs: `benches/run latency [--rate N] [--seconds N]`.

weir runs as a service, in its group, with `age = "1s"`. A record's latency ends when the folder, listed every few milliseconds, shows its file.
"""

import argparse
import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import numpy
import pyarrow.parquet
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from measure import BROKERS, WEIR, environment_of_weir, new_folder, save

PIPELINE = """
name = "latency"
[source]
type = "kafka"
brokers = "{brokers}"
topics = ["{topic}"]
format = "json"
group = "{topic}"
[columns]
sent_us = {{ type = "int64" }}
value = {{ type = "float64" }}
[window]
type = "count"
rows = 100
[sink]
type = "parquet"
path = "out"
roll = {{ windows = 1000000, bytes = "128MiB", age = "{age}" }}
"""


def main():
    arguments = argparse.ArgumentParser(prog="benches/run latency")
    arguments.add_argument("--rate", type=int, default=1_000, help="records a second")
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--save", action="store_true", help="into docs/performance/")
    options = arguments.parse_args()
    topic = f"latency-{time.time_ns()}"
    admin = AdminClient({"bootstrap.servers": BROKERS})
    for future in admin.create_topics([NewTopic(topic, 3, 1)]).values():
        future.result()
    latencies, busy, idle = steady(topic, new_folder(), options)
    first = start(topic, new_folder())
    result = {
        "rate": options.rate,
        "records": len(latencies),
        "p50_ms": float(numpy.percentile(latencies, 50)),
        "p99_ms": float(numpy.percentile(latencies, 99)),
        "max_ms": float(latencies.max()),
        "busy_percent_of_a_core": busy,
        "idle_percent_of_a_core": idle,
        "assigned_to_first_file_ms": first,
        "histogram_ms": [int(count) for count in numpy.histogram(latencies, bins=range(0, 3_050, 50))[0]],
    }
    if options.save:
        save("latency", result)
    print(json.dumps({key: value for key, value in result.items() if key != "histogram_ms"}, indent=1))


def service(folder, topic, age):
    (folder / "pipeline.toml").write_text(PIPELINE.format(brokers=BROKERS, topic=topic, age=age))
    environment = {**environment_of_weir(), "WEIR__LOG__LEVEL": "info", "WEIR__LOG__FORMAT": "json"}
    log = (folder / "log").open("w")
    process = subprocess.Popen([str(WEIR), "run", "pipeline.toml"], cwd=folder, env=environment, stderr=log, stdout=log)
    atexit.register(process.kill)
    return process


def stop(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def wait_for(what, seconds=60):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.005)


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def share(pid, seconds):
    """Percent of a core that a process takes."""
    before = cpu_seconds(pid)
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / seconds * 100


def steady(topic, folder, options):
    process = service(folder, topic, "1s")
    log = folder / "log"
    wait_for(lambda: log.read_text().count("lane starts") == 3)
    data, seen, done = folder / "out/latency/data", {}, threading.Event()

    def watch():
        while not done.is_set():
            if data.is_dir():
                for item in os.scandir(data):
                    seen.setdefault(item.name, time.time())
            time.sleep(0.003)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    producer = Producer({"bootstrap.servers": BROKERS, "linger.ms": 5, "compression.type": "gzip"})
    before, started = cpu_seconds(process.pid), time.monotonic()
    count = options.rate * options.seconds
    for at in range(count):
        producer.poll(0)
        time.sleep(max(0, started + at / options.rate - time.monotonic()))
        producer.produce(topic, b'{"sent_us":%d,"value":%d.5}' % (time.time_ns() // 1000, at), partition=at % 3)
    producer.flush(30)
    busy = (cpu_seconds(process.pid) - before) / (time.monotonic() - started) * 100

    def rows():
        return sum(pyarrow.parquet.read_metadata(data / name).num_rows for name in list(seen))

    wait_for(lambda: rows() == count)
    time.sleep(2)
    idle = share(process.pid, 20)
    done.set()
    watcher.join()
    stop(process)
    latencies = [seen[name] * 1e3 - pyarrow.parquet.read_table(data / name)["sent_us"].to_numpy() / 1e3 for name in seen]
    return numpy.concatenate(latencies), busy, idle


def start(topic, folder):
    """From the group's assignment to the first file that is published, where records wait already."""
    process = service(folder, topic, "10ms")
    data, log = folder / "out/latency/data", folder / "log"
    wait_for(lambda: data.is_dir() and any(data.iterdir()))
    seen = time.time()
    stop(process)
    line = next(line for line in log.read_text().splitlines() if "partitions assigned" in line)
    assigned = datetime.fromisoformat(json.loads(line)["timestamp"].replace("Z", "+00:00")).timestamp()
    return (seen - assigned) * 1e3


if __name__ == "__main__":
    sys.exit(main())
