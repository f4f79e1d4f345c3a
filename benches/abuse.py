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
from pathlib import Path

from measure import BROKEN, BROKEN_EVERY, BROKERS, WEIR, check, environment_of_weir, fill, readings, save, shipped_pipeline

PORT = 18321
IDLE_CONNECTIONS = 1_000


def main():
    arguments = argparse.ArgumentParser(prog="benches/run abuse")
    arguments.add_argument("--records", type=int, default=4_000_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--save", action="store_true", help="into docs/performance/")
    arguments.add_argument("--misuse", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.misuse:
        return asyncio.run(misuse())
    values = readings()
    payload = lambda at: BROKEN[at % len(BROKEN)] if at % BROKEN_EVERY == 3 else values[at % len(values)]
    topic = fill("abuse", payload, options.records, lambda value: value in BROKEN)
    rates, answers, shares = {False: [], True: []}, 0, []
    for number in range(options.rounds):
        for misused in (number % 2 == 0, number % 2 == 1):
            rate, answered, took = serve(topic, misused)
            shares += [took] if misused else []
            rates[misused].append(rate)
            answers += answered
            print(f"{'misused' if misused else 'alone':>8}: {rate:>9,.0f} records/s, {answered:,} answers", flush=True)
    ratios = sorted(misused / alone for alone, misused in zip(rates[False], rates[True]))
    result = {
        "records": topic.committed,
        "alone": statistics.median(rates[False]),
        "misused": statistics.median(rates[True]),
        "ratio": statistics.median(ratios),
        "least": ratios[0],
        "greatest": ratios[-1],
        "answers": answers,
        "service_share": statistics.median(service for service, _ in shares),
        "client_share": statistics.median(client for _, client in shares),
    }
    print(json.dumps(result, indent=1))
    if options.save:
        save("abuse", result)


def serve(topic, misused):
    """Records a second between the first commit and the last, how many answers the bad client got, and the shares of all processor time that
    weir's answering threads and the bad client took."""
    ends = {at: int(offsets[-1]) for at, offsets in topic.offsets.items()}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "pipelines").mkdir()
        pipeline = shipped_pipeline(topic.name, roll='windows = 1000, bytes = "128MiB", age = "500ms"')
        for name in ("pipeline.toml", "pipelines/pipeline.toml"):
            (folder / name).write_text(pipeline)
        environment = {**environment_of_weir(), "WEIR__HTTP__LISTEN": f"127.0.0.1:{PORT}"}
        client, answered = None, 0
        service = subprocess.Popen([WEIR, "serve"], cwd=folder, env=environment)
        try:
            # By the ledger: the port is what is misused.
            first, began = until(folder, lambda positions: sum(positions.values()) > 0)
            if misused:
                command = [sys.executable, __file__, "--misuse"]
                client = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=lambda: os.nice(19))
            last, ended = until(folder, lambda positions: all(positions.get(at, 0) > end for at, end in ends.items()))
        finally:
            shares = [0.0, 0.0]
            if client:
                cores = (ended - began) * os.cpu_count() * os.sysconf("SC_CLK_TCK")
                shares = [low_priority_ticks(process.pid) / cores for process in (service, client)]
                client.send_signal(signal.SIGTERM)
                answered = int(client.communicate()[0])
            service.send_signal(signal.SIGTERM)
            assert service.wait(60) == 0
        check(topic, folder)
        share = 1 - sum(first.values()) / sum(last.values())
        return topic.committed * share / (ended - began), answered, shares


def low_priority_ticks(pid):
    """Processor time of a process's threads of the lowest priority: those of weir that answer, all of the bad client's."""
    ticks = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12]) if fields[16] == "19" else 0
    return ticks


def until(folder, done):
    """The positions that the ledger's chains end at, and when they were so far."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        positions = {}
        for chain in folder.glob("processed_data/*/ledger/*/*/*/"):
            if newest := max(chain.glob("*.json"), default=None):
                positions[int(chain.name)] = json.loads(newest.read_text())["to"]
        if done(positions):
            return positions, time.monotonic()
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
        writer.write(b"POST /api/v1/pipelines/nobody/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n")
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
    # Those that want answers come first, so that the others don't have all places.
    tasks = [asyncio.create_task(connected(act)) for act in [foreign, climbing] * 4 + [eager] * 8 + [endless] * 4]
    await asyncio.sleep(0.2)
    tasks += [asyncio.create_task(connected(act)) for act in [slow] * 20 + [silent] * IDLE_CONNECTIONS]
    await stopped.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(answers[0])


main()
