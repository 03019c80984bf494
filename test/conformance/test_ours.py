"""What RabbitMQ does not have, or has as a plugin, or does not promise."""
import select
import time

import pytest
from pika.spec import Basic, Exchange, Queue, Tx
from support.wait import until

pytestmark = [pytest.mark.section("Only here"), pytest.mark.ours]


def test_expires_behind_another(peer):
    """an expired message goes at its time, also behind one that lives longer"""
    grave = peer.queue()
    name = peer.queue(dead_letter_exchange="", dead_letter_routing_key=grave)
    peer.put(name, b"long", expiration="60000")
    peer.put(name, b"short", expiration="50")
    assert peer.get(grave)[2] == b"short" and peer.count(name) == 1


def test_delay_on_any_queue(peer):
    """the header x-delay holds a message back on any queue"""
    name, begun = peer.queue(), time.monotonic()
    peer.call(Tx.Select())  # both of the same moment, however long it takes to send them
    peer.put(name, b"later", headers={"x-delay": 300})
    peer.put(name, b"now")
    peer.call(Tx.Commit())
    assert peer.bodies(name, 2) == [b"now", b"later"] and time.monotonic() - begun > 0.28


def test_delayed_exchange(peer):
    """x-delayed-message: x-delayed-type says how it routes, x-delay when"""
    peer.call(Exchange.Declare(exchange="conf.delayed", type="x-delayed-message", auto_delete=True,
                               arguments={"x-delayed-type": "topic"}))
    name, begun = peer.queue(), time.monotonic()
    peer.call(Queue.Bind(queue=name, exchange="conf.delayed", routing_key="a.*"))
    peer.put("a.b", b"x", exchange="conf.delayed", headers={"x-delay": 200})
    assert peer.get(name)[2] == b"x" and time.monotonic() - begun > 0.18


def test_any_delay(peer):
    """x-delay of any length: a hundred years"""
    name = peer.queue()
    peer.put(name, b"much later", headers={"x-delay": 100 * 365 * 86400 * 1000})
    peer.put(name, b"now")
    assert peer.get(name)[2] == b"now" and peer.get(name, timeout=0.1) is None


def test_ordering_key(peer):
    """x-ordering-key, a header: of a key one at a time is out, others go on"""
    name = peer.queue(ordering_key="customer")
    for number, customer in enumerate("aab"):
        peer.put(name, b"%d" % number, headers={"customer": customer})
    first, second = peer.get(name, no_ack=False), peer.get(name, no_ack=False)
    assert (first[2], second[2]) == (b"0", b"2") and peer.get(name, timeout=0.1) is None
    peer.send(1, Basic.Ack(first[0].delivery_tag))
    assert peer.get(name)[2] == b"1"


def test_ordering_by_routing_key(peer):
    """x-ordering-key routing-key: the key that a message was published with"""
    name = peer.queue(ordering_key="routing-key")
    peer.call(Queue.Bind(queue=name, exchange="amq.topic", routing_key="conf.order.#"))
    for number, key in enumerate("aab"):
        peer.put(f"conf.order.{key}", b"%d" % number, exchange="amq.topic")
    first = peer.get(name, no_ack=False)
    assert (first[2], peer.get(name, no_ack=False)[2]) == (b"0", b"2") and peer.get(name, timeout=0.1) is None
    peer.send(1, Basic.Ack(first[0].delivery_tag))
    assert peer.get(name)[2] == b"1"


def test_delayed_holds_up_nobody(peer):
    """x-ordering-key: what x-delay holds back holds up nobody; when it is due it stands behind those of its key"""
    name = peer.queue(ordering_key="customer")
    peer.call(Tx.Select())  # all of the same moment, however long it takes to send them
    for number, customer in enumerate("aab"):
        peer.put(name, b"%d" % number, headers={"customer": customer, **({} if number else {"x-delay": 100})})
    peer.call(Tx.Commit())
    first, second = peer.get(name, no_ack=False), peer.get(name, no_ack=False)
    assert {first[2], second[2]} == {b"1", b"2"} and peer.get(name, timeout=0.3) is None  # due, and its key is out
    peer.send(1, Basic.Ack(second[0].delivery_tag, multiple=True))
    peer.call(Tx.Commit())
    assert peer.get(name)[2] == b"0"


def test_put_back_keeps_its_key(peer, another):
    """x-ordering-key: what is put back, or left by a connection that ends, goes before the later ones of its key"""
    name, other = peer.queue("conf.keys", exclusive=False, durable=True, ordering_key="customer"), another()
    for number, customer in enumerate("aab"):
        peer.put(name, b"%d" % number, headers={"customer": customer})
    peer.send(1, Basic.Nack(peer.get(name, no_ack=False)[0].delivery_tag, requeue=True))
    again = peer.get(name, no_ack=False)
    assert (again[2], again[0].redelivered) == (b"0", True)
    peer.socket.close()
    until(lambda: other.count(name) == 3, what="the end of the connection")
    got = [other.get(name, no_ack=False) for _ in range(2)]
    assert [g[2] for g in got] == [b"0", b"2"] and other.get(name, timeout=0.1) is None
    other.send(1, Basic.Ack(got[0][0].delivery_tag))
    assert other.get(name)[2] == b"1"
    other.call(Queue.Delete(queue=name))


def test_dead_frees_its_key(peer):
    """x-ordering-key: when a message dies the next of its key comes, and its dead letter holds up nobody"""
    grave = peer.queue()
    name = peer.queue(ordering_key="customer", dead_letter_exchange="", dead_letter_routing_key=grave)
    for number, customer in enumerate("aab"):
        peer.put(name, b"%d" % number, headers={"customer": customer})
    peer.send(1, Basic.Reject(peer.get(name, no_ack=False)[0].delivery_tag, requeue=False))
    assert sorted(peer.bodies(name, 2)) == [b"1", b"2"] and peer.get(grave)[2] == b"0"


def test_pace(peer, another):
    """x-max-deliveries-per-second is shared by all consumers of the queue"""
    name = peer.queue("conf.pace", exclusive=False, auto_delete=True, max_deliveries_per_second=20)
    other, begun, seen = another(), time.monotonic(), 0
    peer.consume(name)
    other.consume(name)
    for _ in range(9):
        peer.put(name, b"x")
    while seen < 9:
        for consumer in (peer, other):
            if consumer.bytes or select.select([consumer.socket], [], [], 0.02)[0]:
                consumer.delivered()
                seen += 1
    assert time.monotonic() - begun > 0.35


def test_deduplication(peer):
    """x-deduplication: a second message with the id is confirmed and dropped"""
    for kind, first, again in (("message-id", {"message_id": "1"}, {"message_id": "1"}),
                               ("header", {"headers": {"x-deduplication-id": "1"}}, {"headers": {"x-deduplication-id": "1"}})):
        name = peer.queue(deduplication=kind)
        peer.put(name, b"x", **first)
        peer.put(name, b"y", **again)
        assert peer.bodies(name, 1) == [b"x"] and peer.count(name) == 0


def test_deduplication_window(peer):
    """x-deduplication-window: so long an id is remembered, then it is new"""
    name = peer.queue(deduplication="message-id", deduplication_window=300)
    begun = time.monotonic()
    peer.put(name, b"x", message_id="1")
    assert peer.get(name)[2] == b"x"
    while peer.get(name, timeout=0.05) is None:  # the id is asked for again and again until it is taken
        peer.put(name, b"again", message_id="1")
    assert time.monotonic() - begun > 0.28


def test_last_death(peer):
    """x-last-death-reason, -queue, -exchange are those of the last death"""
    grave = peer.queue()
    second = peer.queue(dead_letter_exchange="", dead_letter_routing_key=grave)
    first = peer.queue(dead_letter_exchange="", dead_letter_routing_key=second, message_ttl=1)
    peer.put(first, b"x")
    peer.send(1, Basic.Reject(peer.get(second, no_ack=False)[0].delivery_tag, requeue=False))
    headers = peer.get(grave)[1].headers
    assert [headers[f"x-first-death-{what}"] for what in ("reason", "queue", "exchange")] == ["expired", first, ""]
    assert [headers[f"x-last-death-{what}"] for what in ("reason", "queue", "exchange")] == ["rejected", second, ""]


def test_counts_on_every_queue(peer):
    """x-delivery-count is on every type of queue"""
    name = peer.queue()
    peer.put(name, b"x")
    peer.send(1, Basic.Reject(peer.get(name, no_ack=False)[0].delivery_tag, requeue=True))
    assert peer.get(name)[1].headers["x-delivery-count"] == 1


def test_commit_is_one_record(peer):
    """a commit is all or nothing over its queues: a refusal by one of them undoes it all"""
    full = peer.queue(max_length=1, overflow="reject-publish")
    free = peer.queue()
    peer.call(Tx.Select())
    for name in (full, free):
        peer.put(name, b"x")
    peer.call(Tx.Commit())
    assert peer.count(full) == peer.count(free) == 1


def test_restart(broker, connect):
    """what was confirmed is there after a kill, with its delivery count and what dedup remembers; acked is gone"""
    peer = connect().open().confirming()
    peer.queue("conf.durable", exclusive=False, durable=True, deduplication="message-id")
    for body in (b"1", b"2"):
        peer.sure("conf.durable", body, delivery_mode=2, message_id=body.decode())
    peer.get("conf.durable", no_ack=False)
    broker.server.kill()
    broker.server.start()
    peer = connect().open().confirming()
    peer.sure("conf.durable", b"again", delivery_mode=2, message_id="1")
    got = [peer.get("conf.durable", timeout=wait) for wait in (60, 60, 0.5)]
    assert [g and g[2] for g in got] == [b"1", b"2", None]
    assert got[0][0].redelivered and got[0][1].headers["x-delivery-count"] == 1
    peer.call(Queue.Delete(queue="conf.durable"))
