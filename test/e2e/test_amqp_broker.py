"""What AMQP clients rely on, each rule by a public client against the real program."""
import ssl
import subprocess
import time

import pika
import pytest
from pika.exceptions import (ChannelClosedByBroker, ConnectionClosedByBroker, NackError, ProbableAccessDeniedError,
                             ProbableAuthenticationError, UnroutableError)
from support.server import SLOW, Server, free_port


@pytest.fixture(name="server", scope="module")
def make_server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("broker"))
    server.amqp_port = free_port()
    server.configure({"listeners": [*server.config["listeners"],
                                    {"host": "127.0.0.1", "port": server.amqp_port, "protocol": "amqp"}]})
    server.start()
    yield server
    server.stop()


@pytest.fixture(name="connect")
def make_connect(server):
    opened = []

    def connect(**options):
        opened.append(pika.BlockingConnection(
            pika.ConnectionParameters("127.0.0.1", server.amqp_port, **options)))
        return opened[-1]
    yield connect
    for connection in opened:
        if connection.is_open:
            connection.close()


@pytest.fixture(name="channel")
def make_channel(connect):
    channel = connect().channel()
    channel.confirm_delivery()
    return channel


def queue(channel, **arguments):
    """A queue of this test's own, gone with its connection."""
    return channel.queue_declare("", exclusive=True, arguments={
        "x-" + name.replace("_", "-"): value for name, value in arguments.items()}).method.queue


def put(channel, name, body, **properties):
    channel.basic_publish("", name, body, pika.BasicProperties(**properties))


def get(channel, name, timeout=60):
    """The next message, acknowledged: (method, properties, body), or None."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        method, properties, body = channel.basic_get(name, auto_ack=True)
        if method is not None:
            return method, properties, body
        time.sleep(0.01)
    return None


def bodies(channel, name, count):
    return [get(channel, name)[2] for _ in range(count)]


def until(connections, condition, timeout=60):
    end = time.monotonic() + timeout
    while not condition() and time.monotonic() < end:
        for connection in connections:
            connection.process_data_events(0.01)
    assert condition()


def refused(code, call, *arguments, **options):
    with pytest.raises((ChannelClosedByBroker, ConnectionClosedByBroker)) as failure:
        call(*arguments, **options)
    assert failure.value.reply_code == code, failure.value
    return failure.value.reply_text


# ---- routing ----

def test_topic_and_exchange_to_exchange(channel):
    a, b, c = queue(channel), queue(channel), queue(channel)
    channel.exchange_declare("t.topic", "topic", auto_delete=True)
    channel.exchange_declare("t.fanout", "fanout", auto_delete=True)
    channel.queue_bind(a, "t.topic", "x.*.z")
    channel.queue_bind(b, "t.topic", "x.#")
    channel.exchange_bind("t.fanout", "t.topic", "#")
    channel.queue_bind(c, "t.fanout")
    channel.basic_publish("t.topic", "x.y.z", b"1", mandatory=True)
    assert [get(channel, name)[2] for name in (a, b, c)] == [b"1"] * 3


def test_headers_exchange(channel):
    every, some = queue(channel), queue(channel)
    channel.queue_bind(every, "amq.headers", arguments={"x-match": "all", "k": "v", "n": 1})
    channel.queue_bind(some, "amq.headers", arguments={"x-match": "any", "k": "v", "n": 1})
    channel.basic_publish("amq.headers", "", b"1", pika.BasicProperties(headers={"k": "v"}))
    channel.basic_publish("amq.headers", "", b"2", pika.BasicProperties(headers={"k": "v", "n": 1}))
    assert bodies(channel, some, 2) == [b"1", b"2"]
    assert bodies(channel, every, 1) == [b"2"]


def test_consistent_hash_and_alternate_exchange(channel):
    channel.exchange_declare("t.hash", "x-consistent-hash", auto_delete=True)
    names = [queue(channel) for _ in range(2)]
    for name in names:
        channel.queue_bind(name, "t.hash", "10")
    for number in range(100):
        channel.basic_publish("t.hash", "key%d" % number, b"x", mandatory=True)
    counts = [channel.queue_declare(name, passive=True).method.message_count for name in names]
    assert sum(counts) == 100 and min(counts) > 10
    other = queue(channel)
    channel.exchange_declare("t.lost", "fanout")
    channel.exchange_declare("t.main", "direct", arguments={"alternate-exchange": "t.lost"})
    channel.queue_bind(other, "t.lost")
    channel.basic_publish("t.main", "nobody", b"1", mandatory=True)
    assert bodies(channel, other, 1) == [b"1"]
    channel.exchange_delete("t.main")
    channel.exchange_delete("t.lost")


def test_cc_and_bcc(channel):
    a, b, c = queue(channel), queue(channel), queue(channel)
    put(channel, a, b"1", headers={"CC": [b], "BCC": [c]})
    for name in (a, b, c):
        headers = get(channel, name)[1].headers
        assert "CC" in headers and "BCC" not in headers


def test_a_refused_commit_gives_back_what_it_settled(connect):
    """Its connection goes on: what was acknowledged in vain must not stay held until that ends."""
    connection = connect()
    transaction, other = connection.channel(), connection.channel()
    other.confirm_delivery()
    name = queue(other)
    put(other, name, b"x")
    transaction.tx_select()
    transaction.basic_ack(transaction.basic_get(name)[0].delivery_tag)
    transaction.basic_publish("nowhere", name, b"y")
    with pytest.raises(ChannelClosedByBroker):
        transaction.tx_commit()
    method, _, body = get(other, name) or (None, None, None)
    assert body == b"x" and method.redelivered


def test_a_message_with_too_many_keys_goes_nowhere(channel):
    first, last = queue(channel), queue(channel)
    put(channel, first, b"1", headers={"CC": ["nobody"] * 200, "BCC": ["nobody"] * 55 + [last]})
    assert bodies(channel, last, 1) == [b"1"]
    with pytest.raises(ChannelClosedByBroker, match="406.*more than 256 keys"):
        put(channel, first, b"2", headers={"CC": ["nobody"] * 200, "BCC": ["nobody"] * 56 + [last]})
    other = channel.connection.channel()
    assert bodies(other, first, 1) == [b"1"]
    assert other.queue_declare(first, passive=True).method.message_count == 0


def test_unroutable_is_returned_and_confirmed(channel):
    with pytest.raises(UnroutableError):
        channel.basic_publish("", "nobody", b"x", mandatory=True)
    channel.basic_publish("", "nobody", b"x")


# ---- queues ----

def test_expired_message_dies_into_the_other_queue(channel):
    dead = queue(channel)
    name = queue(channel, dead_letter_exchange="", dead_letter_routing_key=dead, message_ttl=200)
    put(channel, name, b"x", expiration="50", headers={"mine": 1})
    _, properties, _ = get(channel, dead)
    death = properties.headers["x-death"][0]
    assert (death["reason"], death["queue"], death["count"]) == ("expired", name, 1)
    assert properties.expiration is None and properties.headers["mine"] == 1


def test_message_expires_behind_a_longer_lived_one(channel):
    dead = queue(channel)
    name = queue(channel, dead_letter_exchange="", dead_letter_routing_key=dead)
    put(channel, name, b"long", expiration="60000")
    put(channel, name, b"short", expiration="50")
    assert get(channel, dead)[2] == b"short"


def test_rejected_message_dies_with_its_history(channel):
    dead = queue(channel)
    name = queue(channel, dead_letter_exchange="", dead_letter_routing_key=dead)
    put(channel, name, b"x")
    method, _, _ = channel.basic_get(name)
    channel.basic_reject(method.delivery_tag, requeue=False)
    method, properties, _ = get(channel, dead)
    assert properties.headers["x-first-death-reason"] == "rejected" and method.routing_key == dead


def test_delivery_limit(channel):
    dead = queue(channel)
    name = "limited"
    channel.queue_declare(name, durable=True, arguments={
        "x-queue-type": "quorum", "x-delivery-limit": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    put(channel, name, b"x")
    for count in range(3):
        method, properties, _ = channel.basic_get(name)
        assert (properties.headers or {}).get("x-delivery-count", 0) == count and method.redelivered == (count > 0)
        channel.basic_nack(method.delivery_tag, requeue=True)
    assert get(channel, dead)[1].headers["x-death"][0]["reason"] == "delivery_limit"
    channel.queue_delete(name)


def test_length_limits(channel):
    name = queue(channel, max_length=1, overflow="reject-publish")
    put(channel, name, b"1")
    with pytest.raises(NackError):
        put(channel, name, b"2")
    dropping = queue(channel, max_length=2)
    for number in range(4):
        put(channel, dropping, b"%d" % number)
    assert bodies(channel, dropping, 2) == [b"2", b"3"]


def test_priority(channel):
    name = queue(channel, max_priority=10)
    for priority in (1, 5, 3, 5):
        put(channel, name, b"%d" % priority, priority=priority)
    assert bodies(channel, name, 4) == [b"5", b"5", b"3", b"1"]


def test_delay_on_any_queue(channel):
    name, together = queue(channel), channel.connection.channel()
    together.tx_select()  # both of the same moment, however long it takes to send them
    begun = time.monotonic()
    put(together, name, b"later", headers={"x-delay": 300})
    put(together, name, b"now")
    together.tx_commit()
    assert bodies(channel, name, 2) == [b"now", b"later"]
    assert time.monotonic() - begun > 0.28


def test_queue_expires(server, channel, connect):
    channel.queue_declare("short", arguments={"x-expires": 100})
    until([channel.connection], lambda: server.client.get("/v1/queues/short").status == 404)
    refused(404, connect().channel().queue_declare, "short", passive=True)


def test_deduplication(channel):
    name = queue(channel, deduplication="message-id")
    for _ in range(2):
        put(channel, name, b"x", message_id="once")
    assert channel.queue_declare(name, passive=True).method.message_count == 1


def test_pace_is_shared_by_all_consumers(channel, connect):
    name, got, begun = queue(channel, max_deliveries_per_second=20), [], time.monotonic()
    for _ in range(2):
        channel.basic_consume(name, lambda *_: got.append(b"x"), auto_ack=True)
    for _ in range(11):
        put(channel, name, b"x")
    until([channel.connection], lambda: len(got) == 11)
    assert time.monotonic() - begun > 0.45


def test_ordered_keys(channel):
    name = queue(channel, ordering_key="customer")
    for number, customer in enumerate("aab"):
        put(channel, name, b"%d" % number, headers={"customer": customer})
    first, second = channel.basic_get(name), channel.basic_get(name)
    assert (first[2], second[2]) == (b"0", b"2")
    assert channel.basic_get(name)[0] is None
    channel.basic_ack(first[0].delivery_tag)
    assert get(channel, name)[2] == b"1"


# ---- consumers ----

def test_prefetch(channel):
    name, got = queue(channel), []
    for number in range(10):
        put(channel, name, b"%d" % number)
    channel.basic_qos(prefetch_count=3)
    channel.basic_consume(name, lambda _c, method, _p, _b: got.append(method.delivery_tag))
    until([channel.connection], lambda: len(got) == 3)
    channel.connection.process_data_events(0.1)
    assert len(got) == 3
    channel.basic_ack(got[1], multiple=True)
    until([channel.connection], lambda: len(got) == 5)


def test_no_ack_in_order(channel):
    name, got = queue(channel), []
    for number in range(3000):
        put(channel, name, b"%d" % number)
    channel.basic_consume(name, lambda _c, _m, _p, body: got.append(int(body)), auto_ack=True)
    until([channel.connection], lambda: len(got) == 3000)
    assert got == list(range(3000))


def test_consumer_priority(channel):
    name, got = queue(channel), []
    channel.basic_consume(name, lambda *_: got.append("low"), auto_ack=True)
    channel.basic_consume(name, lambda *_: got.append("high"), auto_ack=True, arguments={"x-priority": 5})
    for _ in range(5):
        put(channel, name, b"x")
    until([channel.connection], lambda: len(got) == 5)
    assert got == ["high"] * 5


def test_cancel_is_told_when_the_queue_goes(channel, connect):
    cancelled = []
    channel.queue_declare("gone")
    channel.basic_consume("gone", lambda *_: None)
    channel.add_on_cancel_callback(cancelled.append)
    connect().channel().queue_delete("gone")
    until([channel.connection], lambda: len(cancelled) == 1)


def test_single_active_consumer(channel, connect):
    channel.queue_declare("sac", arguments={"x-single-active-consumer": True})
    first, second, got = connect(), connect(), []

    def consume(connection, label):
        own = connection.channel()
        own.basic_consume("sac", lambda _c, method, _p, body: (
            got.append((label, body)), own.basic_ack(method.delivery_tag)))
    consume(first, 1)
    consume(second, 2)
    for number in range(4):
        put(channel, "sac", b"%d" % number)
    until([first, second], lambda: len(got) == 4)
    first.close()
    put(channel, "sac", b"x")
    until([second], lambda: len(got) == 5)
    assert got == [(1, b"0"), (1, b"1"), (1, b"2"), (1, b"3"), (2, b"x")]
    channel.queue_delete("sac")


def test_unacknowledged_come_back_with_their_connection(channel, connect):
    channel.queue_declare("back")
    for number in range(3):
        put(channel, "back", b"%d" % number)
    other = connect()
    assert [other_get[2] for other_get in [other.channel().basic_get("back") for _ in range(3)]] == [b"0", b"1", b"2"]
    other.close()
    method, _, body = get(channel, "back")
    assert body == b"0" and method.redelivered
    channel.queue_delete("back")


def test_transaction(channel, connect):
    name = queue(channel)
    own = channel.connection.channel()
    own.tx_select()
    put(own, name, b"1")
    put(own, name, b"2")
    assert own.queue_declare(name, passive=True).method.message_count == 0
    own.tx_rollback()
    put(own, name, b"3")
    own.tx_commit()
    assert get(channel, name)[2] == b"3"
    assert channel.basic_get(name)[0] is None


def test_an_internal_exchange_is_not_published_to(channel, connect):
    channel.exchange_declare("t.internal", "fanout", internal=True)
    publishing = connect().channel()
    publishing.confirm_delivery()
    refused(403, publishing.basic_publish, "t.internal", "", b"x")
    channel.exchange_delete("t.internal")


# ---- direct replies ----

def test_direct_reply(channel, connect):
    answers, name = [], queue(channel)
    channel.basic_consume("amq.rabbitmq.reply-to", lambda _c, _m, properties, body: answers.append(
        (properties.correlation_id, body)), auto_ack=True)
    put(channel, name, b"6 * 7", reply_to="amq.rabbitmq.reply-to", correlation_id="1")
    _, properties, _ = get(channel, name)
    assert properties.reply_to.startswith("amq.rabbitmq.reply-to.")
    answering = connect().channel()
    answering.confirm_delivery()
    answering.basic_publish("", properties.reply_to, b"42", pika.BasicProperties(correlation_id="1"), mandatory=True)
    until([channel.connection], lambda: answers == [("1", b"42")])
    assert answering.queue_declare(properties.reply_to, passive=True).method.consumer_count == 1
    forged = properties.reply_to[:-1] + ("1" if properties.reply_to[-1] == "0" else "0")
    refused(404, connect().channel().queue_declare, forged, passive=True)
    channel.close()
    with pytest.raises(UnroutableError):
        answering.basic_publish("", properties.reply_to, b"42", mandatory=True)
    refused(404, answering.queue_declare, properties.reply_to, passive=True)


def test_direct_reply_needs_its_consumer(connect):
    channel = connect().channel()
    channel.confirm_delivery()
    refused(406, put, channel, "any", b"x", reply_to="amq.rabbitmq.reply-to")
    refused(406, connect().channel().basic_consume, "amq.rabbitmq.reply-to", lambda *_: None)


# ---- refusals ----

def test_close_codes(channel, connect):
    channel.queue_declare("codes", arguments={"x-max-priority": 10})
    locked = queue(channel)

    def again():
        return connect().channel()
    text = refused(406, again().queue_declare, "codes", arguments={"x-max-priority": 9})
    assert text == "PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue 'codes' in vhost '/'"
    refused(406, again().queue_declare, "bad", arguments={"x-message-ttl": -1})
    refused(405, again().queue_declare, locked, passive=True)
    refused(404, again().basic_consume, "nobody", lambda *_: None)
    refused(403, again().exchange_declare, "amq.mine", "direct")
    refused(503, again().exchange_declare, "bad", "nosuch")
    channel.basic_consume("codes", lambda *_: None, exclusive=True)
    refused(403, again().basic_consume, "codes", lambda *_: None)
    channel.queue_delete("codes")


def test_wrong_password_and_vhost(connect):
    with pytest.raises(ProbableAuthenticationError):
        connect(credentials=pika.PlainCredentials("guest", "wrong"))
    with pytest.raises(ProbableAccessDeniedError, match="530"):
        connect(virtual_host="nowhere")


# ---- bounds ----

def test_a_consumer_that_does_not_read_costs_little_and_holds_up_nobody(server, channel, connect):
    channel.queue_declare("slow")
    body = b"x" * 65536
    deaf = connect().channel()
    deaf.basic_consume("slow", lambda *_: None, auto_ack=True)
    before = server.resident_bytes()
    for _ in range(1500):
        put(channel, "slow", body)
    assert server.resident_bytes() - before < (48 << 20) * SLOW  # sanitizers keep what was freed
    name = queue(channel)
    put(channel, name, b"others")
    assert get(channel, name)[2] == b"others"
    channel.queue_delete("slow")


# ---- TLS ----

def test_tls(tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key),
                    "-out", str(certificate)], check=True, capture_output=True)
    port = free_port()
    server = Server(tmp_path / "tls")
    server.configure({"listeners": [*server.config["listeners"], {
        "host": "127.0.0.1", "port": port, "protocol": "amqp",
        "tls": {"certificate": str(certificate), "key": str(key)}}]})
    server.start()
    try:
        context = ssl.create_default_context(cafile=str(certificate))
        with pika.BlockingConnection(pika.ConnectionParameters(
                "127.0.0.1", port, ssl_options=pika.SSLOptions(context, "localhost"))) as connection:
            channel = connection.channel()
            name = queue(channel)
            channel.confirm_delivery()
            body = b"x" * 300000
            put(channel, name, body)
            assert get(channel, name)[2] == body
    finally:
        server.stop()


def test_dead_letters_are_routed_by_headers_after_a_kill(make_server):
    """What was published before the end is routed by its headers and keys after the start."""
    server = make_server()
    server.amqp_port = free_port()
    server.configure({"listeners": [*server.config["listeners"],
                                    {"host": "127.0.0.1", "port": server.amqp_port, "protocol": "amqp"}]})
    server.start()
    where = pika.ConnectionParameters("127.0.0.1", server.amqp_port)
    channel = pika.BlockingConnection(where).channel()
    channel.confirm_delivery()
    for name, arguments in (("grave", {}), ("copies", {}), ("first", {"x-dead-letter-exchange": "amq.headers"}),
                            ("second", {"x-dead-letter-exchange": "amq.direct"})):
        channel.queue_declare(name, durable=True, arguments=arguments)
    channel.queue_bind("grave", "amq.headers", "", {"x-match": "all", "kind": "bill"})
    channel.queue_bind("copies", "amq.direct", "other")
    for name in ("first", "second"):
        for kind in ("note", "bill"):
            put(channel, name, kind.encode(), delivery_mode=2, headers={"kind": kind, "CC": ["other"] * (kind == "bill")})
    server.kill()
    server.start()
    channel = pika.BlockingConnection(where).channel()
    for name in ("first", "second"):
        for _ in range(2):
            channel.basic_reject(channel.basic_get(name)[0].delivery_tag, requeue=False)
    assert get(channel, "grave")[2] == b"bill" and get(channel, "copies")[2] == b"bill"
    assert get(channel, "grave", timeout=0.1) is None and get(channel, "copies", timeout=0.1) is None
    server.stop()
