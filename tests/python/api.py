"""Tries whatever the API's description allows, and what it forbids: schemathesis, the same cases each time.

usage: api.py URL TOKEN PIPELINE PIPELINE

Prints what it found: no `failures`, and 0 as `code`, if that is nothing.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

url, token, *pipelines = sys.argv[1:]


def settings(pipeline):
    return f"""
color = false

[parameters]
"path.name" = {json.dumps(pipeline)}

[generation]
max-examples = 20
deterministic = true
database = "none"

[phases.stateful]
enabled = false

# That it is not ready is an answer, and no failure.
[[operations]]
include-path = "/readyz"

[operations.checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]

# A stream that has no end.
[[operations]]
include-path = "/api/v1/events"
enabled = false
"""


def tried(pipeline):
    """What schemathesis prints when it tries everything on a pipeline, and its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "schemathesis.toml"
        file.write_text(settings(pipeline))
        command = [Path(sys.executable).with_name("st"), "--config-file", file, "run", f"{url}/openapi.json"]
        # How long an answer takes is not what is tried.
        command += ["--header", f"Authorization: Bearer {token}", "--request-timeout", "600"]
        command += ["--suppress-health-check", "all"]
        done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout, done.returncode


def number(pattern, report):
    found = re.search(pattern, report)
    return int(found[1].replace(",", "")) if found else 0


runs = [tried(pipeline) for pipeline in pipelines]
report = "\n".join(report for report, _ in runs)
print(
    json.dumps(
        {
            "code": max(code for _, code in runs),
            "failures": re.findall(r"^- ST.*$", report, re.MULTILINE),
            "operations": min(number(r"Tested: +(\d+)", report) for report, _ in runs),
            "cases": sum(number(r"([\d,]+) generated", report) for report, _ in runs),
            "report": report,
        }
    )
)
