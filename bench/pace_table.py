#!/usr/bin/python3
"""The pace with 1, 10 and 100 destinations and endpoints that answer after 1, 20 and 500 ms. 500 a second in all.

    bench/pace_table.py [smooth] [strict] [1] [10] [100] [1ms] [20ms] [500ms]      prints the table; arguments narrow it down

One bench-sink stands for all of the destinations and notes when each request came and whose it was. "Use" is what came in
the time beside what the limits let through; a strict token comes back a period after the answer, so of those limits that is
period / (period + answer) (docs/adr/0004-pacing.md). "Late" is from the token to the wire, for smooth (see dispatch.py).
"""
import bisect
import itertools
import sys
import time

import common
import dispatch

TOTAL, ANSWERS_MS, COUNTS, MODES = 500, (1, 20, 500), (1, 10, 100), ("smooth", "strict")
# Strict with 500 ms goes in rounds of 1.5 s: whole ones are measured.
SECONDS, WARM_SECONDS = max(6.0, 2 * common.SECONDS), 2.5
BURST_ALLOWED = 0.01  # smooth: 505 of 500; one more than the limit when that is nothing


def define(client, sink, count, mode):
    for n in range(count):
        client.define("destinations", f"far-{n}", url=f"http://127.0.0.1:{sink.port}/{n}/x", allowPrivateAddresses=True,
                      rateLimits={"maxDispatchesPerSecond": TOTAL // count, "mode": mode})
        client.define("queues", f"jobs-{n}", destination=f"far-{n}", paused=True)


def fill(server, count):
    """A backlog for each queue that lasts."""
    each = int(TOTAL / count * (SECONDS + WARM_SECONDS + 3))
    if count == 1:
        path, done = common.campaign(server.client, "fill", "jobs-0"), 0
        while done < each:
            done += common.wrk(server.port, path, "entry", f"d{done}", 16, 1)["requests"]
        server.client.define("queues", "jobs-0", destination="far-0", paused=True)
        return
    for n in range(count):
        for _ in range(each):
            assert server.client.post(f"/v1/queues/jobs-{n}/messages", {"n": 1}).status == 202


def most_in_a_second(times):
    return max((bisect.bisect_left(times, at + 10**9) - i for i, at in enumerate(times)), default=0)


def measure(folder, mode, count, answer_ms):
    """(share of a core, seconds, {destination: times})"""
    sink, server = dispatch.Sink(answer_ms), common.Server(folder / f"{mode}-{count}-{answer_ms}").start()
    try:
        define(server.client, sink, count, mode)
        fill(server, count)
        for n in range(count):
            server.client.define("queues", f"jobs-{n}", destination=f"far-{n}", paused=False)
        time.sleep(WARM_SECONDS)
        cpu, began = dispatch.cpu_seconds(server.process.pid), time.monotonic_ns()
        time.sleep(SECONDS)
        ended = time.monotonic_ns()
        share = (dispatch.cpu_seconds(server.process.pid) - cpu) * 1e9 / (ended - began)
        for n in range(count):
            assert server.client.queue(f"jobs-{n}")["stats"]["ready"] > 0, "a backlog ran out: the figure means nothing"
    finally:
        server.kill()
        stamps = sink.stop()
    times = {n: [] for n in range(count)}
    for stamp in stamps:
        if began <= stamp & (1 << 56) - 1 <= ended:
            times[stamp >> 56].append(stamp & (1 << 56) - 1)
    return share, (ended - began) / 1e9, times


def lateness_ms(times, limit):
    step = 1e9 / limit
    late, around = [at - n * step for n, at in enumerate(times)], max(limit, 20)
    return [(late[n] - min(late[max(n - around, 0):n + around])) / 1e6 for n in range(len(late))]


def one(folder, mode, count, answer_ms):
    share, seconds, times = measure(folder, mode, count, answer_ms)
    limit, seen = TOTAL // count, sum(map(len, times.values()))
    possible = TOTAL * seconds * (1 if mode == "smooth" else 1000 / (1000 + answer_ms))
    use, most = seen / possible, max(most_in_a_second(t) for t in times.values())
    allowed = limit if mode == "strict" else limit + max(1, int(limit * BURST_ALLOWED))
    late = sorted(ms for t in times.values() for ms in lateness_ms(t, limit)) if mode == "smooth" else []
    return {"mode": mode, "destinations": count, "answer_ms": answer_ms, "limit": limit, "most": most, "use": use,
            "cpu": share, "late_p99_ms": late[len(late) * 99 // 100] if late else None,
            "met": most <= allowed and use >= (0.995 if mode == "smooth" else 0.97)}


def main(arguments=()):
    modes = [m for m in MODES if m in arguments] or MODES
    counts = [c for c in COUNTS if str(c) in arguments] or COUNTS
    answers_ms = [ms for ms in ANSWERS_MS if f"{ms}ms" in arguments] or ANSWERS_MS
    rows = []
    print("| mode | destinations, each | answers after | most in any second | use | CPU | late, p99 | |\n"
          "|---|---|---|---|---|---|---|---|", flush=True)
    with common.Folder() as folder:
        for mode, count, answer_ms in itertools.product(modes, counts, answers_ms):
            r = one(folder, mode, count, answer_ms)
            late = "" if r["late_p99_ms"] is None else f"{r['late_p99_ms']:.1f} ms"
            print(f"| {mode} | {count}, {r['limit']}/s | {answer_ms} ms | {r['most']} | {r['use'] * 100:.1f} % |"
                  f" {r['cpu'] * 100:.1f} % | {late} | {'' if r['met'] else 'missed'} |", flush=True)
            rows.append(r)
    common.write("pace_table", {"rows": rows})
    return {"rows": rows}


if __name__ == "__main__":
    main(sys.argv[1:])
