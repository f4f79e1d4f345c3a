"""weir beside the limit and the peers, on the same topics in turns: `benches/run compare [--records N] [--rounds N] [--codecs …] [--peers …]`.

Each round runs everything once, in an order of its own; every output is counted, and weir's datasets are checked record by record.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.dataset

from measure import BROKEN, BROKEN_EVERY, BROKERS, ROOT, check, fill, median, readings, run, save, shipped_pipeline, shuffled, weir

CONSUMERS = (1, 2, 3)
# Tables of 100-row files are what the guide's script writes; pandas compresses with snappy.
GUIDE_FILES = dict(roll='windows = 1, bytes = "128MiB", age = "1m"', sink='compression = "snappy"')
# pipelines/air_quality.toml as it is: files of 10,000 rows.
SHIPPED_FILES = dict(roll='windows = 100, bytes = "128MiB", age = "1m"')


def main():
    arguments = argparse.ArgumentParser(prog="benches/run compare")
    arguments.add_argument("--records", type=int, default=2_000_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--codecs", default="gzip,lz4,none", help="of the topics; peers read the first one's")
    arguments.add_argument("--peers", default="guide,python,spark,flink,iceberg,quix", help="may be empty")
    arguments.add_argument("--limit", required=True, help="the binary of benches/limit.rs")
    options = arguments.parse_args()
    codecs = options.codecs.split(",")
    peers = [peer for peer in options.peers.split(",") if peer]
    good = readings()
    topics = {codec: fill(f"bench-{codec}-{options.records}", lambda at: payload(good, at), options.records, codec=codec) for codec in codecs}

    runners = {}
    for codec, topic in topics.items():
        for consumers in CONSUMERS:
            runners[codec, f"limit, {consumers}"] = limit(options.limit, topic, consumers)
            runners[codec, f"weir, {consumers}"] = engine(topic, shipped_pipeline(topic.name, consumers))
    first = topics[codecs[0]]
    runners[codecs[0], "weir, files of 10,000 rows"] = engine(first, shipped_pipeline(first.name, **SHIPPED_FILES))
    runners[codecs[0], "weir, files of 100 rows"] = engine(first, shipped_pipeline(first.name, **GUIDE_FILES))
    for peer in peers:
        runners[codecs[0], peer] = other(peer, first)

    runs = {name: [] for name in runners}
    for number in range(options.rounds):
        for name in shuffled(runners, number):
            measured = runners[name]()
            print(f"round {number + 1}: {' '.join(name)}: {measured.seconds:.2f} s, {measured.cpu_seconds:.2f} s of CPU", flush=True)
            runs[name].append(measured)

    table = [
        {
            "codec": codec,
            "who": who,
            "records": topics[codec].committed,
            "bytes": topics[codec].bytes,
            "records_a_second": median(of, lambda one: topics[codec].committed / one.seconds),
            "cpu_us_a_record": median(of, lambda one: one.cpu_seconds * 1e6 / topics[codec].committed),
            "peak_mib": median(of, lambda one: one.peak_bytes / 2**20),
            "seconds": [round(one.seconds, 3) for one in of],
        }
        for (codec, who), of in runs.items()
    ]
    save("compare", {"rounds": options.rounds, "table": table})
    report(table)


def report(table):
    for row in table:
        print(f"{row['codec']:5} {row['who']:28} {row['records_a_second']:>10,.0f} records/s {row['cpu_us_a_record']:8.2f} us {row['peak_mib']:8.0f} MiB")
    for codec in dict.fromkeys(row["codec"] for row in table):
        rows = {row["who"]: row for row in table if row["codec"] == codec}
        best = {kind: max((row for who, row in rows.items() if who.startswith(kind + ", ") and "files" not in who), key=lambda row: row["records_a_second"]) for kind in ("limit", "weir")}
        for who, row in rows.items():
            if not who.startswith("weir"):
                print(f"{codec}: the best weir ({best['weir']['who']}) is {ratio(best['weir'], row)} × {who}")
        if "guide" in rows:
            print(f"{codec}: weir with files of 100 rows is {ratio(rows['weir, files of 100 rows'], rows['guide'])} × guide")


def ratio(one, other):
    """The median of the ratios of each round, and the least and the greatest of them."""
    ratios = sorted(theirs / ours for ours, theirs in zip(one["seconds"], other["seconds"]))
    return f"{ratios[len(ratios) // 2]:.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"


def payload(good, at):
    return BROKEN[at // BROKEN_EVERY % len(BROKEN)] if at % BROKEN_EVERY == 0 else good[at % len(good)]


def limit(binary, topic, consumers):
    def measure():
        measured = run([binary, BROKERS, topic.name, topic.partitions, consumers], ROOT)
        assert json.loads(measured.output)["records"] == topic.committed
        return measured

    return measure


def engine(topic, pipeline):
    def measure():
        with tempfile.TemporaryDirectory() as folder:
            measured, summary = weir(pipeline, Path(folder))
            assert summary["counts"]["row"] + summary["counts"]["rejected"] == topic.committed, summary
            check(topic, Path(folder))
            return measured

    return measure


def other(peer, topic):
    def measure():
        subprocess.run([ROOT / "benches/peers/setup", peer], check=True)
        folder = Path(tempfile.mkdtemp())
        measured = run([ROOT / "benches/peers/run", peer, BROKERS, topic.name, folder], ROOT)
        files = [str(path) for path in folder.glob("**/*.parquet") if not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)]
        rows = pyarrow.dataset.dataset(files, format="parquet").count_rows()
        # What a peer makes of a broken record differs; that it lost or doubled a good one would show.
        broken = -(-topic.committed // BROKEN_EVERY) * 2
        assert topic.committed - broken <= rows <= topic.committed, f"{peer}: {rows} rows of {topic.committed} records"
        shutil.rmtree(folder)
        return measured

    return measure


if __name__ == "__main__":
    sys.exit(main())
