"""What the benchmarks share: topics of known content, runs that are measured from outside, and the check of what came out."""

import contextlib
import gzip
import hashlib
import json
import os
import random
import statistics
import subprocess
import tempfile
import threading
import time
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy
import pyarrow.dataset
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
WEIR = TARGET / "release" / "weir"
BROKERS = os.environ.get("KAFKA_BROKERS", "localhost:9092")
RESULTS = ROOT / "docs" / "performance"

# Where runs have their folders. Deleted when the program ends, and nothing of it before: ext4 without a journal passes over inodes that were deleted in the minutes before, one
# by one for each file that is made.
SCRATCH = tempfile.TemporaryDirectory()

TRANSACTION_RECORDS = 2_000
# Batches of up to 60 MB before compression. A transaction has the records of one of them.
LARGE_BATCHES = {
    "batch.size": 60_000_000,
    "batch.num.messages": 30_000,
    "linger.ms": 1_000,
    "message.max.bytes": 62_914_560,
    "queue.buffering.max.kbytes": 2_000_000,
}
# The twentieth part of the transactions is aborted, and the 200th part of the records is broken.
ABORTED_EVERY = 20
BROKEN_EVERY = 200
BROKEN = [b"", b"not json", b'{"station_id": "IT-01"', b'{"station_id":"IT-01","timestamp":"2004-03-10T18:00:00","rh":148.9}', b"[]"]


FIELDS = "co_gt pt08_s1_co nmhc_gt c6h6_gt pt08_s2_nmhc nox_gt pt08_s3_nox no2_gt pt08_s4_no2 pt08_s5_o3 t rh ah".split()


def readings():
    """The shipped readings as JSON, byte by byte what `weir produce` sends: fields in one order, numbers as published."""
    with gzip.open(ROOT / "src/cli/readings/air_quality.csv.gz", "rt") as file:
        lines = [line.split(";") for line in file.read().splitlines()[1:] if not line.startswith(";")]
    def reading(date, time, *values):
        day, month, year = date.split("/")
        numbers = ",".join(f'"{field}":{value.replace(",", ".")}' for field, value in zip(FIELDS, values))
        return f'{{"station_id":"IT-01","timestamp":"{year}-{month}-{day}T{time.replace(".", ":")}",{numbers}}}'.encode()
    return [reading(*line) for line in lines]


@dataclass
class Topic:
    """A topic that is filled: offsets of its committed records by partition, those of them that are broken, and all their bytes."""

    name: str
    partitions: int
    offsets: dict
    broken: dict
    bytes: int

    @property
    def committed(self):
        return sum(len(offsets) for offsets in self.offsets.values())


def fill(name, payload, records, broken, partitions=3, codec="gzip", aborts=True, brokers=BROKERS, large_batches=False):
    """Makes a topic with `payload(number)` as its records, unless it is there, and says what an independent reader finds in it.

    `broken` tells which payloads weir must reject.
    """
    content = hashlib.sha256(repr([records, partitions, codec, aborts, [payload(at) for at in range(0, records, 997)]]).encode())
    name = "".join(letter if letter.isalnum() else "-" for letter in name) + "-" + content.hexdigest()[:8]
    admin = AdminClient({"bootstrap.servers": brokers})
    if name not in admin.list_topics(timeout=30).topics:
        print(f"filling {name}: {records:,} records", flush=True)
        for future in admin.create_topics([NewTopic(name, partitions, 1, config={"retention.ms": "-1"})]).values():
            future.result()
        produce(name, payload, records, partitions, codec, aborts, brokers, large_batches)
    per = transaction_records(partitions, large_batches)
    expected = sum(min(per, records - start) for at, start in enumerate(range(0, records, per)) if not (aborts and at % ABORTED_EVERY == 7))
    # The last transaction is visible a moment after its end, when all its partitions have been told.
    until = time.monotonic() + 60
    while (topic := read(name, broken, brokers)).committed < expected and time.monotonic() < until:
        time.sleep(1)
    assert topic.committed == expected, f"{name} has {topic.committed} records and should have {expected}: delete it"
    return topic


def transaction_records(partitions, large_batches):
    """As many of each partition in a transaction, whatever their number."""
    if large_batches:
        return LARGE_BATCHES["batch.num.messages"]
    return TRANSACTION_RECORDS * max(1, partitions // 3)


def produce(name, payload, records, partitions, codec, aborts, brokers, large_batches):
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "transactional.id": name,
            "compression.type": codec,
            "linger.ms": 50,
            "queue.buffering.max.messages": 1_000_000,
            "message.max.bytes": 1_000_000,
            **(LARGE_BATCHES if large_batches else {}),
        }
    )
    producer.init_transactions(60)
    per = transaction_records(partitions, large_batches)
    for number, start in enumerate(range(0, records, per)):
        producer.begin_transaction()
        for at in range(start, min(start + per, records)):
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


def read(name, broken, brokers):
    """Offsets of all that read_committed shows, by a client that has nothing to do with weir."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "bench-truth",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 5,
        }
    )
    partitions = list(consumer.list_topics(name, timeout=30).topics[name].partitions)
    consumer.assign([TopicPartition(name, partition, 0) for partition in partitions])
    offsets, faulty = ({partition: array("q") for partition in partitions} for _ in range(2))
    ended, size = 0, 0
    while ended < len(partitions):
        for message in consumer.consume(10_000, 0.1):
            if message.error() is None:
                offsets[message.partition()].append(message.offset())
                size += len(message)
                if broken(message.value() or b""):
                    faulty[message.partition()].append(message.offset())
            elif message.error().code() == KafkaError._PARTITION_EOF:
                ended += 1
            else:
                raise KafkaException(message.error())
    consumer.close()
    offsets, faulty = ({at: numpy.array(of, "int64") for at, of in one.items()} for one in (offsets, faulty))
    return Topic(name, len(partitions), offsets, faulty, size)


@dataclass
class Run:
    """A process that has ended: what it printed, and what it took with all its children."""

    output: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    # The exit code, or the negative number of the signal that ended it.
    code: int


def run(command, cwd, environment=None, may_fail=False):
    """Runs a command and measures it: processor time of the whole tree, and the most memory that the tree had at once."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=environment or environment_of_weir(),
        stdout=subprocess.PIPE,
    )
    peak, done = [0], threading.Event()

    def watch():
        while not done.wait(0.05):
            pids = list(tree(process.pid))
            # The kernel knows a process's own peak; of several, only the sum of the moment can be had.
            peak[0] = max(peak[0], highest(pids[0]) if len(pids) == 1 else sum(map(resident, pids)))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 and not may_fail:
        raise SystemExit(f"{command} failed with {process.returncode}:\n{output}")
    return Run(output, seconds, usage.ru_utime + usage.ru_stime, peak[0], process.returncode)


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
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def highest(pid):
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def environment_of_weir(**settings):
    """weir as it is when nothing else is set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
    return {**kept, "KAFKA_BROKERS": BROKERS, "WEIR__LOG__LEVEL": "warn", **settings}


# What making a file may take of a processor: three times what it usually does on a machine of two cores.
FILE_SECONDS = 75e-6


def wait_for_disk():
    """Waits until files are as cheap as usual: where thousands were deleted, the next ones are dear for up to six minutes (see above)."""
    until = time.monotonic() + 400
    # Each in a folder of its own, which may be elsewhere on the disk.
    while (seconds := max(seconds_a_file() for _ in range(8))) > FILE_SECONDS:
        what = f"making a file takes {seconds * 1e6:.0f} us of processor time, perhaps because many were deleted here"
        if time.monotonic() > until:
            print(f"{what}: shapes with many files will be dear", flush=True)
            return
        print(f"{what}: waiting for up to {until - time.monotonic():.0f} s", flush=True)
        time.sleep(20)


def seconds_a_file(files=50):
    folder = new_folder()
    started = time.process_time()
    for number in range(files):
        (folder / str(number)).touch()
    return (time.process_time() - started) / files


def new_folder():
    """An empty folder for a run."""
    return Path(tempfile.mkdtemp(dir=SCRATCH.name))


class NoControlGroup(Exception):
    """The system has no control groups for memory, or this user may not make one."""


@contextlib.contextmanager
def control_group(limit):
    """Makes a control group, of either version, and gives the command that starts another in it.

    `limit` is the memory in bytes that its processes may have together.
    """
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    mount, file = ("", "memory.max") if unified else ("memory", "memory.limit_in_bytes")
    group = Path("/sys/fs/cgroup", mount, f"weir-bench-{os.getpid()}")
    try:
        group.mkdir()
    except OSError as error:
        raise NoControlGroup(f"{group}: {error.strerror}") from error
    try:
        try:
            (group / file).write_text(str(limit))
        except OSError as error:
            raise NoControlGroup(f"{group / file}: {error.strerror}") from error
        with contextlib.suppress(OSError):
            (group / "memory.swap.max").write_text("0")
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$0" "$@"']
    finally:
        group.rmdir()


def weir(pipeline, folder, under=(), may_fail=False, **settings):
    """`weir run --until-end` into an empty folder, started by the command `under`."""
    (folder / "pipeline.toml").write_text(pipeline)
    command = [*under, WEIR, "run", "pipeline.toml", "--until-end", "--format", "json"]
    return run(command, folder, environment_of_weir(**settings), may_fail)


def check(topic, folder):
    """The oracle: each good record is in data/ exactly once, each broken one in rejects/, nothing else is, and the ledger agrees."""
    [dataset] = [path.parent for path in folder.glob("**/ledger")]
    for side, expected in (("data", good(topic)), ("rejects", topic.broken)):
        found = coordinates((dataset / side).glob("**/*.parquet"), "_kafka_partition", "_kafka_offset")
        for partition, offsets in expected.items():
            written = found.pop(partition, numpy.array([], "int64"))
            assert numpy.array_equal(written, offsets), f"{topic.name}:{partition}: {len(written)} in {side}/, not {len(offsets)}"
        assert not found, f"{side}/ has records of partitions {list(found)}"
    subprocess.run([WEIR, "verify", "pipeline.toml"], cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment_of_weir())


def good(topic):
    return {at: numpy.setdiff1d(of, topic.broken[at], assume_unique=True) for at, of in topic.offsets.items()}


def coordinates(files, partition, offset):
    """Offsets by partition of all rows, ascending, as often as they are there."""
    files = [str(path) for path in files]
    if not files:
        return {}
    table = pyarrow.dataset.dataset(files, format="parquet").to_table([partition, offset])
    partitions, offsets = (table[column].to_numpy() for column in (partition, offset))
    return {int(at): numpy.sort(offsets[partitions == at]) for at in numpy.unique(partitions)}


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


def ratio(one, other):
    """How many times as fast the one was: the median of the ratios of each round, and the least and the greatest of them."""
    ratios = [theirs / ours for ours, theirs in zip(one["seconds"], other["seconds"])]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def shuffled(items, seed):
    items = list(items)
    random.Random(seed).shuffle(items)
    return items
