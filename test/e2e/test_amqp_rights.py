"""Users made over the management API: who gets in, what they may do, and that a change reaches open connections."""
import base64
import json
import ssl
import urllib.parse
import urllib.request

import pika
import pytest
from pika import spec
from pika.exceptions import ChannelClosedByBroker, ProbableAccessDeniedError, ProbableAuthenticationError
from support.amqp_peer import Peer
from support.certificates import Authority
from support.server import Server, free_port
from support.tokens import Tokens
from support.wait import until


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
        with urllib.request.urlopen(request, timeout=60) as answer:
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


def refused(connection, call, confirms=True):
    channel = connection.channel()
    if confirms:
        channel.confirm_delivery()
    with pytest.raises(ChannelClosedByBroker) as failure:
        call(channel)
    assert failure.value.reply_code == 403, failure.value
    return failure.value.reply_text


def in_a_transaction(exchange):
    def call(channel):
        channel.tx_select()
        channel.basic_publish("", "own.q", b"allowed")
        channel.basic_publish(exchange, "", b"x")
        channel.tx_commit()
    return call


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
        refused(connection, in_a_transaction("amq.fanout"), confirms=False)
        broker.put("permissions/%2F/ann", configure="", write="", read="^own\\.")
        refused(connection, lambda c: c.basic_publish("", "own.q", b"x"))
        refused(connection, lambda c: c.queue_delete("own.q"))
        assert connection.channel().queue_declare("own.q", passive=True).method.message_count == 0


def test_a_name_that_nobody_has_takes_as_long_as_a_wrong_password(broker):
    """Else time would tell who there is. What is computed, since how long that takes depends on who else computes."""
    def seconds(user):
        before = broker.cpu_s()
        with pytest.raises(ProbableAuthenticationError):
            broker.connect(user, "wrong")
        return broker.cpu_s() - before
    known, unknown = map(min, zip(*((seconds("ann"), seconds("nobody")) for _ in range(8))))
    assert 0.5 < unknown / known < 2, f"{unknown:.3f} s for a name that nobody has, {known:.3f} s for one that there is"


def test_guest_is_nobody_where_tokens_are_needed(tmp_path):
    tokens = Tokens().add("ops", "admin")
    broker = Broker(tmp_path)
    broker.configure({"tokens": tokens.entries})
    broker.start()
    try:
        for user in ("guest", "nobody"):
            with pytest.raises(ProbableAuthenticationError):
                broker.connect(user, "guest")
        client = tokens.client(broker, "ops")
        assert client.put("/api/users/guest", {"password": "hush-9987", "tags": ""}).status == 201
        assert client.put("/api/permissions/%2F/guest", {"configure": "", "write": "", "read": ""}).status == 201
        with broker.connect("guest", "hush-9987") as connection:
            refused(connection, lambda c: c.queue_declare("any"))
    finally:
        broker.stop()


def test_passwords_appear_nowhere(tmp_path):
    """Neither in what the program says nor in what it writes."""
    broker = Broker(tmp_path)
    broker.configure({"logging": {"level": "debug"}})
    broker.start()
    try:
        broker.put("users/ann", password="hush-9985", tags="administrator")
        broker.put("permissions/%2F/ann", configure=".*", write=".*", read=".*")
        with broker.connect("ann", "hush-9985"):
            with pytest.raises(ProbableAuthenticationError):
                broker.connect("ann", "hush-9986")
            said = [broker.client.get(path).body for path in (
                "/api/users", "/api/users/ann", "/api/definitions", "/api/connections", "/api/overview", "/metrics", "/v1/audit")]
        client = broker.client
        said.append(client.request("GET", "/api/whoami", headers={
            "Authorization": "Basic " + base64.b64encode(b"ann:hush-9986").decode()}).body)
    finally:
        broker.stop()
    said += [path.read_bytes() for path in [broker.output_path, *broker.data.rglob("*")] if path.is_file()]
    assert len(said) > 10 and b"hush-" not in b"".join(said)


# RabbitMQ 3.10.8 with ssl_cert_login_from = distinguished_name knows the same certificates by the same names.
@pytest.mark.parametrize("subject, user", [
    ("/C=DE/O=Example GmbH/OU=Billing/CN=ann", "CN=ann,OU=Billing,O=Example GmbH,C=DE"),
    ("/O=Müller, Söhne/CN=ann", "CN=ann,O=M\\C3\\BCller\\, S\\C3\\B6hne")])
def test_external_by_distinguished_name(make_server, tmp_path, subject, user):
    authority = Authority(tmp_path / "certificates")
    certificate, key = authority.sign("server")
    server, port = make_server(), free_port()
    tls = {"certificate": str(certificate), "key": str(key), "clientCa": str(authority.certificate),
           "clientName": "distinguishedName"}
    server.configure({"listeners": [*server.config["listeners"],
                                    {"host": "127.0.0.1", "port": port, "protocol": "amqp", "tls": tls}]})
    server.start()
    for name in ("ann", user):
        with Peer(port, client_context(authority, subject)) as peer:
            peer.start(mechanism="EXTERNAL", response="", capabilities=["authentication_failure_close"])
            peer.expect(spec.Connection.Close, reply_code=403)
        quoted = urllib.parse.quote(name, safe="")
        for path, body in ((f"users/{quoted}", {"password_hash": "", "tags": ""}),
                           (f"permissions/%2F/{quoted}", {"configure": ".*", "write": ".*", "read": ".*"})):
            assert server.client.put(f"/api/{path}", body).status in (201, 204)
    with Peer(port, client_context(authority, subject)) as peer:
        peer.open(mechanism="EXTERNAL", response="").declare("mine")
        until(lambda: [one["user"] for one in server.client.get("/api/connections").json] == [user], what="nobody else")


def client_context(authority, subject):
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(*authority.sign("client", subject=subject))
    return context
