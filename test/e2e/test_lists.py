"""Lists of a queue's messages, page after page, while the queue changes."""
import pika
import pytest
from support.pika_queue import open_channel
from support.server import Server, free_port
from support.wait import until

MAIL = "/v1/queues/mail/messages"
FEW = 5000  # of more a page does not look at all: src/model/model.h


@pytest.fixture(name="server")
def make_server(tmp_path):
    server = Server(tmp_path / "lists")
    server.amqp = free_port()
    server.configure({"listeners": [*server.config["listeners"], {"host": "127.0.0.1", "port": server.amqp, "protocol": "amqp"}]})
    server.start()
    server.client.define("queues", "mail")
    yield server
    server.kill()


def page(client, size=3, token=None, query=""):
    reply = client.get(f"{MAIL}?page_size={size}{query}" + (f"&page_token={token}" if token else ""))
    assert reply.status == 200, reply
    return reply.json["messages"], reply.json.get("nextPageToken")


def rest(client, token, size=3):
    found = []
    while token:
        messages, token = page(client, size, token)
        found += [message["id"] for message in messages]
    return found


def test_what_comes_due_between_two_pages_is_shown(server):
    """The list is read as far as the first that is delayed; then all of them come due, and stand with those that were shown before."""
    client = server.client
    there = [client.publish("mail", {"n": n}, **({"delay": "2s"} if n % 2 else {})).json["receipt"] for n in range(20)]
    seen, token = [], ""
    while token is not None and not any(message["state"] == "delayed" for message in seen):
        messages, token = page(client, 3, token)
        seen += messages
    until(lambda: client.queue("mail")["stats"]["delayed"] == 0, 30, "all are due")
    found = [message["id"] for message in seen] + rest(client, token)
    assert sorted(found) == sorted(there), "each once"


@pytest.mark.parametrize("delay", ["0s", "1h"])
def test_no_page_begins_again(server, delay):
    """All that a page showed is deleted before the next one is asked for."""
    client = server.client
    there = [client.publish("mail", {"n": n}, delay=delay).json["receipt"] for n in range(12)]
    kept, token = page(client, 5)
    found = [message["id"] for message in kept]
    while token:
        messages, token = page(client, 3, token)
        found += [message["id"] for message in messages]
        for message in messages:
            assert client.delete(f"{MAIL}/{message['id']}").status == 204
    assert found == there


def test_a_token_outlives_a_restart_or_says_why_not(server):
    client = server.client
    there = [client.publish("mail", {"n": n}).json["receipt"] for n in range(9)]
    messages, token = page(client, 4)
    server.restart()
    assert [message["id"] for message in messages] + rest(client, token) == there
    channel = open_channel(server)
    for n in range(FEW):
        channel.basic_publish("", "mail", b"%d" % n, pika.BasicProperties(delivery_mode=2))
    until(lambda: client.queue("mail")["stats"]["ready"] == FEW + 9, 60, "all are there")
    messages, token = page(client, 1000)
    found = [message["id"] for message in messages] + rest(client, token, 1000)
    assert len(found) == len(set(found)) == FEW + 9 and set(there) <= set(found)
    channel.connection.close()
    server.restart()
    refused = client.get(f"{MAIL}?page_token={token}")
    assert refused.status == 400 and "begin with the first page" in refused.json["detail"], refused
