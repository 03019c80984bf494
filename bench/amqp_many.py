#!/usr/bin/python3
"""Many queues, bindings and connections over AMQP: how long they take, what they occupy, and whether routing notices.

One connection declares 100,000 queues and binds them to a topic exchange without waiting for each answer. Memory is the server's
resident one. BENCH_QUEUES and BENCH_CONNECTIONS make it smaller.
"""
import os
import resource
import select
import time

import common
from amqp import serve
from pika import frame, spec
from support.amqp_peer import Peer

QUEUES = int(os.environ.get("BENCH_QUEUES", "100000"))
OPEN_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # shared by the two listeners of the server
CONNECTIONS = int(os.environ.get("BENCH_CONNECTIONS", str(min(10000, OPEN_FILES * 9 // 20))))
FEW = 100        # bindings to compare with
PUBLISHES = 50000
FAN_OUT, BODY = 10, 10240
LAST = frame.Method(1, spec.Basic.QosOk()).marshal()


def methods(*all_of_them):
    return b"".join(frame.Method(1, method).marshal() for method in all_of_them)


def publish(exchange, key, body):
    properties = spec.BasicProperties(delivery_mode=2)
    return (frame.Method(1, spec.Basic.Publish(exchange=exchange, routing_key=key)).marshal()
            + frame.Header(1, len(body), properties).marshal() + frame.Body(1, body).marshal())


def all_answered(peer, data):
    """Sends everything and a question behind it, and reads until that is answered; in seconds."""
    data, tail = memoryview(data + methods(spec.Basic.Qos(prefetch_count=1))), b""
    started = time.monotonic()
    peer.socket.setblocking(False)
    while LAST not in tail:
        readable, writable, _ = select.select([peer.socket], [peer.socket] if data else [], [], 60)
        if not readable and not writable:
            raise SystemExit("bench: no answer for a minute")
        if writable:
            data = data[peer.socket.send(data[:1 << 18]):]
        if readable:
            got = peer.socket.recv(1 << 18)
            if not got or spec.Channel.Close.INDEX.to_bytes(4, "big") in got:
                raise SystemExit(f"bench: the broker closed: {got[-200:]}")
            tail = tail[-len(LAST):] + got
    peer.socket.setblocking(True)
    return time.monotonic() - started


def channel(server):
    peer = Peer(server.amqp_port)
    peer.open()
    return peer


def declares(prefix, count, arguments=None):
    return b"".join(methods(spec.Queue.Declare(queue=f"{prefix}{n}", durable=True, arguments=arguments)) for n in range(count))


def binds(exchange, prefix, count):
    return b"".join(methods(spec.Queue.Bind(queue=f"{prefix}{n}", exchange=exchange, routing_key=f"r{n}.*.y"))
                    for n in range(count))


def measure_queues(server, peer, result):
    base, declaring = server.resident_bytes(), declares("plain", QUEUES)
    result["declare_s"] = all_answered(peer, declaring)
    plain = (server.resident_bytes() - base) / QUEUES
    binding = binds("many", "plain", QUEUES)
    result["bind_s"] = all_answered(peer, binding)
    both = result["declare_s"] + result["bind_s"]
    base, declaring = server.resident_bytes(), declares("argument", QUEUES, {"x-max-length": 1000})
    all_answered(peer, declaring)
    argument = (server.resident_bytes() - base) / QUEUES
    result["queue_bytes"], result["queue_with_argument_bytes"] = plain, argument
    result["rows"] += [
        common.row(f"{QUEUES:,} queues declared in {result['declare_s']:.2f} s and bound in {result['bind_s']:.2f} s",
                   f"{both:.2f} s", "<= 5 s", both <= 5),
        common.row("memory of an idle queue", f"{plain:.0f} bytes", "<= 1024 bytes", plain <= 1024),
        common.row("memory of an idle queue with an argument", f"{argument:.0f} bytes", "<= 1024 bytes", argument <= 1024)]


def measure_routing(peer, result):
    """Each message goes to one queue."""
    def us(exchange, bindings):
        keys = (f"r{n * 7919 % bindings}.x.y" for n in range(PUBLISHES))
        return all_answered(peer, b"".join(publish(exchange, key, b"0123456789abcdef") for key in keys)) / PUBLISHES * 1e6

    us("few", FEW), us("many", QUEUES)
    one = common.in_turns(lambda turn: us("many", QUEUES), lambda turn: us("few", FEW))
    result["routing"] = one
    result["rows"].append(common.row(
        f"topic, {QUEUES:,} bindings: {one['a']:.1f} us a publish, {FEW} bindings {one['b']:.1f} us", f"{one['ratio']:.2f}x",
        "<= 3x", one["ratio"] <= 3))


def measure_fan_out(server, peer, result):
    setup = methods(spec.Exchange.Declare(exchange="out", type="fanout")) + declares("out", FAN_OUT)
    all_answered(peer, setup + binds("out", "out", FAN_OUT))
    before = common.metric(server.client, "sluice_log_appended_bytes_total")
    all_answered(peer, publish("out", "", b"x" * BODY) * 100)
    each = (common.metric(server.client, "sluice_log_appended_bytes_total") - before) / 100
    result["fan_out_bytes"] = each
    result["rows"].append(common.row(f"bytes of log, a publish of {BODY:,} bytes to {FAN_OUT} queues", f"{each:,.0f}",
                                     f"<= 1.15 x {BODY:,}", each <= 1.15 * BODY))


def measure_connections(server, result):
    base, peers = server.resident_bytes(), []
    for _ in range(CONNECTIONS):
        peers.append(channel(server))
    each = (server.resident_bytes() - base) / CONNECTIONS
    for peer in peers:
        peer.socket.close()
    result["connection_bytes"] = each
    result["rows"].append(common.row(f"memory of an idle connection with a channel, {CONNECTIONS:,} of them", f"{each:.0f} bytes",
                                     "<= 12288 bytes", each <= 12288))


def main():
    result = {"rows": []}
    with common.Folder() as folder:
        server = serve(folder, queues=3 * QUEUES, connections=CONNECTIONS + 100)
        try:
            measure_connections(server, result)
            with channel(server) as peer:
                all_answered(peer, methods(spec.Confirm.Select(),
                                           *(spec.Exchange.Declare(exchange=name, type="topic") for name in ("few", "many")))
                             + declares("few", FEW) + binds("few", "few", FEW))
                measure_fan_out(server, peer, result)
                measure_queues(server, peer, result)
                measure_routing(peer, result)
        finally:
            server.kill()
    common.write("amqp_many", result)
    return result


if __name__ == "__main__":
    main()
