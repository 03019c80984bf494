"""Messages of which a part has come take memory that all connections share: bounded, and nobody waits for ever."""
import base64
import os
import socket
import threading

import pytest
from pika import frame, spec
from support.amqp_peer import BODY_MAX, Peer
from support.server import Server, free_port
from support.wait import until

MIB = 1 << 20
BODY = 2 * MIB
CLIENTS = 40
CHANNELS = 2
SANITIZED = bool(os.environ.get("SLUICE_SANITIZED"))  # it keeps the memory that was freed


def most_resident(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))


@pytest.fixture
def serve(tmp_path):
    server = Server(tmp_path)
    server.amqp = free_port()
    server.config["listeners"].append({"host": "127.0.0.1", "port": server.amqp, "protocol": "amqp"})

    def start(memory, **amqp):
        server.configure({"limits": {"memoryBytes": memory}, "amqp": amqp})
        server.start()
        return server
    yield start
    server.kill()


def begin(peer, channel, size):
    peer.raw(frame.Method(channel, spec.Basic.Publish(routing_key="q")).marshal()
             + frame.Header(channel, size, spec.BasicProperties()).marshal())


def send(peer, channel, size):
    for at in range(0, size, BODY_MAX):
        peer.raw(frame.Body(channel, bytes(min(BODY_MAX, size - at))).marshal())


def received(server):
    """Bytes of all connections together, as far as they have been read."""
    guest = "Basic " + base64.b64encode(b"guest:guest").decode()
    return sum(connection["recv_oct"] for connection in server.client.get("/api/connections", Authorization=guest).json)


class Client(threading.Thread):
    """Sends most of a message on each of its channels, and the rest of all when it is told to."""

    def __init__(self, server, finish):
        super().__init__(daemon=True)
        self.peer, self.finish, self.confirmed = Peer(server.amqp).open(channels=CHANNELS), finish, 0
        self.peer.socket.settimeout(600)  # it waits in line
        for channel in range(1, CHANNELS + 1):
            self.peer.confirming(channel)

    def run(self):
        for channel in range(1, CHANNELS + 1):
            begin(self.peer, channel, BODY)
            send(self.peer, channel, BODY * 3 // 4)
        self.finish.wait()
        for channel in range(1, CHANNELS + 1):
            send(self.peer, channel, BODY // 4)
        for _ in range(CHANNELS):
            self.peer.expect(spec.Basic.Ack)
            self.confirmed += 1
        self.peer.socket.close()


def test_half_messages_of_many(serve):
    """120 MiB of halves with room for 8 MiB: those that do not fit wait in their sockets, and then all come whole."""
    server = serve(8 * MIB, partialTimeout="1h")
    with Peer(server.amqp) as peer:
        peer.open().queue("q", exclusive=False, durable=True, max_length=1)
        before = most_resident(server)
        finish = threading.Event()
        clients = [Client(server, finish) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        clients[0].join(3)  # as much as comes
        finish.set()
        for client in clients:
            client.join(600)
        assert [client.confirmed for client in clients] == [CHANNELS] * CLIENTS
        grown = most_resident(server) - before
        assert SANITIZED or grown < 80 * MIB, f"{grown >> 20} MiB"


def test_who_stands_still_makes_room(serve):
    server = serve(1 * MIB, partialTimeout="5s")  # the other one does not stand still so long on any machine
    with Peer(server.amqp) as idle, Peer(server.amqp) as other:
        idle.open()
        other.open(capabilities=["connection.blocked"]).queue("q", exclusive=False)
        other.confirming()
        begin(idle, 1, BODY)
        send(idle, 1, BODY // 2)
        until(lambda: received(server) >= BODY // 2, what="the half, before anybody else wants its memory")
        begin(other, 1, BODY)
        send(other, 1, BODY)
        idle.connection_closed(506)
        other.expect((spec.Connection.Blocked, spec.Basic.Ack))


def test_a_transaction_larger_than_the_memory(serve):
    """It has the others' turn until it is committed."""
    server = serve(1 * MIB)
    with Peer(server.amqp) as one, Peer(server.amqp) as other:
        for peer in (one, other):
            peer.open().queue("q", exclusive=False)
            peer.call(spec.Tx.Select())
        for _ in range(3):
            one.put("q", bytes(BODY))
        finished = threading.Thread(target=lambda: (other.put("q", bytes(BODY)), other.call(spec.Tx.Commit())))
        finished.start()
        one.call(spec.Tx.Commit())
        finished.join(60)
        assert not finished.is_alive() and one.count("q") == 4


@pytest.mark.skipif(SANITIZED, reason="it keeps the memory that was freed")
def test_what_a_flood_took_is_given_back(serve):
    """200 MiB of open transactions in small messages, which nobody commits."""
    server, count, body = serve(256 * MIB), 50000, bytes(1000)
    with Peer(server.amqp) as peer:
        peer.open().queue("q", exclusive=False)
    before = server.resident_bytes()
    publish = (frame.Method(1, spec.Basic.Publish(routing_key="q")).marshal()
               + frame.Header(1, len(body), spec.BasicProperties()).marshal() + frame.Body(1, body).marshal())
    peers = [Peer(server.amqp).open() for _ in range(4)]
    for peer in peers:
        peer.call(spec.Tx.Select())
        peer.raw(publish * count)
    for peer in peers:
        peer.declare("q")  # answered behind them all
    grown = server.resident_bytes() - before
    for peer in peers:
        peer.socket.close()
    assert grown > 200 * MIB, f"{grown >> 20} MiB"
    until(lambda: server.resident_bytes() - before < grown / 10, what="the memory, given back to the system")


def test_consumers_that_do_not_read(serve):
    """Each would have 1 MiB on its way; together they may have 4. One that reads gets all the while."""
    server, count, body = serve(4 * MIB), 60, bytes(32 << 10)
    with Peer(server.amqp) as publisher, Peer(server.amqp) as reader:
        publisher.open().queue("all", exclusive=False)
        reader.open()
        lazy = []
        for i in range(count):
            peer = Peer(server.amqp)
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.open().queue(f"q{i}", exclusive=False)
            peer.call(spec.Queue.Bind(queue=f"q{i}", exchange="amq.fanout"))
            peer.consume(f"q{i}")
            lazy.append(peer)
        reader.consume(reader.queue("read", exclusive=False))
        reader.call(spec.Queue.Bind(queue="read", exchange="amq.fanout"))
        before = most_resident(server)
        publisher.confirming()
        for _ in range(200):
            publisher.sure("", body, exchange="amq.fanout")
            assert reader.delivered()[2] == body
        grown = most_resident(server) - before
        for peer in lazy:
            peer.socket.close()
        assert SANITIZED or grown < 30 * MIB, f"{grown >> 20} MiB"
