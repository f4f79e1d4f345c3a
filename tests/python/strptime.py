"""Reads texts by formats with Python's datetime.strptime: what weir's own reader is compared with.

usage: strptime.py

Standard input is JSON lines, each a list of a format and a text. Each becomes one line of standard output: microseconds
since 1970-01-01T00:00:00 of the instant, or of the clock's time where the text has no offset; null where Python refuses it.
"""

import json
import sys
from datetime import datetime, timedelta, timezone

MICROSECOND = timedelta(microseconds=1)


def read(form, text):
    try:
        time = datetime.strptime(text, form)
        if time.tzinfo is None:
            return (time - datetime(1970, 1, 1)) // MICROSECOND
        return (time - datetime(1970, 1, 1, tzinfo=timezone.utc)) // MICROSECOND
    except (ValueError, OverflowError):
        return None


for line in sys.stdin:
    print(json.dumps(read(*json.loads(line))))
