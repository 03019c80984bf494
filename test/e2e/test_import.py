"""`sluice import rabbitmq`: definitions and messages of a real RabbitMQ, with kill -9 of each in the middle of it."""
import datetime
import json
import random
import ssl
import subprocess
import time
import urllib.request

import pika
import pytest
from support import pika_queue
from support.certificates import Authority
from support.rabbit import PROGRAM, Rabbit
from support.server import BINARY, Server, free_port, run
from support.wait import until

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="rabbitmq-server is not installed: nothing to import from")
MANY = 12000


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory):
    rabbit = Rabbit(tmp_path_factory.mktemp("rabbit"))
    try:
        yield rabbit.start()
    finally:
        rabbit.stop()


@pytest.fixture
def sluice(tmp_path):
    server = Server(tmp_path / "sluice")
    server.amqp = free_port()
    server.config["listeners"].append({"host": "127.0.0.1", "port": server.amqp, "protocol": "amqp"})
    server.configure({})
    server.start()
    yield server
    server.kill()


def connect(port, vhost="/"):
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, vhost, socket_timeout=60))


def command(rabbit, sluice, *arguments, vhost=""):
    return ["--url", f"http://127.0.0.1:{sluice.port}", "import", "--to", f"amqp://guest:guest@127.0.0.1:{sluice.amqp}",
            "--management", f"http://127.0.0.1:{rabbit.port}", *arguments, "rabbitmq",
            f"amqp://guest:guest@127.0.0.1:{rabbit.amqp_port}{vhost}"]


def rows(text):
    """Of the table: queue -> (moved, again, unsure, left)."""
    table = text[text.index("VHOST"):text.index(" messages moved")].splitlines()[1:-1]
    cells = [line.split() for line in table]
    return {(cell[0], cell[1]): tuple(cell[2:6]) for cell in cells}


def drain(port, queue, vhost="/"):
    """All that stands in a queue, in order, gone afterwards."""
    connection = connect(port, vhost)
    found = pika_queue.drain(connection, queue)
    connection.close()
    return found


def shown(message):
    method, properties, body = message
    return (method.exchange, method.routing_key, {k: v for k, v in vars(properties).items()}, body)


def publish_all_kinds(channel):
    headers = {"text": "ä", "number": 7, "big": 2**40, "yes": True, "none": None, "bytes": b"\x00\xff",
               "table": {"deep": {"er": [1, "two", {"three": 3}]}}, "time": datetime.datetime(2026, 1, 2, 3, 4, 5), "x-delay": 5000}
    for number in range(20):
        channel.basic_publish("events", f"a.{number}", b"body %d" % number, pika.BasicProperties(
            content_type="text/plain", content_encoding="identity", headers={**headers, "n": number}, delivery_mode=2,
            priority=number % 10, correlation_id=f"c{number}", reply_to="answers", expiration=str(600000 + number),
            message_id=f"m{number}", timestamp=1700000000 + number, type="kind", user_id="guest", app_id="app"))
    channel.basic_publish("", "plain", b"")  # without any property
    channel.basic_publish("", "plain", bytes(range(256)) * 4096, pika.BasicProperties(delivery_mode=1))
    channel.basic_publish("events", "dead.letter", b"unwanted", pika.BasicProperties(headers={"kept": 1}))
    method = None
    while method is None:
        method, _, _ = channel.basic_get("refusing")
    channel.basic_nack(method.delivery_tag, requeue=False)
    wait_for(channel, dead=1)


def wait_for(channel, **counts):
    """Until queues that nobody uses have so many: there dead letters are on their way for a while, and what is given back too."""
    for queue, count in counts.items():
        until(lambda: channel.queue_declare(queue, passive=True).method.message_count == count, what=f"{count} in {queue}")


def test_all_of_it_moves(rabbit, sluice):
    rabbit.manage("PUT", "vhosts/shop", {})
    rabbit.manage("PUT", "permissions/shop/guest", {"configure": ".*", "write": ".*", "read": ".*"})
    rabbit.manage("PUT", "policies/shop/cap", {"pattern": "^(?!amq)", "definition": {"max-length": 1000, "ha-mode": "all"},
                                               "apply-to": "queues"})
    connection = connect(rabbit.amqp_port, "shop")
    channel = connection.channel()
    channel.confirm_delivery()
    channel.exchange_declare("events", "topic", durable=True)
    for queue, key, arguments in (("ranked", "a.*", {"x-max-priority": 9}), ("quorum", "a.1", {"x-queue-type": "quorum"}),
                                  ("refusing", "dead.#", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}),
                                  ("dead", None, {}), ("plain", None, {}), ("empty", None, {})):
        channel.queue_declare(queue, durable=True, arguments=arguments)
        if key:
            channel.queue_bind(queue, "events", key)
    publish_all_kinds(channel)
    looked_at = {queue: [] for queue in ("ranked", "quorum", "dead", "plain")}
    for queue, seen in looked_at.items():
        while True:
            found = channel.basic_get(queue)
            if found[0] is None:
                break
            seen.append(found)
    connection.close()  # all of it goes back
    wait_for(connect(rabbit.amqp_port, "shop").channel(), **{queue: len(seen) for queue, seen in looked_at.items()})
    done = run(*command(rabbit, sluice, vhost="/shop"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ha-mode is kept, but has no effect here" in done.stdout
    table = rows(done.stdout)
    assert {queue: cells[0] for (_, queue), cells in table.items()} == {
        "ranked": "20", "quorum": "1", "dead": "1", "plain": "2", "refusing": "0", "empty": "0"}
    assert all(cells[3] == "0" for cells in table.values())
    for queue, seen in looked_at.items():
        assert drain(rabbit.amqp_port, queue, "shop") == []
        here = drain(sluice.amqp, queue, "shop")
        assert [shown(m)[:2] + shown(m)[3:] for m in here] == [shown(m)[:2] + shown(m)[3:] for m in seen], queue
        for ours, theirs in zip(here, seen):
            a, b = dict(vars(ours[1])), dict(vars(theirs[1]))
            for properties in (a, b):  # how often it was handed out is each broker's own
                properties["headers"] = {k: v for k, v in (properties["headers"] or {}).items() if k != "x-delivery-count"} or None
            assert a == b, queue
    death = looked_at["dead"][0][1].headers["x-death"][0]
    assert (death["queue"], death["reason"]) == ("refusing", "rejected")
    again = run(*command(rabbit, sluice, vhost="/shop"))
    assert again.returncode == 0 and {cells[0] for cells in rows(again.stdout).values()} == {"0"}
    rabbit.manage("DELETE", "vhosts/shop")


def test_a_death_here_comes_before_those_there(rabbit, sluice):
    theirs = connect(rabbit.amqp_port).channel()
    theirs.queue_declare("graves", durable=True)
    theirs.queue_declare("first", durable=True, arguments={"x-message-ttl": 1, "x-dead-letter-exchange": "",
                                                          "x-dead-letter-routing-key": "second"})
    theirs.queue_declare("second", durable=True, arguments={"x-dead-letter-exchange": "",
                                                           "x-dead-letter-routing-key": "graves"})
    theirs.basic_publish("", "first", b"x")
    wait_for(theirs, second=1)
    assert run(*command(rabbit, sluice, "--queue", "graves", "--queue", "second")).returncode == 0
    ours = connect(sluice.amqp).channel()
    method, properties, _ = ours.basic_get("second")
    assert [(d["queue"], d["reason"]) for d in properties.headers["x-death"]] == [("first", "expired")]
    ours.basic_nack(method.delivery_tag, requeue=False)
    wait_for(ours, graves=1)
    _, properties, _ = ours.basic_get("graves")
    assert [(d["queue"], d["reason"]) for d in properties.headers["x-death"]] == [("second", "rejected"), ("first", "expired")]


def test_from_a_file_and_by_name(rabbit, sluice, tmp_path):
    theirs = connect(rabbit.amqp_port).channel()
    theirs.queue_declare("named", durable=True)
    theirs.basic_publish("", "named", b"1")
    file = tmp_path / "definitions.json"
    file.write_text(json.dumps(rabbit.manage("GET", "definitions")))
    uri, to = f"amqp://guest:guest@127.0.0.1:{rabbit.amqp_port}", ["--to", f"amqp://guest:guest@127.0.0.1:{sluice.amqp}"]
    url = ["--url", f"http://127.0.0.1:{sluice.port}", "import"]
    gone = run(*url, *to, "--queue", "named", "rabbitmq", uri)  # it is not there yet: nothing is taken away
    assert gone.returncode == 1 and "does not exist there" in gone.stdout, gone
    assert theirs.queue_declare("named", passive=True).method.message_count == 1
    assert run(*url, *to, "--definitions", str(file), "--queue", "named", "rabbitmq", uri).returncode == 0
    assert [body for _, _, body in drain(sluice.amqp, "named")] == [b"1"]
    assert run(*url, "rabbitmq", uri).returncode == 2
    nobody = run(*url, *to, "--queue", "named", "rabbitmq", "amqp://guest:wrong@127.0.0.1:" + str(rabbit.amqp_port))
    assert nobody.returncode == 1 and "logging in" in nobody.stderr + nobody.stdout


def test_over_tls(make_server, tmp_path):
    """Both sides by amqps; without the authority neither is believed. What moves is taken from a server of this kind."""
    authority = Authority(tmp_path / "certificates")
    certificate, key = authority.sign("server")
    tls, ports, servers = {"certificate": str(certificate), "key": str(key)}, [], []
    for name in ("old", "new"):
        servers.append(make_server(name=name))
        ports.append(free_port())
        servers[-1].configure({"listeners": [*servers[-1].config["listeners"],
                                             {"host": "127.0.0.1", "port": ports[-1], "protocol": "amqp", "tls": tls}]})
        servers[-1].start()
    context = ssl.create_default_context(cafile=str(authority.certificate))
    theirs, ours = (pika.ConnectionParameters("localhost", port, ssl_options=pika.SSLOptions(context, "localhost")) for port in ports)
    channel = pika.BlockingConnection(theirs).channel()
    channel.confirm_delivery()
    channel.queue_declare("secret", durable=True)
    for number in range(100):
        channel.basic_publish("", "secret", b"%d" % number, pika.BasicProperties(delivery_mode=2))
    arguments = ["--url", f"http://127.0.0.1:{servers[1].port}", "import", "--to", f"amqps://guest:guest@localhost:{ports[1]}",
                 "--management", f"http://127.0.0.1:{servers[0].port}"]
    source = ["rabbitmq", f"amqps://guest:guest@localhost:{ports[0]}"]
    refused = run(*arguments, *source)
    assert refused.returncode == 1, refused
    assert channel.queue_declare("secret", passive=True).method.message_count == 100
    done = run(*arguments, "--ca", str(authority.certificate), *source)
    assert done.returncode == 0, done
    moved = pika.BlockingConnection(ours)
    assert [body for _, _, body in pika_queue.drain(moved, "secret")] == [b"%d" % number for number in range(100)]
    assert channel.queue_declare("secret", passive=True).method.message_count == 0


def test_only_administrators_import(sluice):
    """The header says where a message comes from: whoever may forge that may forge who published it."""
    for name, tags in (("ann", "administrator"), ("bob", "management,policymaker")):
        for path, body in ((f"users/{name}", {"password": "p", "tags": tags}),
                           (f"permissions/%2F/{name}", {"configure": ".*", "write": ".*", "read": ".*"})):
            request = urllib.request.Request(f"http://127.0.0.1:{sluice.port}/api/{path}", method="PUT",
                                             data=json.dumps(body).encode())
            urllib.request.urlopen(request, timeout=60).close()
    for name, may in (("ann", True), ("bob", False)):
        channel = pika.BlockingConnection(pika.ConnectionParameters(
            "127.0.0.1", sluice.amqp, credentials=pika.PlainCredentials(name, "p"))).channel()
        channel.confirm_delivery()
        channel.queue_declare("q", durable=True)
        properties = pika.BasicProperties(user_id="someone", headers={"x-sluice-import": {
            "exchange": "where it was", "routing-key": "k", "id": "1", "again": True}})
        if may:
            for _ in range(3):
                channel.basic_publish("", "q", b"x", properties)
            method, got, _ = channel.basic_get("q")
            assert (method.exchange, method.routing_key, got.headers, got.user_id) == ("where it was", "k", None, "someone")
            assert channel.basic_get("q")[0] is None  # the id was known
        else:
            with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
                channel.basic_publish("", "q", b"x", properties)
            assert refused.value.reply_code == 403


def fill(port):
    connection = connect(port)
    channel = connection.channel()
    channel.queue_declare("with-ids", durable=True)
    channel.queue_declare("without", durable=True)
    channel.tx_select()
    for number in range(MANY):
        channel.basic_publish("", "with-ids", b"%d" % number, pika.BasicProperties(delivery_mode=2, message_id=f"id-{number}"))
        if number < MANY // 4:
            channel.basic_publish("", "without", b"%d" % number, pika.BasicProperties(delivery_mode=2))
        if number % 1000 == 999:
            channel.tx_commit()
    channel.tx_commit()
    connection.close()


def moved(sluice):
    """So many are here."""
    queues = sluice.client.get("/v1/queues").json["queues"]
    return sum(queue["stats"]["ready"] for queue in queues if queue["name"] in ("with-ids", "without"))


def test_kill_each_in_the_middle(rabbit, sluice):
    """Nothing lost, the order kept; with a message-id nothing twice, without one at most a window for each kill."""
    fill(rabbit.amqp_port)
    dice = random.Random(7)
    kills = 0
    for victim in ("import", "sluice", "rabbit", "import", "sluice", "import", "import", None):
        before = moved(sluice)
        process = subprocess.Popen([BINARY, *command(rabbit, sluice, "--queue", "with-ids", "--queue", "without")],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if victim is None:
            output = process.communicate(timeout=300)[0]
            break
        some = dice.randrange(1, MANY // 16)
        until(lambda: moved(sluice) >= before + some or process.poll() is not None, what="some of it")
        kills += process.poll() is None
        {"import": process.kill, "sluice": sluice.kill, "rabbit": rabbit.kill}[victim]()
        process.communicate(timeout=300)
        if victim == "sluice":
            sluice.start()
        if victim == "rabbit":
            rabbit.start()
    assert process.returncode == 0, output
    assert kills >= 4, "the kills came too late to hurt"
    assert {cells[3] for cells in rows(output).values()} == {"0"}
    with_ids = [int(body) for _, _, body in drain(sluice.amqp, "with-ids")]
    assert with_ids == list(range(MANY)), (len(with_ids), len(set(with_ids)))
    without = [int(body) for _, _, body in drain(sluice.amqp, "without")]
    assert sorted(set(without)) == list(range(MANY // 4))
    assert len(without) - len(set(without)) <= kills * 256
    first_seen = list(dict.fromkeys(without))
    assert first_seen == sorted(first_seen)
