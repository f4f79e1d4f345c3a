"""Executes a notebook and prints, as JSON, how many code cells it has and how many pictures they made.

usage: notebook.py NOTEBOOK [EXECUTED]

It runs in the notebook's own folder. An error in any cell fails it. With EXECUTED the notebook is written there, with its outputs.
"""

import json
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

path, *executed = map(Path, sys.argv[1:])
notebook = nbformat.read(path, as_version=4)
NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
for cell in notebook.cells:
    cell.metadata.pop("execution", None)  # When it ran is no part of it.
for target in executed:
    nbformat.write(notebook, target)

cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
outputs = [output for cell in cells for output in cell.outputs]
warnings = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
pictures = sum("image/png" in output.get("data", {}) for output in outputs)
json.dump({"cells": len(cells), "pictures": pictures, "warnings": warnings}, sys.stdout)
