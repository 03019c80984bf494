"""D5, inbox: a message id is taken once, however often it is published, by HTTP or AMQP, over kill -9 and a window of its own; and a
consumer that keeps its effects with the id it has done has each effect once."""
import threading
import time

import pika
from support import pika_queue

IDS, TRIES = 300, 3


def open_channel(broker):
    channel = pika_queue.open_channel(broker)
    channel.confirm_delivery()
    return channel


def inbox(channel, **more):
    channel.queue_declare("inbox", durable=True, arguments={"x-deduplication": "message-id", **more})


def publish(channel, number):
    channel.basic_publish("", "inbox", b"%d" % number, pika.BasicProperties(delivery_mode=2, message_id=f"id-{number}"))


def drain(channel):
    return [int(body) for _, _, body in pika_queue.drain(channel.connection, "inbox")]


def test_once_each_over_restarts(broker):
    inbox(open_channel(broker))
    for _ in range(TRIES):
        channel = open_channel(broker)
        for number in range(IDS):
            publish(channel, number)
        broker.kill()
        broker.start()
    assert drain(open_channel(broker)) == list(range(IDS))
    channel = open_channel(broker)  # also after they were processed
    for number in range(IDS):
        publish(channel, number)
    assert drain(channel) == []


def test_many_publishers_of_one_id(broker):
    inbox(open_channel(broker))
    channels = [open_channel(broker) for _ in range(8)]
    threads = [threading.Thread(target=lambda c=c: [publish(c, n) for n in range(50)]) for c in channels]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(drain(open_channel(broker))) == list(range(50))


def test_after_its_window_it_is_new(broker):
    channel = open_channel(broker)
    inbox(channel, **{"x-deduplication-window": 6000})
    publish(channel, 1)
    publish(channel, 1)
    time.sleep(6.1)
    publish(channel, 1)
    assert drain(channel) == [1, 1]


def test_a_consumer_that_dies_between_effect_and_ack(broker):
    """The redelivery is marked and counted, so the consumer looks into its own inbox: each effect once."""
    channel = open_channel(broker)
    inbox(channel)
    for number in range(20):
        publish(channel, number)
    effects, done = [], set()
    for crash in (True, False):
        channel = open_channel(broker)
        for method, properties, body in channel.consume("inbox", inactivity_timeout=60):
            assert method.redelivered == (properties.message_id in done) or method.redelivered
            if properties.message_id not in done:  # effect and id in one transaction of the consumer's own
                done.add(properties.message_id)
                effects.append(int(body))
            if crash and len(effects) == 10:
                broker.kill()
                broker.start()
                break
            channel.basic_ack(method.delivery_tag)
            if len(effects) == 20:
                break
    assert effects == list(range(20))
