"""How requests are made: templates, CloudEvents, signatures, who we are, by way of what."""
import base64
import hashlib
import hmac
import http.server
import json
import ssl
import subprocess
import threading
import time
import types
import urllib.parse

import pytest

from support.wait import until

KEYS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + base64.b64encode(b"k" * 32).decode()]


class FarSide(http.server.ThreadingHTTPServer):
    """Keeps whole requests. `reply(handler)` gives status and body."""
    daemon_threads = True

    def __init__(self, reply=lambda request: (200, b"ok"), context=None):
        super().__init__(("127.0.0.1", 0), Request)
        self.reply, self.requests, self.scheme = reply, [], "http"
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        return f"{self.scheme}://localhost:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        pass


class Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen = types.SimpleNamespace(command=self.command, path=self.path, headers=self.headers, body=body)
        self.server.requests.append(seen)
        status, body = self.server.reply(seen)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_GET = serve

    def log_message(self, *arguments):
        pass


@pytest.fixture
def far_side():
    made = []

    def make(*arguments, **options):
        made.append(FarSide(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.shutdown()
        one.server_close()


def define(client, **destination):
    fields = {"allowPrivateAddresses": True, **destination}
    reply = client.put("/v1/destinations/far", fields)
    assert reply.status in (200, 201), reply
    client.define("queues", "mail", destination="far", retryConfig={"minBackoff": "0.01s", "maxBackoff": "0.05s"})


def send(client, body, headers=None, content_type="application/json"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = client.request("POST", "/v1/queues/mail/messages", data, {"Content-Type": content_type, **(headers or {})})
    assert reply.status == 202, reply
    return reply.json["receipt"]


def dead(client, receipt):
    def state():
        answer = client.get(f"/v1/receipts/{receipt}").json
        return answer if answer["state"] == "dead" else None
    return until(state, 10, "the dead letter")


def test_templates(client, far_side):
    far = far_side()
    long_name = "X-" + "n" * 200
    define(client, url=far.url + "/orders/{body:/order/id}/{header.Step}?r={receipt}", method="{header.Verb}",
           headers={"X-Order": "no {body:/order/id} of {queue}", "X-Plain": "p"})
    receipt = send(client, {"order": {"id": "a/b c"}},
                   {"Sluice-Forward-Step": "pay", "Sluice-Forward-Verb": "PUT", "Sluice-Forward-X-Order": "mine",
                    f"Sluice-Forward-{long_name}": "whole"})
    until(lambda: far.requests, 10, "the request")
    request = far.requests[0]
    assert request.command == "PUT"
    assert request.path == f"/orders/a%2Fb%20c/pay?r={receipt}"
    assert request.headers["X-Order"] == "no a/b c of mail" and request.headers["X-Plain"] == "p"
    assert request.headers[long_name] == "whole"
    assert json.loads(request.body) == {"order": {"id": "a/b c"}}


@pytest.mark.parametrize("body, step", [({}, "pay"), ({"id": ".."}, "pay"), ({"id": "1"}, None), (b"no json", "pay")])
def test_what_a_message_lacks_is_never_sent(client, far_side, body, step):
    far = far_side()
    define(client, url=far.url + "/{body:/id}/{header.Step}")
    letter = dead(client, send(client, body, {"Sluice-Forward-Step": step} if step else {}))
    assert letter["attempts"] == 1 and letter["deadReason"] == "refused", letter
    assert not far.requests


def test_cloud_events(client, far_side):
    far = far_side()
    define(client, url=far.url, bodyFormat="cloudEventsBinary", cloudEvents={"type": "shop.{queue}"})
    send(client, {"n": 1}, {"Sluice-Forward-ce-type": "forged"})
    until(lambda: far.requests, 10, "the binary event")
    headers = far.requests[0].headers
    assert (headers["ce-specversion"], headers["ce-type"], headers["ce-source"]) == ("1.0", "shop.mail", "/queues/mail")
    assert headers["ce-id"] == headers["Idempotency-Key"] and far.requests[0].body == b'{"n": 1}'

    define(client, url=far.url, bodyFormat="cloudEventsStructured", cloudEvents={"type": "t", "source": "//s"})
    send(client, {"n": 2})
    until(lambda: len(far.requests) == 2, 10, "the structured event")
    event = json.loads(far.requests[1].body)
    assert far.requests[1].headers["Content-Type"].startswith("application/cloudevents+json")
    assert (event["data"], event["type"], event["source"], event["datacontenttype"]) == \
        ({"n": 2}, "t", "//s", "application/json")


def test_signatures_of_both_keys(client, far_side):
    far = far_side(lambda request: (503 if len(far.requests) < 2 else 200, b""))
    define(client, url=far.url, signing={"keys": " ".join(KEYS)})
    send(client, {"n": 1})
    until(lambda: len(far.requests) == 2, 10, "both attempts")
    for request in far.requests:
        name, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        assert abs(int(at) - time.time()) < 60 and name == request.headers["Idempotency-Key"]
        signed = f"{name}.{at}.".encode() + request.body
        expected = ["v1," + base64.b64encode(hmac.digest(base64.b64decode(key[6:]), signed, hashlib.sha256)).decode()
                    for key in KEYS]
        assert request.headers["webhook-signature"].split(" ") == expected


def test_basic_and_bearer(client, far_side):
    far = far_side()
    define(client, url=far.url, authorization={"user": "shop", "password": "p:ss"})
    send(client, {}, {"Sluice-Forward-Authorization": "forged"})
    until(lambda: far.requests, 10, "basic")
    define(client, url=far.url, authorization={"bearer": "t0ken"})
    send(client, {})
    until(lambda: len(far.requests) == 2, 10, "bearer")
    assert [request.headers.get_all("Authorization") for request in far.requests] == \
        [["Basic " + base64.b64encode(b"shop:p:ss").decode()], ["Bearer t0ken"]]


def test_secrets_are_not_shown_and_not_lost(client, far_side):
    define(client, url=far_side().url, signing={"keys": KEYS[0]}, authorization={"bearer": "t0ken"})
    shown = client.get("/v1/destinations/far").json
    assert shown["signing"]["keys"] is None and shown["authorization"]["bearer"] is None
    assert shown["authorization"]["password"] == ""
    refused = client.put("/v1/destinations/far", {k: v for k, v in shown.items() if k not in ("stats", "state")})
    assert refused.status == 400 and "not shown by GET" in refused.body.decode()


class Login:
    """An authorization server."""

    def __init__(self, far_side, life=300, delay=0.0):
        self.life, self.delay, self.status = life, delay, 200
        self.gate = threading.Event()  # while it is not set, nobody is answered
        self.gate.set()
        self.server = far_side(self.reply)

    def reply(self, request):
        time.sleep(self.delay)
        self.gate.wait(30)
        if self.status != 200:
            return self.status, b""
        token = f"token-{len(self.server.requests)}"
        return 200, json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": self.life}).encode()

    def fields(self):
        return {"oauth2": {"tokenUrl": self.server.url + "/token", "clientId": "sluice", "clientSecret": "s&cret",
                           "scope": "pay send"}}


def test_one_token_for_all_who_wait(client, far_side):
    login, far = Login(far_side, delay=0.3), far_side()
    define(client, url=far.url, authorization=login.fields())
    for n in range(20):
        send(client, {"n": n})
    until(lambda: len(far.requests) == 20, 10, "all requests")
    assert {request.headers["Authorization"] for request in far.requests} == {"Bearer token-1"}
    assert len(login.server.requests) == 1
    asked = login.server.requests[0]
    assert urllib.parse.parse_qs(asked.body.decode()) == {"grant_type": ["client_credentials"], "scope": ["pay send"]}
    assert asked.headers["Authorization"] == "Basic " + base64.b64encode(b"sluice:s%26cret").decode()


def test_who_waited_for_a_token_leaves_at_the_pace(client, far_side):
    """Ten had their turns while there was no token: they are no burst when it comes."""
    login, left = Login(far_side), []
    login.gate.clear()
    far = far_side(lambda request: (left.append(time.monotonic()), (200, b""))[1])
    define(client, url=far.url, authorization=login.fields(), rateLimits={"maxDispatchesPerSecond": 10})
    for n in range(15):
        send(client, {"n": n})
    until(lambda: client.get("/v1/destinations/far").json["stats"]["attempts"] >= 10, 30, "ten that wait")
    begun = time.monotonic()
    login.gate.set()
    until(lambda: len(left) == 15, 30, "all requests")
    for nth, at in enumerate(left):
        assert at >= begun + nth * 0.1 - 0.01, (nth, at - begun)


def test_whose_time_is_over_when_the_token_comes_is_not_sent(client, far_side):
    login, far = Login(far_side), far_side()
    login.gate.clear()
    define(client, url=far.url, authorization=login.fields(), timeout="50ms")
    client.define("queues", "mail", destination="far", retryConfig={"maxAttempts": 1})
    receipt = send(client, {"n": 0})
    until(lambda: login.server.requests, 10, "the question for a token")
    time.sleep(0.06)
    login.gate.set()
    dead(client, receipt)
    assert not far.requests
    assert client.get(f"/v1/queues/mail/messages/{receipt}").json["lastError"] == "no-token"


def test_a_token_is_renewed_before_its_end_and_after_a_401(client, far_side):
    login = Login(far_side, life=30)
    far = far_side(lambda request: (401 if request.headers["Authorization"].endswith("-2") else 200, b""))
    define(client, url=far.url, authorization=login.fields())
    send(client, {"n": 0})
    until(lambda: far.requests, 10, "the first")
    time.sleep(24.1)  # four fifths of its life, and six seconds are left for a busy machine
    send(client, {"n": 1})  # goes with the old token, which is renewed meanwhile
    until(lambda: len(login.server.requests) == 2, 10, "the renewal")
    until(lambda: len(far.requests) == 2, 10, "the second")
    assert far.requests[1].headers["Authorization"] == "Bearer token-1"
    send(client, {"n": 2})  # refused with token 2, accepted with token 3
    until(lambda: client.queue("mail")["stats"]["completed"] == 3, 10, "the third")
    assert [r.headers["Authorization"][-1] for r in far.requests] == ["1", "1", "2", "3"]


def test_a_life_that_is_no_common_number(client, far_side):
    login, far = Login(far_side, life=10**30), far_side()
    define(client, url=far.url, authorization=login.fields())
    send(client, {"n": 0})
    until(lambda: far.requests, 10, "the request, with a token that lives longer than any integer")
    login = Login(far_side, life="1")
    define(client, url=far.url, authorization=login.fields())
    for n in (1, 2):
        time.sleep(1.1)
        send(client, {"n": n})
        until(lambda: len(far.requests) == n + 1, 10, "the next request")
    until(lambda: len(login.server.requests) >= 2, 10, "another token, since a second in quotes is over")


def test_no_token_costs_nothing_but_time(client, far_side):
    login, far = Login(far_side), far_side()
    login.status = 500
    define(client, url=far.url, authorization=login.fields())
    begun = time.monotonic()
    receipt = send(client, {"n": 1})
    until(lambda: client.get(f"/v1/receipts/{receipt}").json["attempts"] >= 2, 10, "two attempts")
    asked, took = len(login.server.requests), time.monotonic() - begun
    assert not far.requests and asked <= 3 + took, "asked less often than there are attempts"
    login.status = 200
    until(lambda: far.requests, 20, "the request, once there is a token")


def test_client_certificate(client, far_side, tmp_path):
    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    for name, subject in (("server", "/CN=localhost"), ("client", "/CN=sluice")):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", subject, "-addext", "subjectAltName=DNS:localhost",
                "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tmp_path / "client.pem")
    far = far_side(context=context)
    files = {"clientCertificate": str(tmp_path / "client.pem"), "clientKey": str(tmp_path / "client.key")}
    define(client, url=far.url, caFile=str(tmp_path / "server.pem"))
    receipt = send(client, {"n": 1})
    until(lambda: client.get(f"/v1/receipts/{receipt}").json["attempts"] >= 2, 10, "refused handshakes")
    assert not far.requests
    define(client, url=far.url, caFile=str(tmp_path / "server.pem"), tls=files)
    until(lambda: far.requests, 10, "the request with a certificate")


def test_proxy(client, far_side):
    proxy = far_side()
    define(client, url="http://provider.invalid/pay", proxy=proxy.url)
    send(client, {"n": 1})
    until(lambda: proxy.requests, 10, "the request at the proxy")
    assert proxy.requests[0].path == "http://provider.invalid/pay"
