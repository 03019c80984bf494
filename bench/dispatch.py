#!/usr/bin/python3
"""The way out: how fast without a limit, what 500 a second cost, and how late a request is after its token.

The far side is bench-sink, which answers at once and notes when each request came. With a limit of 500/s and a backlog the
tokens come on a grid of 2 ms; how long after its token each request was at the far side is its arrival less the grid
through the most punctual ones near it.
"""
import array
import pathlib
import subprocess
import tempfile
import time

import common

LIMIT, SECONDS = 500, max(10.0, 3 * common.SECONDS)
UNPACED, BUDGET_RATE, BUDGET_CPU, BUDGET_LATE_MS = 300_000, 15_000, 0.03, 5.0


class Sink:
    """Its stamps are arrival times in ns; with paths that begin with a number, that number << 56 above them."""

    def __init__(self, answer_ms=0):
        self.port = common.free_port()
        self.stamps = pathlib.Path(tempfile.mkdtemp(prefix="bench-sink")) / "stamps"
        self.process = subprocess.Popen([common.BUILD / "bench/bench-sink", str(self.port), self.stamps, str(answer_ms)])
        time.sleep(0.2)

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        times = array.array("Q")
        if self.stamps.exists():
            times.frombytes(self.stamps.read_bytes())
            self.stamps.unlink()
        self.stamps.parent.rmdir()
        return times


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def threads_cpu(pid):
    """Seconds by thread name."""
    used = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        text = (task / "stat").read_text()
        name, fields = text.split("(", 1)[1].rsplit(")", 1)
        used[name] = used.get(name, 0) + sum(int(f) for f in fields.split()[11:13]) / 100
    return used


def fill(client, port, count):
    client.post("/v1/queues/jobs:pause")
    path = common.campaign(client, "fill", "jobs")
    done = 0
    while done < count:
        done += common.wrk(port, path, "entry", f"d{done}", 64, 2)["requests"]
    return done


def define(client, sink, **more):
    client.define("destinations", "far", url=f"http://127.0.0.1:{sink.port}/x", allowPrivateAddresses=True, **more)
    client.define("queues", "jobs", destination="far")


def unpaced(folder):
    """(attempts a second, share of a core that the sink used, share by thread of ours)"""
    sink, server = Sink(), common.Server(folder / "unpaced").start()
    try:
        client = server.client
        define(client, sink, rateLimits={"maxConcurrentDispatches": 256})
        fill(client, server.port, UNPACED)
        common.settle(client)
        cpu, before = sink.cpu(), threads_cpu(server.process.pid)
        client.define("queues", "jobs", destination="far", paused=False)
        started, first = time.monotonic(), client.queue("jobs")["stats"]["completed"]
        while True:
            time.sleep(0.25)
            stats, took = client.queue("jobs")["stats"], time.monotonic() - started
            assert stats["ready"] > 0, "the backlog ran out: the figure means nothing"
            if took >= min(SECONDS, 5) or stats["ready"] < UNPACED / 4:  # a fast machine is through with it earlier
                break
        after = threads_cpu(server.process.pid)
        shares = {name: round((used - before.get(name, 0)) / took, 2) for name, used in after.items()}
        return (stats["completed"] - first) / took, (sink.cpu() - cpu) / took, shares
    finally:
        server.kill()
        sink.stop()


def lateness_ms(times, limit):
    """Of each arrival, in ms, sorted."""
    step = 1e9 / limit
    late = [at - n * step for n, at in enumerate(times)]
    around = limit  # a second to each side
    found = []
    for n in range(around, len(late) - around, 7):
        found.append((late[n] - min(late[n - around:n + around])) / 1e6)
    return sorted(found)


def paced(folder):
    """(share of a core, p50, p99 of the lateness in ms)"""
    sink, server = Sink(), common.Server(folder / "paced").start()
    try:
        client = server.client
        define(client, sink, rateLimits={"maxDispatchesPerSecond": LIMIT})
        fill(client, server.port, 30_000)
        common.settle(client)
        time.sleep(1)
        idle, began = cpu_seconds(server.process.pid), time.monotonic()
        time.sleep(3)
        idle = (cpu_seconds(server.process.pid) - idle) / (time.monotonic() - began)
        client.define("queues", "jobs", destination="far", paused=False)
        time.sleep(2)
        cpu, began = cpu_seconds(server.process.pid), time.monotonic()
        time.sleep(SECONDS)
        share = (cpu_seconds(server.process.pid) - cpu) / (time.monotonic() - began)
        assert client.queue("jobs")["stats"]["ready"] > 0, "the backlog ran out: the figure means nothing"
        threads = threads_cpu(server.process.pid)
    finally:
        server.kill()
        times = sink.stop()
    late = lateness_ms(times[LIMIT:], LIMIT)
    return share, idle, late[len(late) // 2], late[len(late) * 99 // 100], threads


def main():
    result = {"rows": []}
    with common.Folder() as folder:
        rate, sink_share, threads = unpaced(folder)
        share, idle, p50, p99, _ = paced(folder)
    result["unpaced"] = {"rate": rate, "sink_share": sink_share, "threads": threads}
    result["paced"] = {"cpu": share, "idle": idle, "late_p50_ms": p50, "late_p99_ms": p99}
    result["rows"] = [
        common.row("unpaced, 256 at a time: attempts a second, durable at both ends", f"{rate:,.0f}",
                   f">= {BUDGET_RATE:,}", rate >= BUDGET_RATE),
        common.row(f"500/s: share of a core (idle: {idle * 100:.1f} %)", f"{share * 100:.1f} %",
                   f"<= {BUDGET_CPU * 100:g} %", share <= BUDGET_CPU),
        common.row(f"500/s: from token to wire, p99 (p50: {p50:.2f} ms)", f"{p99:.2f} ms",
                   f"<= {BUDGET_LATE_MS:g} ms", p99 <= BUDGET_LATE_MS)]
    common.write("dispatch", result)
    return result


if __name__ == "__main__":
    main()
