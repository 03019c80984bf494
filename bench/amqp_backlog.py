#!/usr/bin/python3
"""What a backlog costs that was published over AMQP: memory per waiting message, cost of an operation, a start.

Messages of 16 bytes are published and confirmed into one queue. Cost per operation: processor time of the server for a message that is
published at the end, while another is delivered from the front and acknowledged; with all waiting and with 1,000, in turns on two
servers. BENCH_MESSAGES sets how many (default 10 million).
"""
import common
from amqp import load, serve
from backlog import MESSAGES, cpu_seconds, start_seconds

FEW, SIZE, WINDOW = 1000, 16, 100


def fill(server, count):
    load(server.amqp_port, "classic", SIZE, 10000, 1, "b", "fill", count=count)


def cpu_us(server):
    before = cpu_seconds(server)
    published = load(server.amqp_port, "classic", SIZE, WINDOW, 1, "b", "keep")["published"]
    return (cpu_seconds(server) - before) / published * 1e6


def measure_memory(server, result):
    base = server.resident_bytes()
    fill(server, MESSAGES)
    result["message_bytes"] = each = (server.resident_bytes() - base) / MESSAGES
    result["rows"].append(common.row(f"memory per message with {MESSAGES:,} waiting", f"{each:.0f} bytes", "<= 96 bytes",
                                     each <= 96))


def measure_cost(small, large, result):
    fill(small, FEW)
    for server in (small, large):
        cpu_us(server)
    result["cost"] = one = common.in_turns(lambda turn: cpu_us(large), lambda turn: cpu_us(small))
    result["rows"].append(common.row(
        f"processor time of a message: {one['a']:.2f} us with all waiting, {one['b']:.2f} us with {FEW:,}",
        f"{one['ratio']:.2f} x", "<= 1.3 x", one["ratio"] <= 1.3))


def measure_starts(server, result):
    waiting = server.client.get("/v1/queues/b0").json["stats"]["ready"]
    server.kill()
    result["start_from_log"] = start_seconds(server)
    server.stop(timeout=300)  # takes a snapshot
    result["start_from_snapshot"] = start_seconds(server)
    for name in ("start_from_log", "start_from_snapshot"):
        result["rows"].append(common.row(f"{name.replace('_', ' ')}, {waiting:,} messages", f"{result[name]:.1f} s", "<= 10 s",
                                         result[name] <= 10))


def main():
    result = {"messages": MESSAGES, "rows": []}
    with common.Folder() as folder:
        small, large = serve(folder / "small"), serve(folder / "large")
        try:
            measure_memory(large, result)
            measure_cost(small, large, result)
            small.kill()
            measure_starts(large, result)
        finally:
            small.kill()
            large.kill()
    common.write("amqp_backlog", result)
    return result


if __name__ == "__main__":
    main()
