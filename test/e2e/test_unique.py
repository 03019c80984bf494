"""Unique messages with the real program: both answers, every way in, and a ledger over kill -9."""
import http.client
import threading
import time

import pika

from support.wait import until

KEYS = 40


def offer(client, queue, key, body=None, **headers):
    return client.post(f"/v1/queues/{queue}/messages", body or {"n": 1}, **{"Sluice-Unique-Key": key}, **headers)


def test_the_first_counts(client):
    client.define("queues", "soft", unique={"by": "key", "window": "1h"})
    client.define("queues", "hard", unique={"by": "key", "window": "1h", "onDuplicate": "refuse"})
    first, again = offer(client, "soft", "a"), offer(client, "soft", "a", {"n": 2})
    assert first.status == 202 and "duplicate" not in first.json, first
    assert again.status == 200 and again.json["duplicate"] is True, again
    assert again.json["receipt"] == first.json["receipt"] == again.headers["Location"].rsplit("/", 1)[-1]
    first, again = offer(client, "hard", "a"), offer(client, "hard", "a")
    assert (again.status, again.problem) == (409, "already-claimed"), again
    assert again.json["receipt"] == first.json["receipt"]
    shown = client.get("/v1/queues/soft").json
    assert shown["unique"] == {"by": "key", "header": "", "window": "3600s", "until": "window", "onDuplicate": "receipt"}
    assert shown["stats"]["ready"] == 1
    client.define("queues", "plain")
    assert offer(client, "plain", "a").status == 400
    assert client.put("/v1/queues/bad", {"unique": {"window": "1h"}}).status == 400
    assert client.put("/v1/queues/bad", {"unique": {"by": "key", "header": "a b"}}).status == 400


def test_an_idempotency_key_and_a_unique_key_agree(client):
    client.define("queues", "q", unique={"by": "key"})
    first = offer(client, "q", "a", **{"Idempotency-Key": '"one"'})
    other = offer(client, "q", "a", **{"Idempotency-Key": '"two"'})
    replay = offer(client, "q", "a", **{"Idempotency-Key": '"two"'})
    assert (first.status, other.status) == (202, 200)
    assert replay.headers["Idempotency-Replayed"] == "true" and replay.json["receipt"] == first.json["receipt"]


def test_a_key_stands_until_its_message_is_delivered(client, make_provider):
    gate = threading.Event()

    def answer(seen, times):
        gate.wait(60)
        return 200

    provider = make_provider(answer=answer)
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True)
    client.define("queues", "q", destination="far", unique={"by": "key", "header": "X-Order", "until": "delivered"})
    header = {"Sluice-Forward-X-Order": "17"}
    first = client.post("/v1/queues/q/messages", {}, **header)
    until(lambda: len(provider.seen) == 1, 10, "the attempt")
    assert client.post("/v1/queues/q/messages", {}, **header).json["receipt"] == first.json["receipt"]
    gate.set()
    until(lambda: client.post("/v1/queues/q/messages", {}, **header).status == 202, 10, "the key to be free")
    until(lambda: len(provider.seen) == 2, 10, "the second message")


def test_a_transaction_is_refused_as_a_whole(client):
    client.define("queues", "q", unique={"by": "key"})
    client.define("stocks", "units", total=5)
    body = {"operations": [{"reserve": {"stock": "units"}},
                           {"enqueue": {"queue": "q", "body": {}, "uniqueKey": "a"}}]}
    assert client.post("/v1/transactions", body).status == 202
    again = client.post("/v1/transactions", body)
    assert (again.status, again.problem) == (409, "already-claimed"), again
    assert client.get("/v1/stocks/units").json["stats"]["used"] == 1


def test_amqp_and_http_share_the_keys(make_server):
    from support.server import free_port
    port = free_port()
    server = make_server({"listeners": [{"host": "127.0.0.1", "port": free_port()}]})
    server.configure({"listeners": [{"host": "127.0.0.1", "port": server.port},
                                    {"host": "127.0.0.1", "port": port, "protocol": "amqp"}]})
    server.start()
    server.client.define("queues", "q", unique={"by": "key"})
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
    channel = connection.channel()
    channel.confirm_delivery()
    properties = pika.BasicProperties(headers={"x-deduplication-id": "a"})
    for _ in range(2):
        channel.basic_publish("", "q", b"x", properties, mandatory=True)
    connection.close()
    assert offer(server.client, "q", "a").status == 200
    assert server.client.get("/v1/queues/q").json["stats"]["ready"] == 1


def test_one_message_per_key_over_kills(make_server):
    """Whatever was answered for a key, and however often it was asked over kills, there is one message of it."""
    server = make_server({"log": {"snapshotEveryBytes": 1 << 20}}).start()
    for kind in ("window", "delivered"):
        server.client.define("queues", kind, unique={"by": "key", "until": kind})
    ledger, fault, stopped = {}, [], threading.Event()

    def caller(number):
        turn = number
        while not stopped.is_set() and not fault:
            turn += 1
            name = ("window", "delivered")[turn % 2], f"k{turn * 7 % KEYS}"
            try:
                reply = offer(server.client, *name, {"pad": "x" * 2000})
                if reply.status not in (200, 202):
                    fault.append(reply)
                elif ledger.setdefault(name, reply.json["receipt"]) != reply.json["receipt"]:
                    fault.append((name, ledger[name], reply))
            except (OSError, http.client.HTTPException):
                server.client.close()
                time.sleep(0.01)

    callers = [threading.Thread(target=caller, args=(n,)) for n in range(4)]
    for thread in callers:
        thread.start()
    kills = 0
    while kills < 8 or (len(ledger) < KEYS and kills < 80 and not fault):
        time.sleep(0.6)
        server.kill()
        server.start()
        kills += 1
    stopped.set()
    for thread in callers:
        thread.join()
    assert not fault, fault
    assert len(ledger) == KEYS, (kills, len(ledger))
    for kind in ("window", "delivered"):
        shown = server.client.get(f"/v1/queues/{kind}/messages?page_size=1000").json["messages"]
        assert sorted(m["id"] for m in shown) == sorted(r for (queue, _), r in ledger.items() if queue == kind)
