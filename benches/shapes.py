"""The same engine on input of many shapes: `benches/run shapes [--megabytes N] [--rounds N] [--only GROUP,…] [--backlog GIGABYTES]`.

The plain case is readings in 3 partitions, gzip, one hive key, files of 100,000 rows. Partitions, bad records, hive keys and codecs change one
thing of it; wide, long and nested records have columns of their own and no hive key. A thousand partitions with 10 × the data have files of a sensible
number of rows; hive keys with more data have 1,000,000 rows a commit, or 2,000,000, too, and one line has more memory; 500 columns with 6 × the data
are more than fits into the memory at once. Each dataset is checked record by record. What
counts is the processor time a byte beside the plain case's, in the same run.

The group `memory` is another table, measured after the others: records that take far more memory
than bytes of the log, each with `limits.memory = 64MiB` in control groups of 128 and 256 MiB. It
needs root. What counts is how a run ends, so that it may fail.
"""

import argparse
import json
import random
import signal
import sys

import numpy
from measure import (
    BROKERS,
    NoControlGroup,
    check,
    control_group,
    coordinates,
    fill,
    median,
    new_folder,
    readings,
    save,
    shuffled,
    wait_for_disk,
    weir,
)

PLAIN = "plain"
MEMORY = "memory"
# What records have that are to be rejected.
MARK = b'"n/a"'


def main():
    arguments = argparse.ArgumentParser(prog="benches/run shapes")
    arguments.add_argument("--megabytes", type=int, default=150, help="of each topic, about")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--only", default="", help="groups: " + ", ".join(dict.fromkeys([group for group, _, _ in SHAPES] + [MEMORY])))
    arguments.add_argument("--backlog", type=float, default=0, help="gigabytes of one more topic, to see that memory stays flat")
    arguments.add_argument("--save", action="store_true", help="into docs/performance/")
    options = arguments.parse_args()
    only = [group for group in options.only.split(",") if group]
    if only != [MEMORY]:
        beside_plain([shape for shape in SHAPES if not only or shape[0] in only + [PLAIN]], options)
    if not only or MEMORY in only:
        in_little_memory(options)


def beside_plain(shapes, options):
    """Measures shapes, and compares them with the plain one."""
    topics, pipelines, settings = {}, {}, {}
    for group, value, shape in shapes + ([("backlog", f"{options.backlog:g} GB", plain())] if options.backlog else []):
        size = options.backlog * 1e9 if group == "backlog" else options.megabytes * 1e6 * shape["times"]
        topics[group, value], pipelines[group, value] = topic_of(group, value, shape, size)
        settings[group, value] = shape["settings"]

    wait_for_disk()
    runs = {shape: [] for shape in topics}
    for number in range(options.rounds):
        for shape in shuffled(runs, number):
            if shape[0] == "backlog" and number > 0:
                continue
            folder = new_folder()
            measured = weir(pipelines[shape], folder, **settings[shape])
            check(topics[shape], folder)
            print(f"round {number + 1}: {shape[0]} {shape[1]}: {measured.seconds:.2f} s, {measured.cpu_seconds:.2f} s of CPU", flush=True)
            runs[shape].append(measured)
    table = [
        {
            "group": group,
            "value": value,
            "records": topics[group, value].committed,
            "bytes": topics[group, value].bytes,
            "records_a_second": median(of, lambda one: topics[group, value].committed / one.seconds),
            "megabytes_a_second": median(of, lambda one: topics[group, value].bytes / one.seconds / 1e6),
            "cpu_ns_a_byte": median(of, lambda one: one.cpu_seconds * 1e9 / topics[group, value].bytes),
            "peak_mib": median(of, lambda one: one.peak_bytes / 2**20),
        }
        for (group, value), of in runs.items()
    ]
    if options.save:
        save("shapes", {"rounds": options.rounds, "table": table})
    least = next(row["cpu_ns_a_byte"] for row in table if row["group"] == PLAIN)
    for row in table:
        print(
            f"{row['group']:14} {row['value']:>10} {row['records_a_second']:>10,.0f} records/s {row['megabytes_a_second']:6.0f} MB/s "
            f"{row['cpu_ns_a_byte']:6.1f} ns a byte ({row['cpu_ns_a_byte'] / least:.2f} × plain) {row['peak_mib']:6.0f} MiB"
        )


def in_little_memory(options):
    """Measures how runs end whose process has little memory, and how much they take."""
    table = []
    for value, shape in LITTLE_MEMORY:
        topic, definition = topic_of(MEMORY, value, shape, 0)
        for mebibytes in (128, 256):
            row = {"records": value, "of": topic.committed, "group_mib": mebibytes}
            table.append(row)
            try:
                with control_group(mebibytes << 20) as under:
                    row |= one_in_little_memory(topic, definition, under, shape["settings"])
            except NoControlGroup as error:
                row |= {"peak_mib": None, "rows": None, "ended": f"not measured, no control group: {error}", "failures": []}
    if options.save:
        save(MEMORY, {"table": table})
    for row in table:
        peak = "" if row["peak_mib"] is None else f"{row['peak_mib']:.0f} MiB"
        print(f"{row['records']:>24} {row['group_mib']} MiB: {peak:>8} {row['rows']} of {row['of']} rows, {row['ended']}")
        for failure in row["failures"]:
            print(f"  {failure}")


def one_in_little_memory(topic, definition, under, settings):
    """How a run ends, its peak, and the rows it wrote. Whatever the end, these are the topic's first."""
    folder = new_folder()
    measured = weir(definition, folder, under, may_fail=True, **settings)
    rows = coordinates(folder.glob("out/**/data/**/*.parquet"), "_kafka_partition", "_kafka_offset").get(0, [])
    assert numpy.array_equal(rows, topic.offsets[0][: len(rows)]), f"{topic.name}: {len(rows)} rows are not its first"
    if measured.code == 0:
        check(topic, folder)
    ended = f"exit {measured.code}" if measured.code >= 0 else f"killed by {signal.Signals(-measured.code).name}"
    failures = [failure for line in measured.output.splitlines() for failure in json.loads(line)["failures"]]
    return {"peak_mib": measured.peak_bytes / 2**20, "rows": len(rows), "ended": ended, "failures": failures}


def topic_of(group, value, shape, size):
    """A shape's topic, of about so many bytes unless the shape has a number of records; its pipeline."""
    payloads = shape["payloads"]()
    records = shape["records"] or int(size / (sum(map(len, payloads)) / len(payloads)))
    topic = fill(
        f"shape-{group}-{value}",
        lambda at: payloads[at % len(payloads)],
        records,
        lambda value: MARK in value,
        shape["partitions"],
        shape["codec"],
        aborts=False,
        large_batches=group == MEMORY,
    )
    return topic, pipeline(topic.name, shape["columns"], shape["partition_by"], shape["windows"])


def pipeline(topic, columns, partition_by, windows=1000):
    keys = ", ".join(f'"{key}"' for key in partition_by)
    return f"""
name = "shape"
[source]
type = "kafka"
brokers = "{BROKERS}"
topics = ["{topic}"]
format = "json"
[columns]
{columns}
[window]
type = "count"
rows = 100
[sink]
type = "parquet"
path = "out"
partition_by = [{keys}]
max_keys = 10000
roll = {{ windows = {windows}, bytes = "128MiB", age = "1m" }}
"""


READING_COLUMNS = "\n".join(
    ['station_id = { type = "string", required = true }', 'timestamp = { type = "timestamp", time_zone = "+01:00" }']
    + [f'{name} = {{ type = "float64", missing = [-200], min = -100, max = 10000 }}' for name in "co_gt pt08_s1_co nmhc_gt c6h6_gt pt08_s2_nmhc nox_gt pt08_s3_nox no2_gt pt08_s4_no2 pt08_s5_o3 t rh ah".split()]
)


def plain(**changes):
    usual = dict(payloads=readings, columns=READING_COLUMNS, partitions=3, codec="gzip", partition_by=["station_id"], times=1, records=None, windows=1000, settings={})
    return usual | changes


def wide(columns, text=4, **changes):
    """Records of a text of so many bytes and of numbers."""
    numbers = range(1, columns)
    def payloads():
        rows = [",".join(f'"f{column}":{(at * 7 + column) % 1000 / 10}' for column in numbers) for at in range(997)]
        letters = random.Random(text).choices("abcdefghij klmnopqrst", k=2 * text + 997)
        return [f'{{"f0":"{"".join(letters[at : at + text])}",{row}}}'.encode() for at, row in enumerate(rows)]
    definition = ['f0 = { type = "string" }'] + [f'f{column} = {{ type = "float64" }}' for column in numbers]
    return plain(payloads=payloads, columns="\n".join(definition), partition_by=[], **changes)


def nested():
    def payloads():
        return [
            f'{{"id":"s{at}","meta":{{"site":{{"lat":{at % 90}.5,"lon":-{at % 180}.25}},"unit":"ppb"}},"values":{{"co":{at}.1,"no":{at}.2,"o":[{at},{at}.3]}}}}'.encode()
            for at in range(997)
        ]
    paths = ["/meta/site/lat", "/meta/site/lon", "/values/co", "/values/no", "/values/o/1"]
    definition = ['id = { type = "string" }'] + [f'f{at} = {{ type = "float64", from = "{path}" }}' for at, path in enumerate(paths)]
    return plain(payloads=payloads, columns="\n".join(definition), partition_by=[])


def bad(percent):
    """So many of a thousand readings have a text for a number."""
    def payloads():
        good = readings()[:9000]
        return [one.replace(b'"rh":', b'"rh":' + MARK + b',"was":') if at * 7919 % 1000 < percent * 10 else one for at, one in enumerate(good)]
    return plain(payloads=payloads)


def keys(count, **changes):
    def payloads():
        good = readings()
        return [good[at % len(good)].replace(b"IT-01", f"S-{at * 7919 % count}".encode()) for at in range(max(count, 9000))]
    return plain(payloads=payloads, **changes)


def compressible(codec, records, payloads):
    """Records of one partition that take far more memory than bytes of the log."""
    columns = 'i = { type = "int64" }\nk = { type = "string" }'
    settings = {"WEIR__LIMITS__MEMORY": "64MiB"}
    return plain(payloads=payloads, columns=columns, partitions=1, codec=codec, partition_by=[], records=records, settings=settings)


def repeated(length, count=997):
    """Payloads of one letter, so many times."""
    return lambda: [b'{"i":%d,"k":"%s"}' % (at, b"y" * length) for at in range(count)]


LITTLE_MEMORY = [
    ("2 kB, zstd", compressible("zstd", 300_000, repeated(2_000))),
    ("2 kB, gzip", compressible("gzip", 300_000, repeated(2_000))),
    ("40 MB, zstd", compressible("zstd", 30, repeated(40_000_000, count=1))),
    ("empty, zstd", compressible("zstd", 1_000_000, lambda: [b"{}"])),
]

SHAPES = (
    [(PLAIN, "readings", plain())]
    + [("partitions", str(count), plain(partitions=count)) for count in (1, 10, 100, 1000)]
    + [("partitions", "1000, 10 × the data", plain(partitions=1000, times=10))]
    + [("columns", str(count), wide(count)) for count in (5, 50, 500)]
    + [("columns", "500, 6 × the data", wide(500, times=6))]
    + [("record bytes", name, wide(columns, text)) for name, columns, text in (("50", 4, 10), ("1,000", 15, 800), ("10,000", 15, 9_800), ("100,000", 15, 99_800))]
    + [("nested", "6 columns", nested())]
    + [("bad", f"{percent:g} %", bad(percent)) for percent in (0, 0.5, 5, 50)]
    + [("hive keys", f"{count:,}", keys(count)) for count in (10, 100, 1_000, 10_000)]
    + [("hive keys", "10, 10 × the data", keys(10, times=10, windows=10_000))]
    + [("hive keys", f"{count:,}, 3 × the data", keys(count, times=3, windows=10_000)) for count in (1_000, 10_000)]
    # As many as are divided by the number of partitions, so that each key's records are all in one of them.
    + [("hive keys", "9,999 by partition, 10 × the data", keys(9_999, times=10, windows=20_000))]
    + [("hive keys", "the same with 2 GiB of memory", keys(9_999, times=10, windows=20_000, settings={"WEIR__LIMITS__MEMORY": "2GiB"}))]
    + [("codec", codec, plain(codec=codec)) for codec in ("none", "snappy", "lz4", "zstd")]
)

if __name__ == "__main__":
    sys.exit(main())
