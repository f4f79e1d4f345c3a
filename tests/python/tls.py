"""What a client of another make finds behind TLS.

usage: tls.py PORT CA TOKEN
"""

import json
import ssl
import sys
import urllib.error
import urllib.request

port, ca, token = sys.argv[1:]
trusting = ssl.create_default_context(cafile=ca)


def get(path, headers=None, context=trusting):
    request = urllib.request.Request(f"https://localhost:{port}{path}", headers=headers or {})
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


bearer = {"Authorization": f"Bearer {token}"}
try:
    get("/healthz", context=ssl.create_default_context())
    untrusted = "it was trusted"
except urllib.error.URLError as error:
    untrusted = str(error.reason)
print(
    json.dumps(
        {
            "with": get("/readyz", bearer)[0],
            "without": get("/readyz")[0],
            "metrics": "weir_build_info" in get("/metrics", bearer)[1],
            "config": json.loads(get("/api/v1/config", bearer)[1]),
            "untrusted": untrusted,
        }
    )
)
