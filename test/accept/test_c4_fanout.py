"""C4, fan-out with queues of their own: one publisher, five subscribers; one that was down catches up, in order; a faulty batch is
published again, for all or for one of them; who comes late reads what is there by HTTP without taking it away."""
import json
import urllib.request

import pika
from support.pika_queue import open_channel

SUBSCRIBERS, EVENTS, BATCH = 5, 1000, 100


def subscribe(channel):
    channel.exchange_declare("changes", "fanout", durable=True)
    for n in range(SUBSCRIBERS):
        channel.queue_declare(f"sub-{n}", durable=True)
        channel.queue_bind(f"sub-{n}", "changes")


def publish(channel, numbers, exchange="changes", key="", batch=None):
    channel.tx_select()
    for number in numbers:
        channel.basic_publish(exchange, key, json.dumps({"number": number}).encode(), pika.BasicProperties(
            delivery_mode=2, headers={"batch": batch} if batch else None))
    channel.tx_commit()


def read(channel, queue, count):
    numbers = []
    for method, _, body in channel.consume(queue, inactivity_timeout=60):
        assert method is not None, f"{queue}: {len(numbers)} of {count}"
        numbers.append(json.loads(body)["number"])
        if len(numbers) == count:
            channel.basic_ack(method.delivery_tag, multiple=True)
            channel.cancel()
            return numbers


def depth(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def test_one_that_was_down_catches_up(broker):
    channel = open_channel(broker)
    subscribe(channel)
    publish(channel, range(EVENTS))
    up = open_channel(broker)
    for n in range(1, SUBSCRIBERS):  # sub-0 is down, and disturbs nobody
        assert read(up, f"sub-{n}", EVENTS) == list(range(EVENTS))
    broker.kill()
    broker.start()
    channel = open_channel(broker)
    publish(channel, range(EVENTS, 2 * EVENTS))
    assert read(open_channel(broker), "sub-0", 2 * EVENTS) == list(range(2 * EVENTS))
    assert depth(channel, "sub-1") == EVENTS


def test_a_faulty_batch_is_published_again(broker):
    """For one subscriber by the default exchange, for all by the exchange; a subscriber that failed half way has it all again."""
    channel = open_channel(broker)
    subscribe(channel)
    publish(channel, range(BATCH), batch="b1")
    half = open_channel(broker)
    for _ in range(BATCH // 2):  # it takes half and dies
        half.basic_get("sub-0")
    half.connection.close()
    assert read(open_channel(broker), "sub-0", BATCH) == list(range(BATCH))
    publish(channel, range(BATCH), exchange="", key="sub-0", batch="b1 again")
    assert read(open_channel(broker), "sub-0", BATCH) == list(range(BATCH))
    publish(channel, range(BATCH), batch="b1 for all")
    assert read(open_channel(broker), "sub-1", 2 * BATCH) == list(range(BATCH)) * 2


def test_recent_changes_without_a_consumer(broker):
    """The import API: whoever cannot consume reads what stands in the queue, as often as it likes."""
    channel = open_channel(broker)
    subscribe(channel)
    publish(channel, range(BATCH))
    for _ in range(2):
        page = broker.client.get("/v1/queues/sub-0/messages").json
        shown = [broker.client.get(f"/v1/queues/sub-0/messages/{item['id']}?view=body").json["number"]
                 for item in page["messages"][:10]]
        assert shown == list(range(10)) and len(page["messages"]) == 50  # a page
    request = urllib.request.Request(
        f"http://127.0.0.1:{broker.port}/api/queues/%2F/sub-0/get", method="POST",
        data=json.dumps({"count": 3, "ackmode": "ack_requeue_true", "encoding": "auto"}).encode())
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert [json.loads(m["payload"])["number"] for m in json.loads(reply.read())] == [0, 1, 2]
    assert depth(channel, "sub-0") == BATCH
