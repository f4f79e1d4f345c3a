"""Shows every row of a dataset with four libraries, as a notebook would, and prints the Kafka timestamps that they agree on.

usage: times.py DATASET

DATASET is the folder that holds data/ and rejects/. Prints JSON: for each of the two, the timestamps in the order of the
offsets, as text or null. A library that can't show a row ends this with its message.
"""

import json
import sys
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow.dataset

TIME = "_kafka_timestamp"


def with_pandas(folder):
    frame = pandas.read_parquet(folder).sort_values("_kafka_offset")
    repr(frame)
    frame[TIME].max()
    return [None if pandas.isna(time) else time.to_pydatetime() for time in frame[TIME]]


def with_pyarrow(folder):
    rows = pyarrow.dataset.dataset(folder).to_table().to_pylist()
    return [row[TIME] for row in sorted(rows, key=lambda row: row["_kafka_offset"])]


def with_polars(folder):
    frame = polars.read_parquet(folder).sort("_kafka_offset")
    frame.rows()
    frame[TIME].max()
    return frame[TIME].to_list()


def with_duckdb(folder):
    query = f"select epoch_us({TIME}) from '{folder}/**/*.parquet' order by _kafka_offset"
    times = [row[0] for row in duckdb.sql(query).fetchall()]
    duckdb.sql(f"select * exclude ({TIME}), {TIME}::varchar from '{folder}/**/*.parquet'").fetchall()
    return [None if time is None else pandas.Timestamp(time, unit="us", tz="UTC").to_pydatetime() for time in times]


def agreed(folder):
    found = [read(str(folder)) for read in (with_pandas, with_pyarrow, with_polars, with_duckdb)]
    assert all(times == found[0] for times in found), f"the libraries differ: {found}"
    return [None if time is None else time.isoformat() for time in found[0]]


json.dump({part: agreed(Path(sys.argv[1], part)) for part in ("data", "rejects")}, sys.stdout)
