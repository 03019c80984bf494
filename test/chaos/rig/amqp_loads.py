"""Loads over AMQP, beside those of rig/loads.py and with the same interface: publishers that wait for confirms and consumers
that acknowledge, by a public client (pika).

What pushes to a client may be read late: a delivery counts for the ledger only while the server that made it runs.
"""
import contextlib
import http.client
import itertools
import logging
import random
import threading
import time

import pika
from pika.exceptions import AMQPError, NackError
from support.wait import until

from rig.history import History
from rig.loads import HttpCaller, Load, Unanswered, pages

YEAR_MS = 365 * 86400 * 1000
LOST = (AMQPError, OSError, ValueError)  # the last is pika's word for a socket that it has closed meanwhile

logging.getLogger("pika").setLevel(logging.CRITICAL)  # it tells each lost connection


def declare(client, queue, **arguments):
    reply = client.put(f"/api/queues/%2F/{queue}", {"durable": True, "arguments": arguments})
    assert reply.status in (201, 204), reply


class AmqpCaller:
    """One connection with a channel that publishes and one that consumes, made anew when it is lost."""

    def __init__(self, load, server, seed):
        self.load, self.server, self.rng = load, server, random.Random(seed)
        self.connection = None

    def connect(self):
        self.epoch = self.server.starts
        self.connection = pika.BlockingConnection(pika.ConnectionParameters(
            "127.0.0.1", self.server.amqp_port, socket_timeout=60, heartbeat=0, blocked_connection_timeout=60))
        self.publishing = self.connection.channel()
        self.publishing.confirm_delivery()
        self.opened()

    def opened(self):
        """What a load needs besides the channel that publishes."""

    def step(self):
        self.sent = False
        try:
            if self.connection is None:
                self.connect()
            self.act()
        except LOST:
            self.close()
            time.sleep(0.005)
            raise Unanswered(self.sent) from None

    def act(self):
        raise NotImplementedError

    def publish(self, queue, body, **properties):
        """False: refused, so that nothing of it may be there."""
        self.sent = True
        try:
            self.publishing.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2, **properties))
        except NackError:
            self.heard()
            self.load.count_nack()
            return False
        self.heard()
        self.load.count_answered()
        return True

    def heard(self):
        """To be called when an answer came, before anything is concluded from it."""
        if self.server.dark:
            raise ConnectionResetError("the machine is off")

    def close(self):
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(*LOST):
                connection.close()


# ---- a ledger: what was confirmed, what was acknowledged, how often what was delivered ----

class Lane:
    """An ordering key. Who publishes to it holds its lock until the outcome is known; after an unknown one it is not used again."""

    def __init__(self, name):
        self.name, self.lock, self.turns = name, threading.Lock(), itertools.count()


class AmqpLoad(Load):
    LANES = 8
    NACKS = 0.15    # of what is settled
    READ_ALL = 400  # so few bodies are read one by one

    def __init__(self):
        super().__init__()
        self.published, self.confirmed = set(), set()
        self.acking, self.acked = set(), set()  # an ack was sent; the server is known to have taken it
        self.counts, self.last = {}, {}         # body -> the last x-delivery-count; lane -> the last turn delivered
        self.redelivered = 0
        self.lanes = [Lane(f"l{next(self.serial)}") for _ in range(self.LANES)]

    def define(self, client):
        declare(client, "ledger", **{"x-ordering-key": "lane"})

    def caller(self, server, seed):
        return LedgerCaller(self, server, seed)

    def count_nack(self):
        with self.lock:
            self.refused += 1

    def more_figures(self):
        return {"AMQP confirms": len(self.confirmed), "AMQP acks": len(self.acked), "AMQP redeliveries": self.redelivered}

    def retire(self, lane):
        """What was sent may be taken late, behind what others send."""
        self.lanes[self.lanes.index(lane)] = Lane(self.next_name())

    def delivered(self, body, count):
        lane, turn = body.split("/")
        with self.lock:
            assert body in self.published, f"{body} was never published"
            assert body not in self.acked, f"{body} came back after its ack"
            known = self.counts.get(body)
            assert known is None or count > known, f"{body} has delivery count {count} after {known}"
            assert int(turn) >= self.last.get(lane, 0), f"lane {lane}: {turn} after {self.last[lane]}"
            self.redelivered += known is not None
            self.counts[body], self.last[lane] = count, int(turn)

    def verify(self, client):
        """Nobody consumes: what was confirmed and not acknowledged lies there, and nothing else but what is unknown."""
        least, most = len(self.confirmed - self.acking), len(self.published - self.acked)
        until(lambda: least <= sum(self.waiting(client)) <= most, 10, f"{least} to {most} messages in the ledger")
        ids = [message["id"] for message in pages(client, "/v1/queues/ledger/messages", "messages")]
        assert least <= len(ids) <= most, f"{len(ids)} messages, not {least} to {most}"
        left = set()
        for receipt in ids if len(ids) <= self.READ_ALL else random.Random(len(ids)).sample(ids, self.READ_ALL):
            reply = client.get(f"/v1/queues/ledger/messages/{receipt}?view=body")
            assert reply.status == 200, reply
            left.add(reply.body.decode())
        assert not left & self.acked, f"acknowledged messages are there: {sorted(left & self.acked)[:5]}"
        assert left <= self.published, f"nobody published {sorted(left - self.published)[:5]}"
        if len(left) == len(ids):
            lost = self.confirmed - self.acking - left
            assert not lost, f"{len(lost)} confirmed messages are gone: {sorted(lost)[:5]}"

    @staticmethod
    def waiting(client):
        stats = client.queue("ledger")["stats"]
        return stats["ready"], stats["blocked"]


class LedgerCaller(AmqpCaller):
    PREFETCH = 6

    def opened(self):
        self.held = []
        self.consuming = self.connection.channel()
        self.consuming.basic_qos(prefetch_count=self.PREFETCH)
        self.consuming.basic_consume("ledger", self.on_delivery)

    def on_delivery(self, _, method, properties, body):
        if self.epoch == self.server.starts and not self.server.dark:
            self.load.delivered(body.decode(), (properties.headers or {}).get("x-delivery-count", 0))
            self.held.append((method.delivery_tag, body.decode()))

    def act(self):
        if self.rng.random() < 0.5:
            self.put()
        else:
            self.connection.process_data_events(time_limit=0 if self.held else 0.002)
            if self.held:
                self.settle()

    def put(self):
        lane = self.rng.choice(self.load.lanes)
        with lane.lock:
            body = f"{lane.name}/{next(lane.turns)}"
            self.load.published.add(body)
            try:
                taken = self.publish("ledger", body.encode(), headers={"lane": lane.name})
            except LOST:
                self.load.retire(lane)
                raise
            (self.load.confirmed.add if taken else self.load.published.discard)(body)

    def settle(self):
        """Some acks and then a question, whose answer comes when they are on disk."""
        acks = []
        for tag, body in self.held:
            if self.rng.random() < self.load.NACKS:
                self.consuming.basic_nack(tag, requeue=True)
                continue
            self.load.acking.add(body)
            self.consuming.basic_ack(tag)
            acks.append(body)
        self.held = []
        self.consuming.queue_declare("ledger", passive=True)
        self.heard()
        self.load.acked.update(acks)


# ---- deduplication by message id, for linearizability ----

class OnceLoad(Load):
    """Queues that take each message id once, filled by AMQP and by HTTP (which has no id, so that each adds one) and counted by both."""
    OPERATIONS = 40  # of one queue: what a checker can search
    OPEN = 2         # queues in use at a time
    IDS = 12

    def __init__(self, history=None):
        super().__init__()
        self.history = history or History()
        self.defined = 0

    def define(self, client):
        for number in range(self.defined, self.defined + 50):
            declare(client, f"once{number}", **{"x-deduplication": "message-id", "x-deduplication-window": YEAR_MS})
        self.defined += 50

    def caller(self, server, seed):
        return OnceCaller(self, server, seed)

    def count_nack(self):
        with self.lock:
            self.refused += 1

    def next_queue(self, rng):
        with self.lock:
            asked = next(self.serial)
        return asked // (self.OPERATIONS * self.OPEN) * self.OPEN + rng.randrange(self.OPEN)

    def verify(self, client):
        """The checkers judge the history; here only that no queue has more than there are ids and plain ones."""
        asked = sum(operation["op"] == "add" for operation in self.history.operations)
        for number in range(0, self.defined, 7):
            assert client.queue(f"once{number}")["stats"]["ready"] <= self.IDS + asked


class OnceCaller(AmqpCaller):
    def __init__(self, load, server, seed):
        super().__init__(load, server, seed)
        self.http = HttpCaller(load, server, seed)

    def act(self):
        number = self.load.next_queue(self.rng)
        if number >= self.load.defined:
            with self.load.lock:
                if number >= self.load.defined:
                    self.more()
        op = self.rng.choices(("publish", "add", "count", "look"), (6, 1, 1, 1))[0]
        operation = self.load.history.begin("once", f"once{number}", "count" if op == "look" else op,
                                            f"m{self.rng.randrange(self.load.IDS)}" if op == "publish" else "")
        try:
            out = getattr(self, op)(operation["part"], operation["arg"])
        except LOST:
            self.load.history.unknown(operation)
            raise
        except Unanswered as unanswered:
            (self.load.history.unknown if unanswered.sent else self.load.history.never)(operation)
            raise
        if out is None:
            self.load.history.never(operation)
        else:
            self.load.history.done(operation, out)

    def more(self):
        try:
            self.load.define(self.http.client)
        except (OSError, http.client.HTTPException, AssertionError) as fault:
            raise Unanswered(sent=False) from fault

    def publish(self, queue, message_id):
        return "ok" if super().publish(queue, b"once", message_id=message_id) else None

    def add(self, queue, _):
        reply = self.http.ask(self.http.client.publish, queue, {"n": 1})
        assert reply is None or reply.status == 202, reply
        return None if reply is None else "ok"

    def count(self, queue, _):
        self.sent = True
        answer = self.publishing.queue_declare(queue, passive=True)
        self.heard()
        return answer.method.message_count

    def look(self, queue, _):
        reply = self.http.ask(self.http.client.get, f"/v1/queues/{queue}")
        assert reply is None or reply.status == 200, reply
        return None if reply is None else reply.json["stats"]["ready"]

    def close(self):
        super().close()
        self.http.close()
