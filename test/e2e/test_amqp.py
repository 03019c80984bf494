"""AMQP clients in front of the real program: what was confirmed is there after kill -9."""
import pika
import pytest
from support.server import Server, free_port


@pytest.fixture
def amqp_server(tmp_path):
    port = free_port()
    server = Server(tmp_path / "amqp")
    server.configure({"listeners": [*server.config["listeners"],
                                    {"host": "127.0.0.1", "port": port, "protocol": "amqp"}]})
    server.amqp_port = port
    server.start()
    yield server
    server.stop()


def connect(server):
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.amqp_port))


def test_declare_publish_purge_delete(amqp_server):
    with connect(amqp_server) as connection:
        channel = connection.channel()
        assert channel.queue_declare("mail", durable=True).method.message_count == 0
        channel.confirm_delivery()
        for number in range(20):
            channel.basic_publish("", "mail", b"%d" % number)
        with pytest.raises(pika.exceptions.UnroutableError):
            channel.basic_publish("", "nobody", b"x", mandatory=True)
        assert amqp_server.client.queue("mail")["stats"]["ready"] == 20
        assert channel.queue_declare("mail", passive=True).method.message_count == 20
        assert channel.queue_purge("mail").method.message_count == 20
        channel.queue_delete("mail")
        channel.queue_delete("mail")
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no queue 'mail' in vhost '/'"):
            channel.queue_declare("mail", passive=True)


def test_what_was_confirmed_survives_a_kill(amqp_server):
    connection = connect(amqp_server)
    channel = connection.channel()
    channel.queue_declare("mail", durable=True)
    channel.confirm_delivery()
    for number in range(200):
        channel.basic_publish("", "mail", b"%d" % number)
    amqp_server.kill()
    amqp_server.start()
    with connect(amqp_server) as again:
        assert again.channel().queue_declare("mail", passive=True).method.message_count == 200


def test_an_id_is_taken_once_also_within_a_transaction(amqp_server):
    with connect(amqp_server) as connection:
        channel = connection.channel()
        channel.queue_declare("once", durable=True, arguments={"x-deduplication": "message-id"})
        channel.tx_select()
        for message_id in ("a", "b", "a", "b", "a"):
            channel.basic_publish("", "once", b"x", pika.BasicProperties(message_id=message_id))
        channel.tx_commit()
        assert channel.queue_declare("once", passive=True).method.message_count == 2
