"""Opens a dataset's folder as a notebook would, with four libraries, and prints what they agree on as JSON.

usage: readers.py DATASET [COLUMN …]

DATASET is the folder that holds data/ and rejects/. For data/, and for rejects/ where there are any, each library counts
the rows; for each COLUMN of data/ it computes the mean of what is not null. They must agree, or this fails. Nothing is
told to the libraries but the folder: what a notebook needs tricks for is a fault of the dataset.
"""

import json
import math
import sys
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow.compute
import pyarrow.dataset


def with_pandas(folder, columns):
    frame = pandas.read_parquet(folder)
    return len(frame), {column: frame[column].mean() for column in columns}


def with_pyarrow(folder, columns):
    table = pyarrow.dataset.dataset(folder, partitioning="hive").to_table()
    return table.num_rows, {column: pyarrow.compute.mean(table[column]).as_py() for column in columns}


def with_polars(folder, columns):
    frame = polars.scan_parquet(folder).collect()
    return frame.height, {column: frame[column].mean() for column in columns}


def with_duckdb(folder, columns):
    values = ", ".join(["count(*)"] + [f'avg("{column}")' for column in columns])
    count, *means = duckdb.sql(f"select {values} from '{folder}/**/*.parquet'").fetchall()[0]
    return count, dict(zip(columns, means))


LIBRARIES = {"pandas": with_pandas, "pyarrow": with_pyarrow, "polars": with_polars, "duckdb": with_duckdb}


def agreed(folder, columns):
    found = {name: read(str(folder), columns) for name, read in LIBRARIES.items()}
    counts = {name: count for name, (count, _) in found.items()}
    assert len(set(counts.values())) == 1, f"the libraries count differently: {counts}"
    (count, means), *others = found.values()
    for _, other in others:
        assert all(math.isclose(means[c], other[c], rel_tol=1e-9) for c in columns), f"means differ: {found}"
    return {"rows": count, "means": means}


def stations(folder):
    """The hive keys, as three of the libraries make them a column."""
    found = {
        "pandas": pandas.read_parquet(folder)["station_id"].astype(str).unique(),
        "polars": polars.scan_parquet(folder).collect()["station_id"].unique(),
        "duckdb": [row[0] for row in duckdb.sql(f"select distinct station_id from '{folder}/**/*.parquet'").fetchall()],
    }
    found = {name: sorted(keys) for name, keys in found.items()}
    assert len({tuple(keys) for keys in found.values()}) == 1, f"the libraries find different keys: {found}"
    return found["pandas"]


def main():
    dataset, *columns = sys.argv[1:]
    result = {"data": agreed(Path(dataset, "data"), columns)}
    if any(Path(dataset, "data").glob("station_id=*")):
        result["stations"] = stations(str(Path(dataset, "data")))
    if any(Path(dataset, "rejects").rglob("*.parquet")):
        result["rejects"] = agreed(Path(dataset, "rejects"), [])
    json.dump(result, sys.stdout)


main()
