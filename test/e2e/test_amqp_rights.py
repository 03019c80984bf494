"""Users made over the management API: who gets in, what they may do, and that a change reaches open connections."""
import base64
import json
import time
import urllib.request

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, ProbableAccessDeniedError, ProbableAuthenticationError
from support.server import Server, free_port


class Broker(Server):
    def __init__(self, folder):
        super().__init__(folder)
        self.amqp_port = free_port()
        self.configure({"listeners": [*self.config["listeners"],
                                      {"host": "127.0.0.1", "port": self.amqp_port, "protocol": "amqp"}]})

    def put(self, path, **fields):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{path}", json.dumps(fields).encode(), method="PUT",
            headers={"Authorization": "Basic " + base64.b64encode(b"guest:guest").decode()})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status in (201, 204)

    def connect(self, user="ann", password="secret"):
        return pika.BlockingConnection(pika.ConnectionParameters(
            "127.0.0.1", self.amqp_port, credentials=pika.PlainCredentials(user, password)))


@pytest.fixture(name="broker", scope="module")
def make_broker(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("rights"))
    broker.start()
    broker.put("users/ann", password="secret", tags="")
    yield broker
    broker.stop()


def refused(connection, call):
    channel = connection.channel()
    channel.confirm_delivery()
    with pytest.raises(ChannelClosedByBroker) as failure:
        call(channel)
    assert failure.value.reply_code == 403, failure.value
    return failure.value.reply_text


def test_who_gets_in(broker):
    with pytest.raises(ProbableAuthenticationError):
        broker.connect(password="wrong")
    broker.put("users/idle", password="secret", tags="")
    with pytest.raises(ProbableAccessDeniedError, match="530"):
        broker.connect("idle")


def test_patterns_and_their_change(broker):
    broker.put("permissions/%2F/ann", configure="^own\\.", write="^(own\\.|amq\\.default$)", read="^own\\.")
    with broker.connect() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("own.q")
        channel.basic_publish("", "own.q", b"x")
        assert channel.basic_get("own.q", auto_ack=True)[2] == b"x"
        text = refused(connection, lambda c: c.queue_declare("other"))
        assert text == "ACCESS_REFUSED - access to queue 'other' in vhost '/' refused for user 'ann'"
        refused(connection, lambda c: c.basic_publish("amq.fanout", "", b"x"))
        refused(connection, lambda c: c.queue_bind("own.q", "amq.fanout"))
        broker.put("permissions/%2F/ann", configure="", write="", read="^own\\.")
        time.sleep(0.1)
        refused(connection, lambda c: c.basic_publish("", "own.q", b"x"))
        refused(connection, lambda c: c.queue_delete("own.q"))
        assert connection.channel().queue_declare("own.q", passive=True).method.message_count == 0
