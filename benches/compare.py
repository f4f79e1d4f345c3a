"""weir beside the limit and the peers, on the same topics in turns: `benches/run compare [--records N] [--rounds N] [--codecs …] [--peers …]`.

Each round runs everything once, in an order of its own; every output is counted, and weir's datasets are checked record by record.
"""

import argparse
import json
import subprocess
import sys

import numpy

from measure import BROKEN, BROKEN_EVERY, BROKERS, ROOT, check, coordinates, fill, good, median, new_folder, ratio, readings, run, save, shipped_pipeline, shuffled, weir

CONSUMERS = (1, 2, 3)
# What the guide's script writes.
GUIDE_FILES = dict(roll='windows = 1, bytes = "128MiB", age = "1m"')
# pipelines/air_quality.toml as it is: files of 10,000 rows.
SHIPPED_FILES = dict(roll='windows = 100, bytes = "128MiB", age = "1m"')


def main():
    arguments = argparse.ArgumentParser(prog="benches/run compare")
    arguments.add_argument("--records", type=int, default=2_000_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--codecs", default="gzip,lz4,none", help="of the topics; peers read the first one's")
    arguments.add_argument("--peers", default="guide,python,spark,flink,iceberg", help="may be empty; there is quix, too")
    arguments.add_argument("--limit", required=True, help=argparse.SUPPRESS)
    arguments.add_argument("--limit-gzip", required=True, help=argparse.SUPPRESS)
    arguments.add_argument("--save", action="store_true", help="into docs/performance/")
    options = arguments.parse_args()
    codecs = options.codecs.split(",")
    peers = [peer for peer in options.peers.split(",") if peer]
    for peer in peers:
        subprocess.run([ROOT / "benches/peers/setup", peer], check=True)
    payloads = readings()
    topics = {
        codec: fill(f"compare-{codec}", lambda at: payload(payloads, at), options.records, set(BROKEN).__contains__, codec=codec) for codec in codecs
    }

    runners = {}
    for codec, topic in topics.items():
        for consumers in CONSUMERS:
            runners[codec, f"limit, {consumers}"] = limit(options.limit, topic, consumers)
        if codec == "gzip":
            runners[codec, "limit with weir's gzip, 3"] = limit(options.limit_gzip, topic, 3)
        runners[codec, "weir"] = engine(topic, shipped_pipeline(topic.name))
        runners[codec, "weir, 3"] = engine(topic, shipped_pipeline(topic.name, 3))
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
        table = summary(topics, runs)
        if options.save:
            save("compare", {"rounds": number + 1, "table": table})
    report(table)


def summary(topics, runs):
    return [
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


def report(table):
    for row in table:
        print(f"{row['codec']:5} {row['who']:28} {row['records_a_second']:>10,.0f} records/s {row['cpu_us_a_record']:8.2f} us {row['peak_mib']:8.0f} MiB")
    for codec in dict.fromkeys(row["codec"] for row in table):
        rows = {row["who"]: row for row in table if row["codec"] == codec}
        for who, row in rows.items():
            if not who.startswith("weir"):
                print(f"{codec}: weir is {ratio(rows['weir'], row)} × {who}")
        if "guide" in rows:
            print(f"{codec}: weir with files of 100 rows is {ratio(rows['weir, files of 100 rows'], rows['guide'])} × guide")


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
        folder = new_folder()
        measured = weir(pipeline, folder)
        check(topic, folder)
        return measured

    return measure


def other(peer, topic):
    def measure():
        folder = new_folder()
        measured = run([ROOT / "benches/peers/run", peer, BROKERS, topic.name, folder], ROOT)
        files = (path for path in folder.glob("**/*.parquet") if not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts))
        found = coordinates(files, "kafka_partition", "kafka_offset")
        # What a peer makes of a broken record is its own affair; a good one must be there, and nothing may be there twice.
        for partition, offsets in good(topic).items():
            written = found[partition]
            assert len(numpy.unique(written)) == len(written), f"{peer}: records twice in partition {partition}"
            assert numpy.isin(offsets, written).all(), f"{peer}: records lost in partition {partition}"
            assert numpy.isin(written, topic.offsets[partition]).all(), f"{peer}: rows of no committed record in partition {partition}"
        return measured

    return measure


if __name__ == "__main__":
    sys.exit(main())
