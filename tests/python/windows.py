"""Compares windows of the readings with a groupby of the published CSV, and prints as JSON what was compared.

usage: windows.py DATASET CSV FREQUENCY COLUMN=PUBLISHED … < FILES

DATASET has folders data/window=<first day>/. FREQUENCY is pandas' (D for days, W-MON for weeks from Monday). FILES is what
`weir windows --files` prints. Counts and means of each window must be the CSV's, for pandas, polars and DuckDB, read from
the folder and read from the files.
"""

import json
import sys
from pathlib import Path

import duckdb
import pandas
import polars

dataset, csv, frequency, *pairs = sys.argv[1:]
columns = dict(pair.split("=") for pair in pairs)
files = sys.stdin.read().split()

frame = pandas.read_csv(csv, sep=";", decimal=",", na_values=["-200"]).dropna(how="all")
times = pandas.to_datetime(frame["Date"] + " " + frame["Time"], format="%d/%m/%Y %H.%M.%S")
grouped = frame.groupby(times.dt.to_period("W-SUN" if frequency == "W-MON" else frequency).dt.start_time)
published = {
    str(start.date()): [len(group)] + [group[column].mean() for column in columns.values()] for start, group in grouped
}


def same(found):
    assert set(found) == set(published), f"windows {sorted(set(found) ^ set(published))}"
    for window, (count, *means) in published.items():
        assert found[window][0] == count, f"{window}: {found[window][0]} rows, {count} published"
        for one, other in zip(found[window][1:], means):
            nothing = one is None or pandas.isna(one)
            assert nothing == bool(pandas.isna(other)), f"{window}: {found[window]}, {published[window]}"
            assert nothing or abs(one - other) < 1e-9, f"{window}: {found[window]}, {published[window]}"


def with_pandas(source):
    rows = pandas.read_parquet(source) if isinstance(source, str) else pandas.concat(
        [pandas.read_parquet(file, partitioning=None).assign(window=Path(file).parent.name.split("=")[1]) for file in source])
    return {str(window)[:10]: [len(group)] + [group[column].mean() for column in columns]
            for window, group in rows.groupby("window", observed=True)}


def with_polars(source):
    rows = polars.scan_parquet(source, hive_partitioning=True).collect()
    means = rows.group_by("window").agg(polars.len(), *[polars.col(column).mean() for column in columns])
    return {str(row[0]): row[1:] for row in means.rows()}


def with_duckdb(source):
    means = ", ".join(f'avg("{column}")' for column in columns)
    source = f"'{source}/**/*.parquet'" if isinstance(source, str) else source
    rows = duckdb.sql(f"select \"window\"::varchar, count(*), {means} from read_parquet({source}, hive_partitioning=true) group by 1")
    return {row[0]: row[1:] for row in rows.fetchall()}


for read in [with_pandas, with_polars, with_duckdb]:
    for source in [str(Path(dataset, "data")), files]:
        same(read(source))
json.dump({"windows": len(published), "rows": sum(row[0] for row in published.values()), "files": len(files)}, sys.stdout)
