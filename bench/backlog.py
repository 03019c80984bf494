#!/usr/bin/python3
"""What a backlog costs: memory per waiting message, cost of an operation, a start, and a snapshot that runs beside.

Messages are loaded by transactions into 64 queues. Cost per operation: processor time of the server per durable publish-like
entry, with 1,000 waiting and with all of them, in turns on two servers. BENCH_MESSAGES sets how many (default 10 million).
"""
import os
import pathlib
import time

import common

MESSAGES = int(os.environ.get("BENCH_MESSAGES", "10000000"))
QUEUES = 64  # as requests.lua has it
TICKS = os.sysconf("SC_CLK_TCK")


def fill(server, wanted):
    """Loads until at least `wanted` messages wait in all; how many do."""
    while (waiting := sum(queue["stats"]["ready"] for queue in backlogs(server))) < wanted:
        missing = wanted - waiting
        if missing < 10000:
            put_one_each(server)
        else:
            common.wrk(server.port, "/v1/transactions", "batch", "backlog", 16, 1 if missing < 1000000 else 4)
    return waiting


def put_one_each(server):
    operations = [{"enqueue": {"queue": f"backlog-{n}", "body": {"n": 1}}} for n in range(QUEUES)]
    assert server.client.post("/v1/transactions", {"operations": operations}).status == 202


def backlogs(server):
    listed = server.client.get("/v1/queues?page_size=1000").json["queues"]
    return [queue for queue in listed if queue["name"].startswith("backlog-")]


def cpu_seconds(server):
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_per_operation_us(server, entries, prefix):
    before = cpu_seconds(server)
    load = common.wrk(server.port, entries, "entry", prefix, 64, 2)
    return (cpu_seconds(server) - before) / load["requests"] * 1e6


def start_seconds(server):
    started = time.monotonic()
    server.start(timeout=120)
    return time.monotonic() - started


def small_and_large(folder):
    options = {"log": {"snapshotEveryBytes": 1 << 40}}
    small = common.Server(folder / "small", options).start()
    large = common.Server(folder / "large", options).start()
    for server in (small, large):
        server.entries = common.campaign(server.client, queue="sent")
        for n in range(QUEUES):
            server.client.define("queues", f"backlog-{n}")
    return small, large


def measure_memory(large, result):
    base = large.resident_bytes()
    for wanted in sorted({MESSAGES // 10, MESSAGES}):
        waiting = fill(large, wanted)
        result["memory"][str(waiting)] = each = (large.resident_bytes() - base) / waiting
        result["rows"].append(common.row(f"memory per message with {waiting:,} waiting", f"{each:.0f} bytes",
                                         "<= 96 bytes", each <= 96))


def measure_cost(small, large, result):
    fill(small, 1000)
    for server in (small, large):
        cpu_per_operation_us(server, server.entries, "warm")
    result["cost"] = one = common.in_turns(
        lambda turn: cpu_per_operation_us(large, large.entries, f"t{turn}"),
        lambda turn: cpu_per_operation_us(small, small.entries, f"t{turn}"))
    result["rows"].append(common.row(
        f"processor time of an entry: {one['a']:.1f} us with all waiting, {one['b']:.1f} us with 1,000",
        f"{one['ratio']:.2f} x", "<= 1.3 x", one["ratio"] <= 1.3))


def snapshots(server):
    return common.metric(server.client, "sluice_snapshots_total") or 0


def p999_us(server, prefix):
    common.wrk(server.port, server.entries, "entry", prefix + "warm", 64, 1)
    return common.wrk(server.port, server.entries, "entry", prefix, 64, 12)["p999"]


def beside_snapshots(large):
    """p99.9 of entries while the state is written: that is due at once, since the log has no snapshot yet."""
    latency, end = p999_us(large, "snap"), time.monotonic() + 300
    while snapshots(large) < 1 and time.monotonic() < end:
        time.sleep(0.5)
    return latency, snapshots(large)


def measure_starts_and_snapshots(large, result):
    large.kill()
    large.configure({"log": {"snapshotEveryBytes": 20 << 20}})
    result["start_from_log"] = start_seconds(large)
    with_p999, taken = beside_snapshots(large)
    large.configure({"log": {"snapshotEveryBytes": 1 << 40}})
    large.stop(timeout=300)  # takes a snapshot
    result["start_from_snapshot"] = start_seconds(large)
    without_p999, none = p999_us(large, "calm"), snapshots(large)
    for name in ("start_from_log", "start_from_snapshot"):
        must = name.endswith("snapshot")
        result["rows"].append(common.row(f"{name.replace('_', ' ')}, {MESSAGES:,} messages", f"{result[name]:.1f} s",
                                         "<= 10 s" if must else "-", result[name] <= 10 or not must))
    result["snapshot"] = {"with": with_p999, "taken": taken, "without": without_p999, "none": none}
    ratio = with_p999 / without_p999
    result["rows"].append(common.row(
        f"p99.9 of entries at 64 connections beside {taken:.0f} snapshots {with_p999 / 1000:.1f} ms, "
        f"without {without_p999 / 1000:.1f} ms", f"{ratio:.2f} x", "<= 2 x", ratio <= 2 and taken > 0 and none == 0))


def main():
    result = {"messages": MESSAGES, "memory": {}, "rows": []}
    with common.Folder() as folder:
        small, large = small_and_large(folder)
        try:
            measure_memory(large, result)
            measure_cost(small, large, result)
            small.kill()
            measure_starts_and_snapshots(large, result)
        finally:
            small.kill()
            large.kill()
    common.write("backlog", result)
    return result


if __name__ == "__main__":
    main()
