"""What the benchmarks share: topics of known content, runs that are measured from outside, and the check of what came out."""

import gzip
import json
import os
import random
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy
import pyarrow.dataset
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
WEIR = TARGET / "release" / "weir"
BROKERS = os.environ.get("KAFKA_BROKERS", "localhost:9092")
RESULTS = ROOT / "docs" / "performance"

TRANSACTION_RECORDS = 2_000
# The twentieth part of the transactions is aborted, and the 200th part of the records is broken.
ABORTED_EVERY = 20
BROKEN_EVERY = 200
BROKEN = [b"", b"not json", b'{"station_id": "IT-01"', b'{"station_id":"IT-01","timestamp":"2004-03-10T18:00:00","rh":148.9}', b"[]"]


FIELDS = "co_gt pt08_s1_co nmhc_gt c6h6_gt pt08_s2_nmhc nox_gt pt08_s3_nox no2_gt pt08_s4_no2 pt08_s5_o3 t rh ah".split()


def readings():
    """The shipped readings as JSON, byte by byte what `weir produce` sends: fields in one order, numbers as published."""
    with gzip.open(ROOT / "src/readings/air_quality.csv.gz", "rt") as file:
        lines = [line.split(";") for line in file.read().splitlines()[1:] if not line.startswith(";")]
    def reading(date, time, *values):
        day, month, year = date.split("/")
        numbers = ",".join(f'"{field}":{value.replace(",", ".")}' for field, value in zip(FIELDS, values))
        return f'{{"station_id":"IT-01","timestamp":"{year}-{month}-{day}T{time.replace(".", ":")}",{numbers}}}'.encode()
    return [reading(*line) for line in lines]


@dataclass
class Topic:
    """A topic that is filled: its committed records by partition, and their bytes."""

    name: str
    partitions: int
    offsets: dict
    bytes: int

    @property
    def committed(self):
        return sum(len(offsets) for offsets in self.offsets.values())


def fill(name, payload, records, partitions=3, codec="gzip", aborts=True, brokers=BROKERS):
    """Makes a topic with `payload(number)` as its records, unless it is there, and says what an independent reader finds in it."""
    admin = AdminClient({"bootstrap.servers": brokers})
    if name not in admin.list_topics(timeout=30).topics:
        print(f"filling {name}: {records:,} records", flush=True)
        for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            future.result()
        produce(name, payload, records, partitions, codec, aborts, brokers)
    return read(name, brokers)


def produce(name, payload, records, partitions, codec, aborts, brokers):
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "transactional.id": name,
            "compression.type": codec,
            "linger.ms": 50,
            "queue.buffering.max.messages": 1_000_000,
            "message.max.bytes": 1_000_000,
        }
    )
    producer.init_transactions(60)
    for number, start in enumerate(range(0, records, TRANSACTION_RECORDS)):
        producer.begin_transaction()
        for at in range(start, min(start + TRANSACTION_RECORDS, records)):
            while True:
                try:
                    producer.produce(name, payload(at), partition=at % partitions)
                    break
                except BufferError:
                    producer.poll(0.01)
        if aborts and number % ABORTED_EVERY == 7:
            producer.flush(60)
            producer.abort_transaction(60)
        else:
            producer.commit_transaction(60)


def read(name, brokers):
    """Offsets of all that read_committed shows, by a client that has nothing to do with weir."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "bench-truth",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 5,
        }
    )
    partitions = list(consumer.list_topics(name, timeout=30).topics[name].partitions)
    consumer.assign([TopicPartition(name, partition, 0) for partition in partitions])
    offsets, ended, size = {partition: [] for partition in partitions}, 0, 0
    while ended < len(partitions):
        for message in consumer.consume(10_000, 0.1):
            if message.error() is None:
                offsets[message.partition()].append(message.offset())
                size += len(message)
            elif message.error().code() == KafkaError._PARTITION_EOF:
                ended += 1
            else:
                raise KafkaException(message.error())
    consumer.close()
    return Topic(name, len(partitions), {at: numpy.array(of, "int64") for at, of in offsets.items()}, size)


@dataclass
class Run:
    """A process that has ended: what it printed, and what it took with all its children."""

    output: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run(command, cwd, environment=None):
    """Runs a command and measures it: processor time of the whole tree, and the most memory that the tree had at once."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "KAFKA_BROKERS": BROKERS, "WEIR__LOG__LEVEL": "warn", **(environment or {})},
        stdout=subprocess.PIPE,
    )
    peak, done = [0], threading.Event()

    def watch():
        while not done.wait(0.01):
            peak[0] = max(peak[0], sum(resident(pid) for pid in tree(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command} failed with {process.returncode}:\n{output}")
    return Run(output, seconds, usage.ru_utime + usage.ru_stime, peak[0])


def tree(pid):
    """A process and all below it."""
    yield pid
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        children = [Path(f"/proc/{pid}/task/{task}/children").read_text().split() for task in tasks]
    except OSError:
        return
    for child in {int(child) for of in children for child in of}:
        yield from tree(child)


def resident(pid):
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0


def weir(pipeline, folder, environment=None):
    """`weir run --until-end` into an empty folder; gives its run and its summary."""
    (folder / "pipeline.toml").write_text(pipeline)
    ran = run([WEIR, "run", "pipeline.toml", "--until-end", "--format", "json"], folder, environment)
    return ran, json.loads(ran.output)


def check(topic, folder):
    """The oracle: each committed record is in data/, late/ or rejects/ exactly once, nothing else is, and the ledger agrees."""
    [dataset] = [path.parent for path in folder.glob("**/ledger")]
    found = []
    for side in ("data", "late", "rejects"):
        files = [str(path) for path in (dataset / side).glob("**/*.parquet")]
        if files:
            table = pyarrow.dataset.dataset(files, format="parquet").to_table(["_kafka_partition", "_kafka_offset"])
            found.append([table[column].to_numpy() for column in ("_kafka_partition", "_kafka_offset")])
    partitions, offsets = (numpy.concatenate(column) for column in zip(*found))
    for partition, expected in topic.offsets.items():
        written = numpy.sort(offsets[partitions == partition])
        assert numpy.array_equal(written, expected), f"{topic.name}:{partition}: {len(written)} written, {len(expected)} expected"
    assert len(offsets) == topic.committed
    subprocess.run([WEIR, "verify", "pipeline.toml"], cwd=folder, check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "KAFKA_BROKERS": BROKERS, "WEIR__LOG__LEVEL": "warn"})


def shipped_pipeline(topic, consumers=None, roll='windows = 1000, bytes = "128MiB", age = "1m"', sink=""):
    """pipelines/air_quality.toml for another topic, with files of another size."""
    text = (ROOT / "pipelines/air_quality.toml").read_text()
    text = replace(text, '"air-quality-data"', f'"{topic}"')
    text = replace(text, 'roll = { windows = 100, bytes = "128MiB", age = "1m" }', f"roll = {{ {roll} }}\n{sink}")
    return replace(text, "[source]", f"[source]\nconsumers = {consumers}") if consumers else text


def replace(text, old, new):
    assert text.count(old) == 1, f"the shipped pipeline has {old!r} {text.count(old)} times"
    return text.replace(old, new)


def median(runs, of):
    return statistics.median(of(run) for run in runs)


def save(name, result):
    """Keeps a benchmark's numbers beside the documentation, which charts.py draws them for."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def shuffled(items, seed):
    items = list(items)
    random.Random(seed).shuffle(items)
    return items
