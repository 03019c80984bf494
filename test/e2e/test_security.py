"""Tokens, TLS, and who may listen where."""
import ssl
import subprocess

import pytest
from support.client import Client
from support.tokens import new_token


def certificate(folder):
    folder.mkdir(parents=True, exist_ok=True)
    key, certified = folder / "key.pem", folder / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", key, "-out", certified], check=True, capture_output=True)
    return key, certified


@pytest.fixture
def guarded(make_server):
    admin, admin_hash = new_token()
    producer, producer_hash = new_token()
    server = make_server({"tokens": [
        {"name": "ops", "hash": admin_hash, "scopes": ["admin"]},
        {"name": "shop", "hash": producer_hash, "scopes": ["produce"], "resources": ["queues/mail-*"]}]})
    server.client.token = admin
    server.start()
    return server, Client(server.port, token=producer)


def test_without_a_token(guarded):
    server, _ = guarded
    stranger = Client(server.port)
    reply = stranger.get("/v1/queues")
    assert (reply.status, reply.problem) == (401, "unauthorized")
    assert "Bearer" in reply.headers["WWW-Authenticate"]
    assert stranger.get("/healthz").status == 200
    stranger.token = "slc_00000000_" + "A" * 43
    assert stranger.get("/v1/queues").status == 401


def test_scopes_and_resources(guarded):
    server, producer = guarded
    for name in ("mail-1", "other"):
        server.client.define("queues", name)
    assert producer.publish("mail-1", {"n": 1}).status == 202
    other = producer.publish("other", {"n": 1})
    assert (other.status, other.problem) == (404, "not-found")  # as if it were not there
    assert producer.put("/v1/queues/mail-2", {}).status == 403
    assert producer.get("/v1/queues/mail-1/messages").status == 403


def test_secrets_are_never_shown(guarded):
    server, _ = guarded
    server.client.define("destinations", "sms", url="https://example.org/", headers={"Authorization": "Bearer hush-1"})
    assert "hush-1" not in server.client.get("/v1/destinations/sms").body.decode()
    assert "hush-1" not in server.output() and server.client.token not in server.output()


def test_other_addresses_need_tokens_and_tls(make_server):
    server = make_server()
    server.configure({"listeners": [{"host": "0.0.0.0", "port": server.port}]})
    server.launch()
    assert server.wait_end() != 0
    assert "token" in server.output().lower() or "tls" in server.output().lower(), server.output()


def test_tls(make_server):
    server = make_server()
    key, certified = certificate(server.folder)
    port = server.port
    server.configure({"listeners": [{"host": "127.0.0.1", "port": port,
                                     "tls": {"certificate": str(certified), "key": str(key)}}]})
    trusting = ssl.create_default_context(cafile=str(certified))
    server.client = Client(port, tls=trusting)
    server.start()
    server.client.define("queues", "mail")
    assert server.client.publish("mail", {"n": 1}).status == 202
    distrusting = Client(port, tls=ssl.create_default_context())
    with pytest.raises(ssl.SSLError):
        distrusting.get("/healthz")
    shown = subprocess.run(["curl", "-sS", "--cacert", certified, f"https://127.0.0.1:{port}/healthz"],
                           capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    plain = Client(port)
    with pytest.raises(Exception):
        assert plain.get("/healthz").status >= 400


def test_private_addresses_are_not_called(server, make_provider):
    """Without the operator's word no destination leads inside."""
    from support.wait import until
    provider = make_provider()
    client = server.client
    client.define("destinations", "inside", url=provider.url)
    client.define("queues", "mail", destination="inside", retryConfig={"maxAttempts": 1})
    client.publish("mail", {"n": 1})
    until(lambda: client.queue("mail")["stats"]["dead"] == 1, 10, "a dead letter")
    assert provider.seen == []
