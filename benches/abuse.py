"""What bad clients of the HTTP service cost a pipeline: `benches/run abuse [--records N] [--rounds N]`.

`weir serve` reads a topic to its end, in turns left alone and while a program misuses its port in every way it knows: connections that say
nothing, heads that come byte by byte, bodies without end, foreign names, paths that climb, and well-formed requests as fast as they are
answered. That program has the lowest priority, because it stands for other machines, and this one has only so many cores.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from measure import BROKEN, BROKEN_EVERY, BROKERS, WEIR, check, environment_of_weir, fill, readings, save, shipped_pipeline

PORT = 18321
URL = f"http://127.0.0.1:{PORT}"
IDLE_CONNECTIONS = 1_000


def main():
    arguments = argparse.ArgumentParser(prog="benches/run abuse")
    arguments.add_argument("--records", type=int, default=2_000_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--save", action="store_true", help="into docs/performance/")
    arguments.add_argument("--misuse", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.misuse:
        return asyncio.run(misuse())
    values = readings()
    payload = lambda at: BROKEN[at % len(BROKEN)] if at % BROKEN_EVERY == 3 else values[at % len(values)]
    topic = fill("abuse", payload, options.records, lambda value: value in BROKEN)
    seconds, requests = {False: [], True: []}, 0
    for number in range(options.rounds):
        for misused in (number % 2 == 0, number % 2 == 1):
            took, answered = serve(topic, misused)
            seconds[misused].append(took)
            requests += answered
            print(f"{'misused' if misused else 'alone':>8}: {topic.committed / took:>9,.0f} records/s, {answered:,} answers", flush=True)
    ratios = sorted(alone / misused for alone, misused in zip(seconds[False], seconds[True]))
    result = {
        "records": topic.committed,
        "alone": topic.committed / statistics.median(seconds[False]),
        "misused": topic.committed / statistics.median(seconds[True]),
        "ratio": statistics.median(ratios),
        "least": ratios[0],
        "greatest": ratios[-1],
        "answers": requests,
    }
    print(json.dumps(result, indent=1))
    if options.save:
        save("abuse", result)


def serve(topic, misused):
    """Seconds from the first record read to the last one committed, and how many answers the bad client got."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "pipelines").mkdir()
        pipeline = shipped_pipeline(topic.name, roll='windows = 1000, bytes = "128MiB", age = "1s"')
        for name in ("pipeline.toml", "pipelines/pipeline.toml"):
            (folder / name).write_text(pipeline)
        environment = {**environment_of_weir(), "WEIR__HTTP__LISTEN": f"127.0.0.1:{PORT}"}
        client = None
        service = subprocess.Popen([WEIR, "serve"], cwd=folder, env=environment)
        try:
            began = until(lambda now: now["read"] > 0)
            if misused:
                command = [sys.executable, __file__, "--misuse"]
                client = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=lambda: os.nice(19))
            ended = until(lambda now: sum(now["records"].values()) >= topic.committed)
        finally:
            answered = 0
            if client:
                client.send_signal(signal.SIGTERM)
                answered = int(client.communicate()[0])
            service.send_signal(signal.SIGTERM)
            assert service.wait(60) == 0
        check(topic, folder)
        return ended - began, answered


def until(done):
    """When the pipeline is so far. The port may be full of others: an answer can take a moment."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{URL}/api/v1/pipelines/air-quality", timeout=30) as answer:
                run = json.load(answer)["run"]
            if run and done(run):
                return time.monotonic()
        except OSError:
            pass
        time.sleep(0.02)
    raise SystemExit("the pipeline did not come to its end in 300 s")


async def misuse():
    """Until it is stopped; then it prints how many answers it got."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    answers = [0]

    async def connected(act):
        while not stopped.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
                try:
                    await act(reader, writer)
                finally:
                    writer.close()
            except OSError:
                await asyncio.sleep(0.05)

    async def silent(reader, writer):
        await reader.read(1)

    async def slow(reader, writer):
        for byte in b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.1)

    async def endless(reader, writer):
        writer.write(b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n")
        for _ in range(10_000):
            writer.write(b"x" * 65_536)
            await writer.drain()

    def asking(*requests):
        async def ask(reader, writer):
            for at in range(1_000):
                path, host = requests[at % len(requests)]
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
                await reader.readexactly(length)
                answers[0] += 1
                if stopped.is_set():
                    return
        return ask

    foreign = asking(("/metrics", "evil.example.com"), ("/api/v1/pipelines", "localhost.evil.example.com"))
    climbing = asking(("/docs/..%2f..%2fetc/passwd", "localhost"), ("/api/v1/pipelines/%2e%2e", "localhost"))
    eager = asking(
        ("/metrics", "localhost"),
        ("/api/v1/pipelines/air-quality/ledger?limit=1000", "localhost"),
        ("/api/v1/pipelines/air-quality/rejects?limit=1000", "localhost"),
        ("/api/v1/pipelines", "localhost"),
    )
    acts = [silent] * IDLE_CONNECTIONS + [slow] * 20 + [endless] * 4 + [foreign, climbing] * 4 + [eager] * 8
    tasks = [asyncio.create_task(connected(act)) for act in acts]
    await stopped.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(answers[0])


main()
