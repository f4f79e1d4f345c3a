"""Prints the number of readings in the published CSV file and the mean of some of its columns as JSON; -200 is no value.

usage: published.py CSV COLUMN …
"""

import json
import sys

import pandas

path, *columns = sys.argv[1:]
frame = pandas.read_csv(path, sep=";", decimal=",", na_values=["-200"]).dropna(how="all")
json.dump({"rows": len(frame), "means": {column: frame[column].mean() for column in columns}}, sys.stdout)
