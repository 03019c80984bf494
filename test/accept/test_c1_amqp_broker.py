"""C1, an AMQP broker: each kind of exchange, durable messages with confirms, redelivery, priority, delay, time to live and dead
letters, by a client library as it is, over a kill -9."""
import pika
import pytest
from support.pika_queue import open_channel
from support.wait import until

MESSAGES = 2000


def take(channel, queue, count):
    found = []
    for method, properties, body in channel.consume(queue, inactivity_timeout=60):
        assert method is not None, f"{queue}: {len(found)} of {count}"
        channel.basic_ack(method.delivery_tag)
        found.append((method, properties, body))
        if len(found) == count:
            channel.cancel()
            return found


def test_each_exchange_after_a_kill(broker):
    """2,000 confirmed persistent messages: all there, in order, once, after kill -9."""
    channel = open_channel(broker)
    channel.confirm_delivery()
    for kind, key, arguments in (("direct", "k", None), ("fanout", "", None), ("topic", "a.*.c", None),
                                 ("headers", "", {"x-match": "all", "colour": "red"})):
        channel.exchange_declare(f"c1.{kind}", kind, durable=True)
        channel.queue_declare(f"c1.{kind}", durable=True)
        channel.queue_bind(f"c1.{kind}", f"c1.{kind}", key, arguments)
    for number in range(MESSAGES // 4):
        for kind, key, headers in (("direct", "k", None), ("fanout", "any", None), ("topic", "a.b.c", None),
                                   ("headers", "", {"colour": "red"})):
            channel.basic_publish(f"c1.{kind}", key, b"%d" % number,
                                  pika.BasicProperties(delivery_mode=2, headers=headers), mandatory=True)
    with pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish("c1.topic", "a.c", b"nowhere", mandatory=True)
    broker.kill()
    broker.start()
    channel = open_channel(broker)
    for kind in ("direct", "fanout", "topic", "headers"):
        assert [int(body) for _, _, body in take(channel, f"c1.{kind}", MESSAGES // 4)] == list(range(MESSAGES // 4))


def test_priority_delay_life_and_death(broker):
    channel = open_channel(broker)
    channel.queue_declare("dead", durable=True)
    channel.queue_declare("work", durable=True, arguments={
        "x-max-priority": 9, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead", "x-queue-type": "classic"})
    channel.basic_publish("", "work", b"late", pika.BasicProperties(headers={"x-delay": 12000}, priority=9))
    channel.basic_publish("", "work", b"short", pika.BasicProperties(expiration="50", priority=0))
    for priority in (1, 5, 9, 5):
        channel.basic_publish("", "work", b"p%d" % priority, pika.BasicProperties(priority=priority))
    until(lambda: channel.queue_declare("dead", passive=True).method.message_count == 1, what="the end of a short life")
    ready = [channel.basic_get("work") for _ in range(4)]
    assert [body for _, _, body in ready] == [b"p9", b"p5", b"p5", b"p1"]
    assert channel.basic_get("work")[0] is None  # one is dead, one is not due
    broker.kill()  # unacknowledged: they come back
    broker.start()
    channel = open_channel(broker)
    again = take(channel, "work", 4)
    assert [method.redelivered for method, _, _ in again] == [True] * 4
    assert [properties.headers for _, properties, _ in again] == [{"x-delivery-count": 1}] * 4
    (method, properties, body), = take(channel, "dead", 1)
    assert (body, properties.headers["x-death"][0]["reason"]) == (b"short", "expired")
    (method, properties, body), = take(channel, "work", 1)
    assert body == b"late"
