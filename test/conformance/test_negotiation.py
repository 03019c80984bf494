"""What client and broker agree on before the first channel."""
import socket
import time

import pytest
from pika import frame, spec
from pika.spec import Basic, Channel, Connection
from support.amqp_peer import HEADER, Peer

pytestmark = pytest.mark.section("Negotiation and limits")

AMQPLAIN = "\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05guest"


def tune(connect, *agreed):
    peer = connect()
    peer.start(capabilities=["authentication_failure_close"])
    peer.expect(Connection.Tune)
    peer.send(0, Connection.TuneOk(*agreed), Connection.Open("/"))
    return peer


def test_offer(connect):
    """offers 2047 channels, frames of 131072 bytes, a heartbeat of 60 s"""
    peer = connect()
    peer.start()
    offer = peer.expect(Connection.Tune)
    assert (offer.channel_max, offer.frame_max, offer.heartbeat) == (2047, 131072, 60)


def test_capabilities(connect):
    """server-properties name all capabilities that RabbitMQ has"""
    start = connect().start()
    assert start.server_properties["product"] == "RabbitMQ"
    assert {"publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
            "consumer_priorities", "authentication_failure_close", "per_consumer_qos", "direct_reply_to"} <= {
                name for name, has in start.server_properties["capabilities"].items() if has}


def test_mechanisms(broker, connect):
    """PLAIN and AMQPLAIN are offered"""
    assert {b"PLAIN", b"AMQPLAIN"} <= set(connect().start().mechanisms.split())


def test_amqplain(connect):
    """AMQPLAIN lets in"""
    connect().open(mechanism="AMQPLAIN", response=AMQPLAIN)


def test_tls(broker, connect):
    """TLS on a port of its own"""
    peer = connect(broker.tls_port, broker.tls()).open()
    name = peer.queue()
    peer.put(name, b"x" * 300000)
    assert len(peer.get(name)[2]) == 300000


def test_external(broker, connect):
    """EXTERNAL: the common name of the client's certificate is the user"""
    broker.define("conf-ann")
    connect(broker.certified_port, broker.tls("conf-ann")).open(mechanism="EXTERNAL", response="").queue()


def test_external_of_nobody(broker, connect):
    """EXTERNAL with the certificate of somebody who is no user: 403, or the end"""
    peer = connect(broker.certified_port, broker.tls("nobody"))
    peer.start(mechanism="EXTERNAL", response="", capabilities=["authentication_failure_close"])
    peer.expect(Connection.Close, reply_code=403)


def test_external_needs_a_certificate(broker, connect):
    """EXTERNAL without a certificate: refused"""
    peer = connect(broker.tls_port, broker.tls())
    peer.start(mechanism="EXTERNAL", response="", capabilities=["authentication_failure_close"])
    got = peer.receive()
    assert got is None or isinstance(got.method, Connection.Close), got


def test_smallest_frames(another):
    """frames of 4096 bytes are agreed to and kept, both ways"""
    peer = another(frame_max=4096)
    name = peer.queue()
    peer.send(1, Basic.Publish(exchange="", routing_key=name))
    peer.raw(frame.Header(1, 10000, spec.BasicProperties()).marshal())
    for start in range(0, 10000, 4088):
        peer.raw(frame.Body(1, b"x" * min(4088, 10000 - start)).marshal())
    while peer.count(name) == 0:
        time.sleep(0.01)
    peer.send(1, Basic.Get(queue=name, no_ack=True))
    peer.expect(Basic.GetOk)
    size, seen = peer.receive().body_size, 0
    while seen < size:
        part = peer.receive().fragment
        assert len(part) <= 4088
        seen += len(part)


def test_generous_frames(another):
    """a payload that fills frame_max without its 8 bytes of frame is taken: clients miscount"""
    peer = another(frame_max=4096)
    name = peer.queue()
    peer.send(1, Basic.Publish(exchange="", routing_key=name))
    peer.raw(frame.Header(1, 4096, spec.BasicProperties()).marshal())
    peer.raw(frame.Body(1, b"x" * 4096).marshal())
    assert len(peer.get(name)[2]) == 4096


@pytest.mark.differs("RabbitMQ ends the connection without a close")
def test_too_small_frames(connect):
    """a frame_max below 4096: 530"""
    tune(connect, 2047, 4095, 60).expect(Connection.Close, reply_code=530)


@pytest.mark.differs("RabbitMQ ends the connection without a close")
def test_larger_than_offered(connect):
    """more than was offered, or no limit where one was: 530"""
    tune(connect, 2047, 131073, 60).expect(Connection.Close, reply_code=530)
    tune(connect, 2048, 131072, 60).expect(Connection.Close, reply_code=530)
    tune(connect, 0, 131072, 60).expect(Connection.Close, reply_code=530)


def test_channels(another):
    """a channel above the agreed number: 530"""
    peer = another(channel_max=2)
    peer.send(2, Channel.Open())
    peer.expect(Channel.OpenOk)
    peer.send(3, Channel.Open())
    peer.expect(Connection.Close, reply_code=530)


def test_heartbeats(another):
    """heartbeats come; a client that misses two in a row is closed"""
    begun, beats = time.monotonic(), 0
    peer = another(heartbeat=1)
    while (got := peer.receive()) is not None:
        beats += isinstance(got, frame.Heartbeat)
    assert beats >= 1 and time.monotonic() - begun > 1.5


@pytest.mark.ours
def test_heartbeat_of_zero(broker):
    """a heartbeat of 0 from one side: the greater of both. Who said 0 is beaten, and left in peace"""
    with Peer(broker.beating_port()) as peer:
        peer.open(heartbeat=0)
        assert [type(peer.receive()) for _ in range(5)] == [frame.Heartbeat] * 5  # one a second; we never send any
        peer.queue()


def test_heartbeats_answered(another):
    """a client that sends heartbeats stays"""
    peer = another(heartbeat=2)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        peer.raw(frame.Heartbeat().marshal())
        time.sleep(0.4)
    peer.queue()


def test_handshake_time(broker):
    """a client that says nothing is closed when the time for the handshake is over (10 s; here 2 s)"""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", broker.hasty_port()), timeout=60) as silent:
        try:
            assert silent.recv(100) == b""
        except ConnectionResetError:
            pass
        assert time.monotonic() - begun > 1.8


def test_other_protocols(broker):
    """another protocol header is answered by ours, and the end"""
    for header in (b"AMQP\0\0\x09\0", b"AMQP\x01\1\0\x0a", b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", broker.port), timeout=60) as peer:
            peer.sendall(header)
            assert peer.recv(8) == HEADER


def test_tables(peer):
    """every type of a field table arrives as it was sent"""
    import datetime
    import decimal
    headers = {"t": True, "I": -5, "l": 2 ** 40, "S": "text", "F": {"in": {"deep": [1, "two", {"three": 3}]}},
               "A": [1, [2, [3]]], "V": None, "x": b"\xff\0", "T": datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
               "D": decimal.Decimal("1.5")}
    name = peer.queue()
    peer.put(name, b"x", headers=headers)
    got = peer.get(name)[1].headers
    got["T"] = got["T"].replace(tzinfo=datetime.timezone.utc)
    assert {k: bytes(v) if k == "x" else v for k, v in got.items()} == headers


def test_table_bytes(peer):
    """t b B s u I i l L f d D S A T F V x: the bytes of a header table come back as they went"""
    fields = (b"\1at\1\1bb\xff\1cB\xff\1ds\xff\xfe\1eu\xff\xfe\1fI\xff\xff\xff\xfe\1gi\xff\xff\xff\xfe\1hl" + b"\xff" * 8 +
              b"\1jf\x3f\x80\0\0\1kd\x3f\xf0\0\0\0\0\0\0\1lD\2\0\0\0\x0f\1mS\0\0\0\2hi\1nA\0\0\0\5I\0\0\0\1\1oT" +
              b"\0" * 7 + b"\1\1pF\0\0\0\3\1yV\1qV\1rx\0\0\0\2\xff\0")
    name = peer.queue()
    table = len(fields).to_bytes(4, "big") + fields
    payload = b"\0\x3c\0\0" + (1).to_bytes(8, "big") + b"\x20\0" + table
    peer.send(1, Basic.Publish(exchange="", routing_key=name))
    peer.raw(b"\2\0\1" + len(payload).to_bytes(4, "big") + payload + b"\xce" + frame.Body(1, b"x").marshal())
    while peer.count(name) == 0:
        time.sleep(0.01)
    peer.send(1, Basic.Get(queue=name, no_ack=True))
    peer.expect(Basic.GetOk)
    peer.socket.settimeout(60)
    while len(peer.bytes) < len(payload) + 16:
        peer.bytes += peer.socket.recv(65536)
    back = peer.bytes[7:7 + int.from_bytes(peer.bytes[3:7], "big")]
    assert sorted(back) == sorted(payload)


