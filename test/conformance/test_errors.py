"""Each close code, by something that a client gets wrong."""
import datetime
import struct
import time
import urllib.parse

import pytest
from pika import frame, spec
from pika.spec import Basic, Channel, Confirm, Connection, Exchange, Queue, Tx
from support.amqp_peer import Peer
from support.server import Server, free_port
from support.wait import until

pytestmark = pytest.mark.section("Errors")


class Rule:
    """`scope` closes with `code` after `act(peer)`."""

    def __init__(self, code, text, act, scope="channel"):
        self.code, self.act, self.scope = code, act, scope
        self.text = f"{text}: {code}" + (", of the connection" if scope == "connection" else "")


def rules(*made):
    return pytest.mark.parametrize("rule", made, ids=[f"{rule.code}-{rule.text[:60].replace(' ', '-')}" for rule in made])


def declare(name="", **fields):
    return Queue.Declare(queue=name, exclusive=True, **fields)


def argument(**arguments):
    names = {"x-" + name.replace("_", "-"): value for name, value in arguments.items()}
    return lambda peer: peer.send(1, declare("args", arguments=names))


def publish(exchange="", key="", body=b"x", **properties):
    return lambda peer: peer.content(1, Basic.Publish(exchange=exchange, routing_key=key), body, **properties)


def send(*methods):
    return lambda peer: peer.send(1, *methods)


def held(peer):
    """A queue with one message that was delivered and not settled; its tag."""
    name = peer.queue()
    peer.put(name, b"x")
    return peer.get(name, no_ack=False)[0].delivery_tag


def twice(settle):
    def act(peer):
        tag = held(peer)
        peer.send(1, settle(tag), settle(tag))
    return act


def consume_with(**arguments):
    names = {"x-" + name.replace("_", "-"): value for name, value in arguments.items()}
    return lambda peer: peer.send(1, Basic.Consume(queue=peer.queue(), arguments=names))


def redeclared(first, again):
    def act(peer):
        name = peer.queue("conf.again", **first)
        peer.send(1, declare(name, arguments={"x-" + k.replace("_", "-"): v for k, v in again.items()}))
    return act


def durable_again(peer):
    peer.queue("conf.transient", exclusive=False)
    peer.send(1, Queue.Declare(queue="conf.transient", durable=True))


def after(*before):
    """Waits for the -ok of all methods but the last."""
    def act(peer):
        for method in before[:-1]:
            peer.call(method)
        peer.send(1, before[-1])
    return act


def with_queue(method, **fill):
    """The method with `queue` set to a queue of this connection that has a message."""
    def act(peer):
        name = peer.queue()
        peer.put(name, b"x")
        while peer.count(name) == 0:
            time.sleep(0.01)
        peer.send(1, method(queue=name, **fill))
    return act


def used_exchange(peer):
    peer.call(Exchange.Declare(exchange="conf.used", type="fanout", auto_delete=True))
    peer.call(Queue.Bind(queue=peer.queue(), exchange="conf.used"))
    peer.send(1, Exchange.Delete(exchange="conf.used", if_unused=True))


def used_queue(peer):
    name = peer.queue()
    peer.consume(name)
    peer.send(1, Queue.Delete(queue=name, if_unused=True))


def exclusive_conflict(first_exclusive):
    def act(peer):
        name = peer.queue()
        peer.consume(name, exclusive=first_exclusive)
        peer.send(1, Basic.Consume(queue=name, exclusive=not first_exclusive))
    return act


def internal_exchange(peer):
    peer.call(Exchange.Declare(exchange="conf.internal", type="fanout", internal=True, auto_delete=False))
    peer.content(1, Basic.Publish(exchange="conf.internal"), b"x")


@pytest.fixture
def no_internal(peer):
    yield
    peer.call(Exchange.Delete(exchange="conf.internal"))


@rules(
    Rule(404, "publish to an exchange that is not there", publish("conf.nowhere", "k")),
    Rule(404, "consume from a queue that is not there", send(Basic.Consume(queue="conf.nowhere"))),
    Rule(404, "get from a queue that is not there", send(Basic.Get(queue="conf.nowhere"))),
    Rule(404, "purge of a queue that is not there", send(Queue.Purge(queue="conf.nowhere"))),
    Rule(404, "bind a queue that is not there", send(Queue.Bind(queue="conf.nowhere", exchange="amq.direct"))),
    Rule(404, "bind to an exchange that is not there", with_queue(Queue.Bind, exchange="conf.nowhere")),
    Rule(404, "bind an exchange that is not there", send(Exchange.Bind(destination="conf.nowhere", source="amq.direct"))),
    Rule(404, "passive declare of a queue that is not there", send(Queue.Declare(queue="conf.nowhere", passive=True))),
    Rule(404, "passive declare of an exchange that is not there",
         send(Exchange.Declare(exchange="conf.nowhere", type="direct", passive=True))),
    Rule(404, "an empty queue name when the channel declared none", send(Basic.Get(queue="")), ),
    Rule(406, "redeclare a queue as durable that is not", durable_again),
    Rule(406, "redeclare a queue with another argument", redeclared({"max_length": 5}, {"max_length": 6})),
    Rule(406, "redeclare a queue without an argument it has", redeclared({"message_ttl": 5000}, {})),
    Rule(406, "redeclare an exchange with another type",
         send(Exchange.Declare(exchange="amq.direct", type="topic", durable=True))),
    Rule(406, "redeclare an exchange as one that is not durable",
         send(Exchange.Declare(exchange="amq.direct", type="direct", durable=False))),
    Rule(406, "an argument of the wrong type", argument(max_length="many")),
    Rule(406, "a length below 0", argument(max_length=-1)),
    Rule(406, "a time to live below 0", argument(message_ttl=-1)),
    Rule(406, "a time to live that is too long", argument(message_ttl=2 ** 40)),
    Rule(406, "expiry of a queue after 0 ms", argument(expires=0)),
    Rule(406, "more than 255 priorities", argument(max_priority=256)),
    Rule(406, "a dead-letter routing key without exchange", argument(dead_letter_routing_key="k")),
    Rule(406, "a dead-letter exchange that is no name", argument(dead_letter_exchange=7)),
    Rule(406, "an overflow that is none", argument(overflow="shrug")),
    Rule(406, "a type of queue that is none", argument(queue_type="conf")),
    Rule(406, "a single active consumer that is no boolean", argument(single_active_consumer="yes")),
    Rule(406, "an argument of another type of queue (priorities of a quorum queue)",
         send(Queue.Declare(queue="conf.quorum", durable=True, arguments={"x-queue-type": "quorum", "x-max-priority": 3}))),
    Rule(406, "a quorum queue that is not durable",
         send(Queue.Declare(queue="conf.quorum", arguments={"x-queue-type": "quorum"}))),
    Rule(406, "a queue version that there is not", argument(queue_version=3)),
    Rule(406, "a length that is a timestamp", argument(max_length=datetime.datetime(2020, 1, 1))),
    Rule(406, "a strategy for dead letters that there is not",
         send(Queue.Declare(queue="conf.quorum", durable=True,
                            arguments={"x-queue-type": "quorum", "x-dead-letter-strategy": "never"}))),
    Rule(406, "a priority of a consumer that is no number", consume_with(priority="high")),
    Rule(406, "consume with an argument of streams", consume_with(stream_offset=1)),
    Rule(406, "delete of a used exchange with if-unused", used_exchange),
    Rule(406, "delete of a used queue with if-unused", used_queue),
    Rule(406, "delete of a queue that is not empty with if-empty", with_queue(Queue.Delete, if_empty=True)),
    Rule(406, "ack of an unknown tag", send(Basic.Ack(7))),
    Rule(406, "nack of an unknown tag", send(Basic.Nack(7))),
    Rule(406, "reject of an unknown tag", send(Basic.Reject(7))),
    Rule(406, "ack of a tag for the second time", twice(Basic.Ack)),
    Rule(406, "reject of a tag for the second time", twice(lambda tag: Basic.Reject(tag, requeue=False))),
    Rule(406, "ack of several below an unknown tag", send(Basic.Ack(9, multiple=True))),
    Rule(406, "tx.select on a channel that confirms", after(Confirm.Select(), Tx.Select())),
    Rule(406, "confirm.select on a channel with tx", after(Tx.Select(), Confirm.Select())),
    Rule(406, "tx.commit without tx", send(Tx.Commit())),
    Rule(406, "tx.rollback without tx", send(Tx.Rollback())),
    Rule(406, "an expiration that is no number", publish(expiration="soon")),
    Rule(406, "an expiration below 0", publish(expiration="-1")),
    Rule(406, "an expiration of more than ten years", publish(expiration=str(10 * 365 * 86400 * 1000 + 1))),
    Rule(406, "a delivery mode that is neither 1 nor 2", publish(delivery_mode=3)),
    Rule(406, "a user-id that is not the user", publish(user_id="somebody")),
    Rule(406, "reply-to amq.rabbitmq.reply-to without its consumer", publish(key="q", reply_to="amq.rabbitmq.reply-to")),
    Rule(406, "a consumer of amq.rabbitmq.reply-to that acknowledges", send(Basic.Consume(queue="amq.rabbitmq.reply-to"))),
    Rule(406, "a CC header that is no array", publish(headers={"CC": "key"})),
    Rule(403, "an exclusive consumer where there is one already", exclusive_conflict(False)),
    Rule(403, "a consumer where there is an exclusive one", exclusive_conflict(True)),
    Rule(403, "declare an exchange amq.*", send(Exchange.Declare(exchange="amq.conf", type="direct"))),
    Rule(403, "declare a queue amq.*", send(Queue.Declare(queue="amq.conf"))),
    Rule(403, "redeclare a queue amq.gen-* that the broker named", lambda p: p.send(1, declare(p.queue()))),
    Rule(403, "delete an exchange amq.*", send(Exchange.Delete(exchange="amq.direct"))),
    Rule(403, "bind to the default exchange", with_queue(Queue.Bind, exchange="", routing_key="k")),
    Rule(403, "unbind from the default exchange", with_queue(Queue.Unbind, exchange="", routing_key="k")),
    Rule(403, "declare the default exchange", send(Exchange.Declare(exchange="", type="direct"))),
    Rule(403, "passive declare of the default exchange", send(Exchange.Declare(exchange="", type="direct", passive=True))),
    Rule(403, "delete the default exchange", send(Exchange.Delete(exchange=""))),
)
def test_channel_error(peer, rule):
    rule.act(peer)
    while not isinstance((got := peer.receive()), type(None)) and not isinstance(got.method, (Channel.Close, Connection.Close)):
        pass
    assert got is not None and isinstance(got.method, Channel.Close), got
    assert got.method.reply_code == rule.code, got.method
    peer.send(1, Channel.CloseOk(), Channel.Open())
    peer.expect(Channel.OpenOk)
    peer.call(Queue.Delete(queue="conf.transient"))


def test_arguments_of_another_type(peer):
    """each argument that only the other type of queue has, classic or quorum: 406"""
    others = {"classic": {"x-delivery-limit": 3, "x-quorum-initial-group-size": 1, "x-queue-leader-locator": "balanced",
                          "x-dead-letter-strategy": "at-least-once", "x-max-in-memory-length": 1, "x-max-in-memory-bytes": 1},
              "quorum": {"x-max-priority": 3, "x-queue-mode": "lazy", "x-queue-version": 1, "x-queue-master-locator": "random"}}
    others = {kind: {**arguments, "x-max-age": "1h", "x-stream-max-segment-size-bytes": 1 << 20, "x-initial-cluster-size": 1}
              for kind, arguments in others.items()}
    for kind, arguments in others.items():
        for name, value in arguments.items():
            peer.send(1, Queue.Declare(queue="conf.other", durable=True, arguments={"x-queue-type": kind, name: value}))
            assert name in peer.channel_closed(406).reply_text


def test_internal_exchange(peer, no_internal):
    """publish to an internal exchange: 403"""
    internal_exchange(peer)
    peer.channel_closed(403)


def test_exclusive_queue(peer, another):
    """an exclusive queue of another connection (declare, consume, get, bind, purge, delete): 405"""
    name = peer.queue("conf.exclusive")
    other = another()
    for method in (Queue.Declare(queue=name), Queue.Declare(queue=name, passive=True), Basic.Consume(queue=name),
                   Basic.Get(queue=name), Queue.Bind(queue=name, exchange="amq.direct"), Queue.Purge(queue=name),
                   Queue.Delete(queue=name)):
        other.send(1, method)
        other.channel_closed(405)


def frames_after(*methods):
    return lambda peer: peer.send(1, *methods)


def raw(data):
    return lambda peer: peer.raw(data)


def body_without_header(peer):
    peer.raw(frame.Body(1, b"x").marshal())


def header_without_method(peer):
    peer.raw(frame.Header(1, 1, spec.BasicProperties()).marshal())


def method_instead_of_header(peer):
    peer.send(1, Basic.Publish(exchange="", routing_key="k"), Basic.Get(queue="q"))


def method_instead_of_body(peer):
    peer.send(1, Basic.Publish(exchange="", routing_key="k"))
    peer.raw(frame.Header(1, 10, spec.BasicProperties()).marshal())
    peer.send(1, Basic.Get(queue="q"))


@rules(
    Rule(530, "a consumer tag that is taken",
         lambda p: (p.consume(p.queue("conf.tag"), tag="t"), p.send(1, Basic.Consume(queue="conf.tag", consumer_tag="t")))[1],
         "connection"),
    Rule(540, "basic.publish with immediate",
         lambda p: p.content(1, Basic.Publish(exchange="", routing_key="k", immediate=True), b"x"), "connection"),
    Rule(540, "basic.qos with a prefetch_size", send(Basic.Qos(prefetch_size=1)), "connection"),
    Rule(540, "channel.flow off", send(Channel.Flow(False)), "connection"),
    Rule(540, "basic.recover without requeue", send(Basic.Recover(requeue=False)), "connection"),
    Rule(504, "a method on a channel that is not open", lambda p: p.send(5, Basic.Get(queue="q")), "connection"),
    Rule(504, "a second channel.open", send(Channel.Open()), "connection"),
    Rule(504, "a second connection.open", lambda p: p.send(0, Connection.Open("/")), "connection"),
    Rule(504, "a method of channels on channel 0", lambda p: p.send(0, Basic.Get(queue="q")), "connection"),
    Rule(503, "an unknown type of exchange", send(Exchange.Declare(exchange="conf.type", type="none")), "connection"),
    Rule(505, "a header where none belongs", header_without_method, "connection"),
    Rule(505, "a body where none belongs", body_without_header, "connection"),
    Rule(505, "a method instead of a header", method_instead_of_header, "connection"),
    Rule(505, "a method instead of a body", method_instead_of_body, "connection"),
    Rule(501, "a frame that does not end with 206", raw(b"\1\0\1\0\0\0\4\0\x14\0\x0a\0"), "connection"),
    Rule(501, "an unknown type of frame", raw(b"\7\0\1\0\0\0\0\xce"), "connection"),
    Rule(501, "a frame longer than was agreed", raw(b"\3\0\1" + struct.pack(">I", 131073) + b"x" * 131074), "connection"),
    Rule(501, "fields that are shorter than the method says", raw(b"\1\0\1\0\0\0\5\0\x32\0\x0a\0\xce"), "connection"),
    Rule(505, "a heartbeat on a channel", raw(b"\x08\0\1\0\0\0\0\xce"), "connection"),
)
def test_connection_error(peer, rule):
    rule.act(peer)
    peer.connection_closed(rule.code)


@pytest.mark.differs("RabbitMQ ends the connection without a close")
@rules(Rule(503, "an unknown class", raw(b"\1\0\1\0\0\0\4\0\x63\0\1\xce"), "connection"),
       Rule(503, "an unknown method", raw(b"\1\0\1\0\0\0\4\0\x3c\0\x63\xce"), "connection"))
def test_unknown_method(peer, rule):
    rule.act(peer)
    peer.connection_closed(rule.code)


def test_ignored_until_close_ok(peer):
    """anything on a channel after the broker sent channel.close, before close-ok, is ignored"""
    peer.send(1, Basic.Ack(7), Queue.Declare(queue="conf.late"), Basic.Get(queue="conf.nowhere"))
    peer.expect(Channel.Close, reply_code=406)
    peer.put("", b"x")
    assert peer.quiet()
    peer.send(1, Channel.CloseOk(), Channel.Open())
    peer.expect(Channel.OpenOk)
    peer.send(1, Queue.Declare(queue="conf.late", passive=True))
    peer.channel_closed(404)


def test_deletes_of_nothing(peer):
    """delete of a missing queue or exchange, unbind of a missing binding: ok"""
    assert peer.call(Queue.Delete(queue="conf.nowhere")).message_count == 0
    peer.call(Exchange.Delete(exchange="conf.nowhere"))
    name = peer.queue()
    peer.call(Queue.Unbind(queue=name, exchange="amq.direct", routing_key="never"))
    peer.call(Exchange.Unbind(destination="amq.fanout", source="amq.direct", routing_key="never"))


def test_unroutable(peer):
    """a mandatory message without a queue: basic.return 312, then the confirm"""
    peer.confirming().put("conf.nowhere", b"x", mandatory=True)
    peer.expect(Basic.Return, reply_code=312)
    assert peer.expect_content()[1] == b"x"
    peer.expect(Basic.Ack, delivery_tag=1)


def test_too_large(peer):
    """a message above the limit (here 16 MiB): 406"""
    peer.send(1, Basic.Publish(exchange="", routing_key="k"))
    peer.raw(frame.Header(1, (16 << 20) + 1, spec.BasicProperties()).marshal())
    for at in range(0, (16 << 20) + 1, 131064):
        peer.raw(frame.Body(1, b"x" * min(131064, (16 << 20) + 1 - at)).marshal())
    peer.expect(Channel.Close, reply_code=406)


def test_wrong_password(connect):
    """a wrong password: 403 connection.close where the client can take it, else the socket closes"""
    peer = connect()
    peer.start(response="\0guest\0wrong", capabilities=["authentication_failure_close"])
    peer.expect(Connection.Close, reply_code=403)
    silent = connect()
    silent.start(response="\0guest\0wrong")
    assert silent.closed()


def test_missing_vhost(connect):
    """a vhost that is not there: 530"""
    peer = connect()
    peer.start()
    peer.expect(Connection.Tune)
    peer.send(0, Connection.TuneOk(2047, 131072, 0), Connection.Open("nowhere"))
    peer.expect(Connection.Close, reply_code=530)


def test_refused_vhost(broker, connect):
    """a vhost in which the user has no rights: 530"""
    broker.define("conf-eve", vhost="conf-vhost")
    peer = connect()
    peer.start(response="\0conf-eve\0secret")
    peer.expect(Connection.Tune)
    peer.send(0, Connection.TuneOk(2047, 131072, 0), Connection.Open("/"))
    peer.expect(Connection.Close, reply_code=530)


def test_unknown_mechanism(connect):
    """an unknown mechanism: 503 or the end of the stream"""
    peer = connect()
    peer.start(mechanism="MAGIC", response="")
    got = peer.receive()
    assert got is None or (isinstance(got.method, Connection.Close) and got.method.reply_code in (503, 504)), got


def test_forced(broker, another):
    """a connection that an administrator closes: 320, of the connection"""
    peer = another()
    mine = "127.0.0.1:%d -> " % peer.socket.getsockname()[1]

    def names():
        return [one["name"] for one in broker.ask("GET", "connections") if one.get("name", "").startswith(mine)]
    until(names, 60, "it is listed")  # RabbitMQ counts every five seconds
    broker.ask("DELETE", "connections/" + urllib.parse.quote(names()[0], safe=""))
    peer.connection_closed(320)


@pytest.mark.ours
def test_unreadable(tmp_path):
    """a message that cannot be read from the disk any more, asked for by basic.get: 541, of the connection; it is a dead letter"""
    server, port = Server(tmp_path / "damaged"), free_port()
    server.configure({"listeners": [*server.config["listeners"], {"host": "127.0.0.1", "port": port, "protocol": "amqp"}]})
    server.start()
    try:
        with Peer(port) as peer:
            peer.open().confirming().queue("conf.damaged", exclusive=False, durable=True)
            for body in (b"d" * 1000, b"sound", b"sound"):  # what was flushed last is delivered from memory
                peer.sure("conf.damaged", body, delivery_mode=2)
            log = next(path for path in sorted((server.data / "log").glob("*.seg")) if b"d" * 1000 in path.read_bytes())
            with open(log, "r+b") as file:
                file.seek(log.read_bytes().index(b"d" * 1000) + 500)
                file.write(b"e")
            peer.send(1, Basic.Get(queue="conf.damaged"))
            peer.connection_closed(541)
        with Peer(port) as peer:
            assert peer.open().get("conf.damaged")[2] == b"sound"
    finally:
        server.kill()
