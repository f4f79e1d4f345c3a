"""What programs that aren't weir's make of a service: Prometheus' client of its metrics, a validator of its API.

usage: service.py URL PIPELINE
"""

import json
import sys
import urllib.request

from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

url, pipeline = sys.argv[1:]


def get(path):
    with urllib.request.urlopen(url + path) as answer:
        return answer.headers, answer.read().decode()


headers, text = get("/metrics")
assert headers["Content-Type"].startswith("text/plain; version=0.0.4"), headers["Content-Type"]
families = {family.name: family for family in text_string_to_metric_families(text)}
for family in families.values():
    assert family.documentation, f"{family.name} has no help"
    assert family.type != "unknown", f"{family.name} has no type"


def samples(family, name=None, **labels):
    return [
        sample
        for sample in families[family].samples
        if sample.name == (name or sample.name)
        and sample.labels.get("pipeline") == pipeline
        and all(sample.labels.get(key) == value for key, value in labels.items())
    ]


def total(family, name=None, **labels):
    found = samples(family, name, **labels)
    assert found, f"{family} {labels} is missing"
    return sum(sample.value for sample in found)


document = json.loads(get("/openapi.json")[1])
validate(document)

# Everything that only reads answers, as the document says.
called = 0
for path, methods in document["paths"].items():
    for method, operation in methods.items():
        assert operation.get("summary"), f"{method} {path} has no summary"
    if "get" in methods and path not in ("/api/v1/events",) and not path.endswith("/windows"):
        headers, _ = get(path.replace("{name}", pipeline))
        said = methods["get"]["responses"]["200"]["content"]
        assert headers.get_content_type() in said, f"{path}: {headers.get_content_type()} not in {list(said)}"
        assert headers["X-Content-Type-Options"] == "nosniff"
        called += 1

headers, page = get("/docs/")
assert "swagger" in page.lower() and "default-src 'self'" in headers["Content-Security-Policy"]

print(
    json.dumps(
        {
            "records": {
                class_: total("weir_records", **{"class": class_})
                for class_ in ("row", "rejected", "late", "tombstone")
            },
            "rejected_by_rule": total("weir_rejected_records"),
            "files": total("weir_files"),
            "lag": total("weir_lane_lag_records"),
            "busy": {
                stage: total("weir_stage_busy_seconds", stage=stage)
                for stage in ("source", "validate", "window", "sink")
            },
            "commits_timed": total("weir_commit_seconds", "weir_commit_seconds_count"),
            "received": total("weir_broker_received_bytes"),
            "families": sorted(name + ("_total" if of.type == "counter" else "") for name, of in families.items()),
            "paths": len(document["paths"]),
            "called": called,
        }
    )
)
