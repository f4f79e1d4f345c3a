"""Whether four libraries read hive keys back as they were.

usage: hive_keys.py FOLDER LIST KEY

LIST is a JSON file of pairs: the name of a folder, and the value of KEY that it stands for. Each becomes a folder in FOLDER with
a file of one row. The libraries are told that the key is a text, because they guess numbers otherwise.
"""

import json
import sys
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.parquet


def with_pyarrow(folder, key, hive):
    table = pyarrow.dataset.dataset(folder, partitioning=hive).to_table()
    return zip(table["row"].to_pylist(), table[key].to_pylist())


def with_pandas(folder, key, hive):
    frame = pandas.read_parquet(folder, partitioning=hive)
    return zip(frame["row"], frame[key].astype(str))


def with_polars(folder, key, hive):
    frame = polars.scan_parquet(folder, hive_schema={key: polars.String}).collect()
    return zip(frame["row"], frame[key])


def with_duckdb(folder, key, hive):
    files = f"'{folder}/**/*.parquet', hive_partitioning = true, hive_types = {{'{key}': varchar}}"
    return duckdb.sql(f'select row, "{key}" from read_parquet({files})').fetchall()


def main():
    folder, names, key = sys.argv[1:]
    pairs = json.loads(Path(names).read_text())
    for row, (name, _) in enumerate(pairs):
        path = Path(folder, name)
        path.mkdir(parents=True)
        pyarrow.parquet.write_table(pyarrow.table({"row": [row]}), path / "f.parquet")
    hive = pyarrow.dataset.partitioning(pyarrow.schema([(key, pyarrow.string())]), flavor="hive")
    for read in [with_pyarrow, with_pandas, with_polars, with_duckdb]:
        found = dict(read(folder, key, hive))
        wrong = [(name, value, found.get(row)) for row, (name, value) in enumerate(pairs) if found.get(row) != value]
        assert not wrong and len(found) == len(pairs), f"{read.__name__}: {len(wrong)} differ: {wrong[:5]}"
    json.dump({"agreed": len(pairs)}, sys.stdout)


main()
