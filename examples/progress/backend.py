#!/usr/bin/env python3
"""A back end that works, and tells a page how far it is: python3 backend.py RELAY SESSION [JOB [STEPS]]

Python 3 and nothing else. What it says goes to the page's session by POST /v1/messages; a step has a key of its own, so
it can be sent again whenever an answer does not come, and is not shown twice.
"""

import json
import sys
import time
import urllib.error
import urllib.request
import uuid

GIVE_UP_AFTER = 60  # seconds


def send(relay, to, type, payload):
    """Sends a message; returns when the relay has it."""
    body = json.dumps({"to": to, "from": "backend", "type": type, "ttl": 600, "payload": payload}).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    end = time.monotonic() + GIVE_UP_AFTER
    pause = 0.2
    while True:
        try:
            request = urllib.request.Request(relay + "/v1/messages", body, headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            problem = refusal.read().decode()
            wait = float(refusal.headers.get("Retry-After") or pause)
            if refusal.code not in (429, 500, 502, 503, 504, 507) or time.monotonic() + wait > end:
                sys.exit(f"the relay refuses: {problem}")
        except OSError as error:  # refused, cut off, too slow
            wait = pause
            if time.monotonic() + wait > end:
                sys.exit(f"no relay at {relay}: {error}")
        time.sleep(wait)
        pause = min(2 * pause, 5)


def main(relay, session, job="report.pdf", steps="20"):
    total = int(steps)
    for done in range(total + 1):
        send(relay, "session:" + session, "progress", {"job": job, "done": done, "total": total})
        print(f"\r{job}: {done} of {total}", end="" if done < total else "\n", flush=True)
        if done < total:
            time.sleep(0.25)  # the work


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
