"""Thousands of AMQP connections that say nothing, stop in the middle of the handshake or of a frame, take deliveries and never read, or
come and go. Others are served as ever, memory stays bounded, and who owes us something is closed in time."""
import contextlib
import os
import pathlib
import resource
import socket
import struct
import threading
import time

import pytest
from pika import frame, spec
from support.amqp_peer import Peer
from support.wait import until

from rig.amqp_loads import AmqpLoad, OnceLoad, declare
from rig.judge import judge
from rig.loads import KeyLoad, Pressure, StockLoad
from test_kill_rounds import define, verify
from test_slow_clients import latencies

LIMITS = {"limits": {"writeTimeout": "1s", "connections": 5000}, "amqp": {"handshakeTimeout": "10s", "heartbeat": "2s"}}
HEAP = "heap"  # a queue with more than a deaf consumer is sent
HEAP_BODY = "z" * 80000
HEAP_COUNT = 400
DEAF = 3
SANITIZED = bool(os.environ.get("SLUICE_SANITIZED"))  # it keeps the memory that was freed


def methods(channel, *some):
    return b"".join(frame.Method(channel, method).marshal() for method in some)


HEADER = b"AMQP\0\0\x09\x01"
LOGIN = HEADER + methods(0, spec.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"),
                         spec.Connection.TuneOk(10, 131072, 2), spec.Connection.Open("/"))
OPEN = LOGIN + methods(1, spec.Channel.Open())
# What each says at once, what it adds byte by byte, and whether we must close it.
WAYS = {
    "mute": (b"", b"", True),
    "half a header": (b"AMQP", b"", True),
    "no answer": (HEADER, b"", True),
    "drips its login": (HEADER, LOGIN[8:], True),
    "half a frame": (OPEN + methods(1, spec.Basic.Publish(0, "", HEAP)), b"\2\0\1" + struct.pack(">I", 100000) + b"x" * 100, False),
    "half a body": (OPEN + methods(1, spec.Basic.Publish(0, "", HEAP)) + frame.Header(1, 16 << 20, spec.BasicProperties()).marshal() +
                    frame.Body(1, b"x" * 30000).marshal(), b"\3\0\1" + struct.pack(">I", 100000) + b"x" * 100, False),
    "deaf": (OPEN + methods(1, spec.Basic.Consume(0, HEAP, "deaf")), b"", True),
}


class Client:
    def __init__(self, port, way):
        self.first, self.drops, self.must_end = WAYS[way]
        self.deaf, self.at = way == "deaf", 0
        self.socket = socket.socket()
        if self.deaf:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(self.first)
        self.socket.setblocking(False)

    def turn(self):
        """False when the server has closed it. The deaf do not see that until they write."""
        try:
            if self.at < len(self.drops):
                self.at += self.socket.send(self.drops[self.at:self.at + 1])
            elif self.deaf:
                self.socket.send(frame.Heartbeat().marshal())  # a lively client, but for that
            return self.deaf or self.drain()
        except BlockingIOError:
            return True
        except OSError:
            return False

    def drain(self):
        while True:
            if not self.socket.recv(4096):
                return False


def crowd_of(port, count):
    # Few of the deaf: the kernel takes megabytes for each before we are held up.
    ways = [way for way in WAYS if way != "deaf"]
    return [Client(port, "deaf") for _ in range(DEAF)] + [Client(port, ways[number % len(ways)]) for number in range(count - DEAF)]


def come_and_go(port, rng, stopped, figures):
    """Connections that are dropped at any moment of their life."""
    whole = OPEN + methods(1, spec.Queue.Declare(0, queue="", exclusive=True), spec.Basic.Consume(0, "", "c"))
    while not stopped.is_set():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(whole[:rng.randrange(len(whole) + 1)])
            if rng.random() < 0.5:
                client.recv(4096)
            if rng.random() < 0.3:  # a reset instead of an end
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        figures["came and went"] += 1


def heap_up(client):
    declare(client, HEAP)
    for _ in range(HEAP_COUNT):
        assert client.publish(HEAP, HEAP_BODY).status == 202


@pytest.mark.short(1)
@pytest.mark.share(0.05)
def test_amqp_clients_that_owe_us(chaos, make_hurt, small_log):
    count = min(3000 if chaos.long else 300, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 2000)
    server, stock, ledger = make_hurt({**small_log, **LIMITS}).start(), StockLoad(), AmqpLoad()
    loads = [stock, KeyLoad(stock.history), ledger, OnceLoad(stock.history)]
    define(loads, server.client)
    heap_up(server.client)
    stopped, crowd, took, most_bytes = threading.Event(), [], [], 0
    churn = threading.Thread(target=come_and_go, args=(server.amqp_port, chaos.rng, stopped, chaos.figures), daemon=True)
    before = server.resident_bytes()
    try:
        with Pressure(server, loads, chaos.rng, callers=4, pause=0.005):
            churn.start()
            crowd = crowd_of(server.amqp_port, count)
            left, end = [client for client in crowd if client.must_end], time.monotonic() + 90
            while left and time.monotonic() < end:
                open_ones = {client for client in crowd if client.turn()}
                left = [client for client in left if client in open_ones]
                took += latencies(server, 0.2)
                most_bytes = max(most_bytes, server.resident_bytes())
            assert not left, f"{len(left)} of {count} connections that owe us something are still open after 90 s"
    finally:
        stopped.set()
        churn.join(60)
        for client in crowd:
            client.socket.close()
    until(lambda: server.client.get("/api/consumers").json == [], 10, "the end of all consumers")
    until(lambda: not [q for q in server.client.get("/api/queues").json if q["name"].startswith("amq.gen")], 10, "the end of their queues")
    verify(loads, server.client)
    judge(chaos, stock.history)
    chaos.count(*loads)
    took.sort()
    chaos.figures["AMQP connections"] = count
    chaos.figures["ms of others, 99 %"] = int(took[len(took) * 99 // 100] * 1000)
    chaos.figures["MiB more, most"] = (most_bytes - before) >> 20
    assert sum(load.unanswered for load in loads) == 0, "somebody else was not answered"
    assert took[-1] < 10, "others wait for these"  # who owes us something would hold them up for good: how fast says nothing
    # Half a body is 30 KB of at most 16 MiB, half a frame nothing; of the deaf each has 1 MiB and what the kernel took.
    assert most_bytes - before < 150 << 20
    assert server.stop() == 0


CHURNED = "churned"
CHURNERS = 8


def reset(peer):
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Churn:
    """Connections that live a whole life: a queue of their own, a consumer, a confirmed message for all, two of others' taken, every
    second time acknowledged; then their end: a close, the end of the stream, or a reset. Every fourth is cut off at any byte."""

    def __init__(self, port, rng):
        self.port, self.rng, self.lock = port, rng, threading.Lock()
        self.numbers, self.confirmed, self.acked = iter(()), set(), set()

    def run(self, numbers):
        self.numbers = iter(numbers)
        threads = [threading.Thread(target=self.go_on, daemon=True) for _ in range(CHURNERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def go_on(self):
        while True:
            with self.lock:
                number, cut = next(self.numbers, None), self.rng.random()
            if number is None:
                return
            if number % 4 == 3:
                self.cut_off(cut)
            else:
                self.live(number)

    def cut_off(self, part):
        whole = OPEN + methods(1, spec.Queue.Declare(0, queue="", exclusive=True), spec.Basic.Consume(0, "", "c"),
                               spec.Basic.Get(0, CHURNED))
        with Peer(self.port) as peer, contextlib.suppress(OSError):
            peer.raw(whole[:int(part * (len(whole) + 1))])
            if part < 0.5:
                reset(peer)

    def live(self, number):
        with Peer(self.port) as peer:
            peer.open().confirming()
            peer.consume(peer.queue())
            assert isinstance(peer.sure(CHURNED, b"%d" % number, delivery_mode=2), spec.Basic.Ack)
            self.confirmed.add(number)
            got = [one for one in (peer.get(CHURNED, no_ack=False, timeout=0) for _ in range(2)) if one]
            if got and number % 2:
                peer.send(1, spec.Basic.Ack(got[-1][0].delivery_tag, multiple=True))
                peer.count(CHURNED)  # answered behind it
                self.acked.update(int(body) for _, _, body in got)
            if number % 3 == 0:
                peer.send(0, spec.Connection.Close(200, "done", 0, 0))
                peer.expect(spec.Connection.CloseOk)
            elif number % 3 == 1:
                reset(peer)


class Bystander(threading.Thread):
    """One client that goes on all the while: a message, its confirm, the message back."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.peer, self.stopped, self.rounds, self.failed = Peer(port).open().confirming(), threading.Event(), 0, None

    def run(self):
        try:
            name = self.peer.queue()
            while not self.stopped.is_set():
                self.peer.sure(name, b"%d" % self.rounds)
                assert self.peer.get(name)[2] == b"%d" % self.rounds
                self.rounds += 1
        except BaseException as error:  # pylint: disable=broad-except
            self.failed = error

    def finish(self):
        self.stopped.set()
        self.join()
        self.peer.socket.close()
        assert self.failed is None, self.failed


def sockets(server):
    """How many it has open."""
    count = 0
    for path in pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(path).startswith("socket:")
    return count


@pytest.mark.short(4)
@pytest.mark.share(0.1)
def test_amqp_connections_come_and_go(chaos, make_hurt, small_log):
    """10,000 lives (600 in `make test`): those of the second half leave nothing behind that those of the first had not."""
    lives = 10000 if chaos.long else 600
    server = make_hurt(small_log).start()
    with Peer(server.amqp_port) as owner:
        owner.open().queue(CHURNED, exclusive=False, durable=True)
    server.client.get("/readyz")  # its connection is kept
    before, bystander, churn = sockets(server), Bystander(server.amqp_port), Churn(server.amqp_port, chaos.rng)
    bystander.start()
    resident = []
    for half in (range(lives // 2), range(lives // 2, lives)):
        churn.run(half)
        until(lambda: len(server.client.get("/api/consumers").json) == 0, 60, "the end of all consumers")
        resident.append(server.resident_bytes())
    bystander.finish()
    until(lambda: server.client.get("/api/connections").json == [], 60, "the end of all connections")
    until(lambda: sockets(server) <= before, 60, "the end of their sockets")
    assert [q["name"] for q in server.client.get("/api/queues").json] == [CHURNED]
    with Peer(server.amqp_port) as owner:
        left = {int(body) for body in owner.open().bodies(CHURNED, owner.count(CHURNED))}
    assert left == churn.confirmed - churn.acked and len(churn.confirmed) == lives - lives // 4
    chaos.figures["AMQP connections"] = lives
    chaos.figures["rounds of a bystander"] = bystander.rounds
    chaos.figures["KiB more, of the second half"] = (resident[1] - resident[0]) >> 10
    assert SANITIZED or resident[1] - resident[0] < 5000 * 256  # 75 bytes a life were seen, and 370 when only its struct stayed
    assert server.stop() == 0
