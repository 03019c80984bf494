#!/usr/bin/python3
"""Confirmed and acknowledged messages beside RabbitMQ, with one client (bench/amqp_load.c) for both.

One producer with a window of unconfirmed persistent messages, one consumer that acknowledges each. RabbitMQ's classic
queue confirms without a flush; its quorum queue flushes, as we do. Both are on the same disk and machine. Then one message
at a time, beside a bare write and flush of as many bytes. BENCH_AMQP, a part of a row's name, measures only those rows.
"""
import json
import os
import subprocess

import common
from support.rabbit import Rabbit

LOAD = common.BUILD / "bench/bench-amqp-load"
#       name, size, window, queues, must beside classic and quorum
ROWS = (("1 KiB, window 100", 1024, 100, 1, {"classic": 4, "quorum": 6}),
        ("16 B, window 100", 16, 100, 1, {"classic": 4, "quorum": 6}),
        ("16 KiB, window 100", 16384, 100, 1, {"classic": 1, "quorum": 1}),
        ("1 KiB, 100 queues, window 100", 1024, 100, 100, {"classic": 4, "quorum": 6}),
        ("1 KiB, one at a time", 1024, 1, 1, {"classic": 1, "quorum": 1}))
WANTED = os.environ.get("BENCH_AMQP", "")
FLUSHES = 2000


def load(port, kind, size, window, queues, prefix, *words, count=common.SECONDS):
    """One run of the client; its figures, with "rate" in messages per second that were confirmed, delivered and acknowledged."""
    output = subprocess.run(
        [str(LOAD), str(port), kind, *map(str, (size, window, queues, count)), prefix, *words],
        capture_output=True, text=True, check=True, timeout=300).stdout
    figures = json.loads(output)
    if figures["refused"] or figures["missing"]:
        raise SystemExit(f"bench: messages were lost or refused: {figures}")
    figures["rate"] = min(figures["confirmed"], figures["delivered"])
    return figures


def serve(folder, log=None, **limits):
    """Our side, with a listener for AMQP at server.amqp_port."""
    server = common.Server(folder, {"limits": limits, "log": log or {}})
    server.amqp_port = common.free_port()
    server.configure({"listeners": [*server.config["listeners"],
                                    {"host": "127.0.0.1", "port": server.amqp_port, "protocol": "amqp"}]})
    return server.start()


def beside_rabbit(ours, rabbit, result):
    for name, size, window, queues, budgets in ROWS:
        for kind, must in budgets.items():
            if WANTED not in f"{name} {kind}":
                continue
            part = f"{size}.{window}.{queues}.{kind}."
            one = common.in_turns(
                lambda turn: load(ours.amqp_port, "classic", size, window, queues, f"s{part}{turn}.")["rate"],
                lambda turn: load(rabbit.amqp_port, kind, size, window, queues, f"r{part}{turn}.")["rate"])
            result[f"{name} {kind}"] = one
            result["rows"].append(common.row(
                f"{name}: {one['a']:,.0f}/s beside {kind} {one['b']:,.0f}/s", f"{one['ratio']:.1f}x",
                f">= {must}x", one["ratio"] >= must))


def bare_flush_us(folder, size):
    output = subprocess.run([common.BUILD / "bench/bench-flush", folder / "flush", str(size), str(FLUSHES), "recycled"],
                            capture_output=True, text=True, check=True).stdout
    return json.loads(output)["p50"]


def beside_flush(ours, folder, result):
    """From a publish to its confirm, and a flush of a record of that size."""
    if WANTED not in "one at a time beside a flush":
        return
    one = common.in_turns(
        lambda turn: load(ours.amqp_port, "classic", 1024, 1, 1, f"one{turn}.")["p50"],
        lambda turn: bare_flush_us(folder, 1024 + 160))
    more = one["a"] - one["b"]
    result["beside a flush"] = one
    result["rows"].append(common.row(
        f"1 KiB, one at a time: confirmed after {one['a']:.0f} us, bare flush {one['b']:.0f} us (p50)", f"{more:.0f} us more",
        "<= 200 us more", more <= 200))


def main():
    result = {"rows": []}
    with common.Folder() as folder:
        ours = rabbit = None
        try:
            ours = serve(folder / "sluice")
            common.settle(ours.client)
            beside_flush(ours, folder, result)
            rabbit = Rabbit(folder / "rabbit", plugins=()).start()
            beside_rabbit(ours, rabbit, result)
        finally:
            if rabbit is not None:
                rabbit.stop()
            if ours is not None:
                ours.kill()
    common.write("amqp", result)
    return result


if __name__ == "__main__":
    main()
