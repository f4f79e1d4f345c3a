"""Opens every file of a dataset from its first to its last byte with pyarrow, and prints how many rows each has, as JSON.

usage: opened.py DATASET
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet

dataset = Path(sys.argv[1])
files = [path for side in ("data", "rejects", "late") for path in (dataset / side).rglob("*") if path.is_file()]


def rows(path):
    with pyarrow.parquet.ParquetFile(path) as file:
        return file.read(use_threads=False).num_rows


with ThreadPoolExecutor(2) as pool:
    print(json.dumps(dict(zip((str(path.relative_to(dataset)) for path in files), pool.map(rows, files)))))
