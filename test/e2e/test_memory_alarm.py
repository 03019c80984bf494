"""Short of memory: publishers wait or hear 503, consumers go on, and it ends by itself. The watermark is set just above what is in use."""
import json
import threading
import time
import urllib.request

import pika
import pytest
from support.server import Server, free_port

MIB = 1 << 20


def resident(server):
    with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * 4096


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    server.amqp = free_port()
    server.config["listeners"].append({"host": "127.0.0.1", "port": server.amqp, "protocol": "amqp"})
    server.configure({})
    server.start()
    base = resident(server)
    server.stop()
    server.configure({"limits": {"residentBytes": base + 32 * MIB}})
    server.start()
    yield server
    server.kill()


def connect(server, blocked=None):
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.amqp, socket_timeout=60))
    if blocked is not None:
        connection.add_on_connection_blocked_callback(lambda _, frame: blocked.append(frame.method.reason))
        connection.add_on_connection_unblocked_callback(lambda _, frame: blocked.append("unblocked"))
    return connection


def node(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/api/nodes", timeout=60) as reply:
        return json.loads(reply.read())[0]


def wait(said, what):
    end = time.monotonic() + 60
    while not said():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def fill(server):
    """What the state keeps of a message is what grows, not bodies; most where its dead-letter exchange needs its key."""
    channel = connect(server).channel()
    channel.queue_declare("q", durable=True, arguments={"x-dead-letter-exchange": "nowhere"})
    channel.queue_bind("q", "amq.fanout")
    channel.tx_select()
    try:
        while not node(server)["mem_alarm"]:
            for _ in range(1000):
                channel.basic_publish("amq.fanout", "k" * 250, b"")
            channel.tx_commit()
    except pika.exceptions.AMQPError:
        pass  # refused: the alarm came first


def test_publishers_wait_and_consumers_go_on(server):
    stuck = threading.Thread(target=fill, args=(server,), daemon=True)
    stuck.start()
    wait(lambda: node(server)["mem_alarm"], "no alarm")
    status = server.client.get("/readyz")
    assert (status.status, status.json["reasons"]) == (503, ["memory-short"])
    server.client.put("/v1/queues/h", {})
    answer = server.client.post("/v1/queues/h/messages", {"a": 1})
    assert answer.status == 503 and answer.headers["retry-after"], answer
    told = []
    publisher = connect(server, told)
    channel = publisher.channel()
    channel.basic_publish("", "q", b"late")
    wait(lambda: publisher.process_data_events(0.1) or told, "the publisher is not told")
    assert told == ["low on memory"]
    got = [0]

    def take():
        connection = connect(server)
        consumer = connection.channel()
        for method, _, body in consumer.consume("q", auto_ack=True, inactivity_timeout=60):
            got[0] += 1
            if method is None or body == b"late":
                break
        connection.close()
    taker = threading.Thread(target=take)
    taker.start()
    end = time.monotonic() + 60
    while "unblocked" not in told and time.monotonic() < end:
        publisher.process_data_events(0.2)
    assert told == ["low on memory", "unblocked"], (told, got, node(server)["mem_used"])
    taker.join(60)
    assert not taker.is_alive() and got[0] > 1000
    wait(lambda: not node(server)["mem_alarm"], "it does not end")
    assert server.client.post("/v1/queues/h/messages", {"a": 1}).status in (200, 201, 202)
