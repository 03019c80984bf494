"""kill -9 again and again under publishers and consumers: the ledger is kept outside of the server."""
import threading
import time

import pika
from pika.exceptions import AMQPError
from support import pika_queue
from support.server import Server, free_port

ROUNDS = 6


class Ledger:
    def __init__(self):
        self.sent = 0
        self.confirmed = set()
        self.acking = set()    # an ack was sent
        self.acked = set()     # and the server is known to have taken it
        self.deliveries = {}   # body -> the greatest x-delivery-count seen


def connect(port):
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, socket_timeout=60))


def produce(port, ledger):
    try:
        channel = connect(port).channel()
        channel.confirm_delivery()
        while True:
            ledger.sent += 1
            body = ledger.sent
            channel.basic_publish("", "ledger", b"%d" % body, pika.BasicProperties(delivery_mode=2))
            ledger.confirmed.add(body)
    except (AMQPError, OSError):
        pass


def consume(port, ledger):
    """Acks every second delivery; a transaction's commit-ok says that the ack is on disk."""
    try:
        channel = connect(port).channel()
        channel.tx_select()
        turn = 0
        while True:
            method, properties, body = channel.basic_get("ledger")
            if method is None:
                continue
            number, turn = int(body), turn + 1
            count = (properties.headers or {}).get("x-delivery-count", 0)
            assert number not in ledger.acked, f"{number} came back after its ack"
            assert count >= ledger.deliveries.get(number, 0), f"{number}: {count} deliveries"
            ledger.deliveries[number] = count
            if turn % 2 == 0:
                ledger.acking.add(number)
                channel.basic_ack(method.delivery_tag)
                channel.tx_commit()
                ledger.acked.add(number)
            else:
                channel.basic_nack(method.delivery_tag, requeue=True)
                channel.tx_commit()
                ledger.deliveries[number] = count + 1
    except (AMQPError, OSError):
        pass


def test_nothing_confirmed_is_lost_and_nothing_acknowledged_comes_back(tmp_path):
    port = free_port()
    server = Server(tmp_path / "kill")
    server.configure({"listeners": [*server.config["listeners"],
                                    {"host": "127.0.0.1", "port": port, "protocol": "amqp"}]})
    ledger, failures = Ledger(), []

    def guarded(work):
        try:
            work(port, ledger)
        except AssertionError as failure:
            failures.append(failure)
    server.start()
    with connect(port) as connection:
        connection.channel().queue_declare("ledger", durable=True)
    for number in range(ROUNDS):
        threads = [threading.Thread(target=guarded, args=(work,)) for work in (produce, consume)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 60
        while (len(ledger.confirmed), len(ledger.acked)) < (20 * (number + 1), 2 * (number + 1)) and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.2)
        server.kill()
        for thread in threads:
            thread.join()
        server.start()
    with connect(port) as connection:
        left = {int(body) for _, _, body in pika_queue.drain(connection, "ledger")}
    server.stop()
    assert not failures, failures
    assert len(ledger.confirmed) > 10 * ROUNDS and len(ledger.acked) > ROUNDS
    # An ack that a kill overtook may or may not have been taken: one a round at most.
    assert len(ledger.acking - ledger.acked) <= ROUNDS
    assert not ledger.confirmed - ledger.acking - left
    assert not left & ledger.acked
