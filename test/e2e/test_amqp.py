"""AMQP clients in front of the real program: what was confirmed is there after kill -9."""
import json
import re
import urllib.request

import pika
import pytest
from pika import frame, spec
from support.amqp_peer import Peer
from support.server import Server, free_port, run


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


SAMPLE = re.compile(r'[a-z_]+(\{(,?[a-z]+="([^"\\\n]|\\["n\\])*")+\})? [0-9.e+-]+\n')


def test_a_queue_of_any_name_leaves_the_metrics_readable(amqp_server):
    names = ["sound", 'a"} 1\nsluice_accepted_total 17\n#', "back\\slash", "two\nlines", "grün", "\x01"]
    with Peer(amqp_server.amqp_port) as peer:
        peer.open()
        for name in names:
            peer.declare(name)
        broken = frame.Method(1, spec.Queue.Declare(queue="zz")).marshal().replace(b"zz", b"\xff\xfe")
        peer.raw(broken)
        peer.expect(spec.Queue.DeclareOk)
    text = amqp_server.client.get("/metrics").body.decode()  # a scraper refuses a page that is not UTF-8
    for line in text.split("\n")[:-1]:
        assert line.startswith("# ") or SAMPLE.fullmatch(line + "\n"), line
    shown = re.findall(r'sluice_queue_bytes\{queue="(.*)"\} 0', text)
    assert [name.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\") for name in shown] == names + ["\ufffd" * 2]


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


def test_waiting_messages_are_looked_at_and_changed(amqp_server, tmp_path):
    """Browse, search, edit and move of what AMQP clients published, over HTTP and the command line: nothing is consumed, the order
    and the properties stay, and a consumer gets what was made of them."""
    client, url = amqp_server.client, f"http://127.0.0.1:{amqp_server.client.port}"

    def cli(*words):
        done = run("--url", url, "queue", *words)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout
    with Peer(amqp_server.amqp_port) as peer:
        peer.open().confirming()
        for name in ("orders", "later"):
            peer.queue(name, exclusive=False, durable=True)
        for number in range(6):
            peer.sure("orders", b'{"order": %d}' % number, headers={"customer": "ann" if number % 2 else "bob"},
                      correlation_id=f"c{number}", priority=0, delivery_mode=2, content_type="application/json")
        listed = client.get("/v1/queues/orders/messages").json["messages"]
        ids = [message["id"] for message in listed]
        whole = json.loads(cli("message", "orders", ids[2]))
        assert (len(ids), whole["body"]) == (6, {"order": 2}) and all(each in cli("messages", "orders") for each in ids)
        found = client.get("/v1/queues/orders/messages?filter=ready&pointer=/order&equals=3").json["messages"]
        assert [message["id"] for message in found] == [ids[3]]
        assert ids[4] in (hits := cli("search", "orders", "--contains", '"order": 4')) and ids[3] not in hits
        assert peer.count("orders") == 6
        # edited by HTTP and by the command line, moved by both, and many by what they say
        path = f"/v1/queues/orders/messages/{ids[0]}"
        seen = client.get(path + "?view=full").json["etag"]
        edit = urllib.request.Request(url + path, b'{"order": "mended"}', {"If-Match": seen, "Content-Type": ""}, method="PUT")
        urllib.request.urlopen(edit, timeout=60).close()  # no type: what AMQP said of it stays
        (tmp_path / "body").write_bytes(b'{"order": "mended, too"}')
        cli("edit", "orders", ids[5], str(tmp_path / "body"))
        assert client.post(f"/v1/queues/orders/messages/{ids[1]}:move", {"to": "later"}).status == 200
        cli("move", "orders", "later", ids[3])
        cli("move", "orders", "later", "--state", "ready", "--contains", '"order": 4')
        left, moved = ([peer.get(name) for _ in range(3)] for name in ("orders", "later"))
    assert [(json.loads(body)["order"], p.correlation_id, p.headers["customer"]) for _, p, body in left] == [
        ("mended", "c0", "bob"), (2, "c2", "bob"), ("mended, too", "c5", "ann")]
    assert [(json.loads(body)["order"], p.correlation_id, p.headers["customer"]) for _, p, body in moved] == [
        (1, "c1", "ann"), (3, "c3", "ann"), (4, "c4", "bob")]
