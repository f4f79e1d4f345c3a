"""Draws docs/performance/*.png from the benchmarks' results, and puts their tables into docs/performance.md: `benches/run charts`."""

import json

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plot

from measure import RESULTS, ROOT, ratio

OURS, LIMIT, PEER = "#1f6f8b", "#9aa5b1", "#d98e73"
PAGE = ROOT / "docs/performance.md"
NAMES = {
    "guide": "Python as in the guide, 100-row files",
    "python": "Python, tuned",
    "spark": "Spark 4.1 Structured Streaming",
    "flink": "Flink 2.1 SQL",
    "iceberg": "Iceberg's Kafka Connect sink 1.10",
    "quix": "Quix Streams 3.28",
}


def main():
    for name, draw in (("compare", compare), ("shapes", shapes), ("memory", memory), ("latency", latency)):
        path = RESULTS / f"{name}.json"
        if path.exists():
            draw(json.loads(path.read_text()))


def compare(result):
    for codec in dict.fromkeys(row["codec"] for row in result["table"]):
        rows = [row for row in result["table"] if row["codec"] == codec]
        rows.sort(key=lambda row: row["records_a_second"])
        figure, axes = plot.subplots(1, 3, figsize=(13, 0.8 + 0.36 * len(rows)), sharey=True)
        names = [label(row["who"]) for row in rows]
        colours = [LIMIT if row["who"].startswith("limit") else OURS if row["who"].startswith("weir") else PEER for row in rows]
        for axis, key, title in zip(axes, ("records_a_second", "cpu_us_a_record", "peak_mib"), ("records a second", "CPU a record, us", "peak memory, MiB")):
            values = [row[key] for row in rows]
            axis.barh(names, values, color=colours)
            axis.set_title(title, fontsize=10)
            axis.bar_label(axis.containers[0], [f"{value:,.0f}" if value >= 10 else f"{value:.2f}" for value in values], fontsize=8, padding=2)
            axis.margins(x=0.2)
            axis.spines[["top", "right"]].set_visible(False)
        figure.suptitle(f"{rows[0]['records']:,} {codec} readings, medians of {result['rounds']} rounds", fontsize=11)
        save(figure, f"compare-{codec}")
    lines = ["| topic | | records/s | CPU a record | peak memory | weir is |", "|---|---|---|---|---|---|"]
    for codec in dict.fromkeys(row["codec"] for row in result["table"]):
        rows = [row for row in result["table"] if row["codec"] == codec]
        ours = next(row for row in rows if row["who"] == "weir")
        for row in rows:
            times = "" if row["who"].startswith("weir") else f"{ratio(ours, row)} ×"
            lines.append(
                f"| {codec} | {label(row['who'])} | {row['records_a_second']:,.0f} | {row['cpu_us_a_record']:.2f} us "
                f"| {row['peak_mib']:,.0f} MiB | {times} |"
            )
    insert("compare", lines)


def label(who):
    if who in NAMES:
        return NAMES[who]
    kind, _, rest = who.partition(", ")
    name = {"limit": "librdkafka alone", "limit with weir's gzip": "librdkafka with weir's gzip", "weir": "weir"}[kind]
    if not rest:
        return f"{name}, as it comes"
    return f"{name}, {rest}" if not rest.isdigit() else f"{name}, {rest} consumer{'s' if rest != '1' else ''}"


def shapes(result):
    table = result["table"]
    plain = next(row for row in table if row["group"] == "plain")
    figure, axes = plot.subplots(1, 3, figsize=(13, 0.8 + 0.27 * len(table)), sharey=True)
    names = [f"{row['group']}: {row['value']}" for row in table][::-1]
    for axis, key, title in zip(axes, ("megabytes_a_second", "cpu_ns_a_byte", "peak_mib"), ("MB a second", "CPU a byte, ns", "peak memory, MiB")):
        values = [row[key] for row in table][::-1]
        axis.barh(names, values, color=[LIMIT if name.startswith("plain") else OURS for name in names])
        axis.axvline(plain[key], color=LIMIT, linewidth=1)
        axis.set_title(title, fontsize=10)
        axis.bar_label(axis.containers[0], [f"{value:,.0f}" if value >= 20 else f"{value:.1f}" for value in values], fontsize=8, padding=2)
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    save(figure, "shapes")
    lines = ["| | | records/s | MB/s | CPU a byte | beside plain | peak memory |", "|---|---|---|---|---|---|---|"]
    for row in table:
        lines.append(
            f"| {row['group']} | {row['value']} | {row['records_a_second']:,.0f} | {row['megabytes_a_second']:.0f} | {row['cpu_ns_a_byte']:.1f} ns "
            f"| {row['cpu_ns_a_byte'] / plain['cpu_ns_a_byte']:.2f} × | {row['peak_mib']:,.0f} MiB |"
        )
    insert("shapes", lines)


def memory(result):
    lines = ["| records | control group | peak memory | rows | how it ended |", "|---|---|---|---|---|"]
    for row in result["table"]:
        peak, rows, parked = "", "", ", parked by name" if any(" is parked: " in failure for failure in row["failures"]) else ""
        if row["rows"] is not None:
            peak, rows = f"{row['peak_mib']:,.0f} MiB", f"{row['rows']:,} of {row['of']:,}"
        lines.append(f"| {row['records']} | {row['group_mib']} MiB | {peak} | {rows} | {row['ended']}{parked} |")
    insert("memory", lines)


def latency(result):
    figure, axis = plot.subplots(figsize=(8, 2.6))
    counts = result["histogram_ms"]
    axis.bar([at * 50 for at in range(len(counts))], counts, width=50, align="edge", color=OURS)
    axis.axvline(result["p99_ms"], color=PEER)
    axis.text(result["p99_ms"] + 20, max(counts) * 0.9, f"99th percentile: {result['p99_ms']:.0f} ms", color=PEER, fontsize=9)
    axis.set_xlabel("ms from the producer's send to a file in data/")
    axis.set_ylabel("records")
    axis.set_xlim(0, 2_000)
    axis.spines[["top", "right"]].set_visible(False)
    save(figure, "latency")
    insert(
        "latency",
        [
            "| | |",
            "|---|---|",
            f"| records, at {result['rate']:,} a second | {result['records']:,} |",
            f"| send to file: median, 99th percentile, longest | {result['p50_ms']:.0f}, {result['p99_ms']:.0f}, {result['max_ms']:.0f} ms |",
            f"| processor time meanwhile | {result['busy_percent_of_a_core']:.1f} % of a core |",
            f"| processor time when nothing comes | {result['idle_percent_of_a_core']:.1f} % of a core |",
            f"| the group's assignment to the first file, with records waiting | {result['assigned_to_first_file_ms']:.0f} ms |",
        ],
    )


def save(figure, name):
    figure.tight_layout()
    figure.savefig(RESULTS / f"{name}.png", dpi=110)
    plot.close(figure)


def insert(name, lines):
    page = PAGE.read_text()
    begin, end = f"<!-- {name}: by benches/run charts -->", f"<!-- {name}: end -->"
    assert begin in page and end in page, f"{PAGE.name} has no place for {name}"
    before, rest = page.split(begin)
    PAGE.write_text(before + begin + "\n" + "\n".join(lines) + "\n" + end + rest.split(end)[1])


if __name__ == "__main__":
    main()
