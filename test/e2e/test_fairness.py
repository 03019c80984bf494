"""Tenants take turns, with the real program: on the way to a provider and to a consumer, and after kill -9."""
import pika

from support.server import free_port
from support.wait import until


def publish(client, tenant, n):
    reply = client.post("/v1/queues/jobs/messages", {"tenant": tenant, "n": n}, **{"Sluice-Forward-X-Tenant": tenant})
    assert reply.status == 202, reply


def test_a_small_tenant_does_not_wait_for_a_large_one(make_server, make_provider):
    provider = make_provider()
    server = make_server().start()
    client = server.client
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True,
                  rateLimits={"maxConcurrentDispatches": 1})
    client.define("queues", "jobs", destination="far", paused=True,
                  fairness={"header": "X-Tenant", "weights": [{"tenant": "gold", "weight": 3}]})
    for n in range(200):
        publish(client, "large", n)
    for n in range(9):
        publish(client, "gold", n)
    for n in range(3):
        publish(client, "small", n)
    assert client.get("/v1/queues/jobs").json["stats"]["tenants"] == 3
    server.kill()
    server.start()
    client.post("/v1/queues/jobs:resume")
    until(lambda: len(provider.seen) >= 20, 20, "twenty messages")
    first = [seen.json["tenant"] for seen in provider.seen[:15]]
    assert first == ["large", "gold", "gold", "gold", "small"] * 3, first
    for tenant in ("gold", "small"):
        numbers = [seen.json["n"] for seen in provider.seen if seen.json["tenant"] == tenant]
        assert numbers == sorted(numbers)
    assert client.put("/v1/queues/bad", {"fairness": {"weights": [{"tenant": "a", "weight": 0}]}}).status == 400


def test_consumers_get_tenants_in_turn(make_server):
    port = free_port()
    server = make_server()
    server.configure({"listeners": [{"host": "127.0.0.1", "port": server.port},
                                    {"host": "127.0.0.1", "port": port, "protocol": "amqp"}]})
    server.start()
    server.client.define("queues", "jobs", fairness={"header": "tenant"})
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
    channel = connection.channel()
    channel.confirm_delivery()
    for tenant, count in (("large", 50), ("small", 3)):
        for _ in range(count):
            channel.basic_publish("", "jobs", tenant.encode(), pika.BasicProperties(headers={"tenant": tenant}))
    got = [channel.basic_get("jobs", auto_ack=True)[2] for _ in range(6)]
    connection.close()
    assert got == [b"large", b"small"] * 3, got
