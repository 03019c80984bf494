"""Bad input: each kind of wrong request gets the status, problem type and pointer that were promised, and changes nothing."""
import json

import pytest
from support import server as program
from support.client import send_raw
from support.server import Server


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One server for all rows of the table: none of them may change anything."""
    server = Server(tmp_path_factory.mktemp("bad"), {}).start()
    client = server.client
    client.define("stocks", "units", total=2, perMember=1)
    client.define("queues", "mail", maxMessages=2)
    client.define("campaigns", "open", stock="units", memberPointer="/member")
    client.define("campaigns", "later", stock="units", memberPointer="/member", opensAt="2099-01-01T00:00:00Z")
    client.define("campaigns", "over", stock="units", memberPointer="/member", closesAt="2020-01-01T00:00:00Z")
    yield server
    server.kill()


@pytest.fixture
def client(shared):
    return shared.client


@pytest.mark.parametrize("path, body", [("/v1/campaigns/open/entries", {"member": "m"}),
                                        ("/v1/transactions", {"operations": [{"enqueue": {"queue": "mail", "body": 1}}]}),
                                        ("/v1/stocks/units/reservations", {"member": "m"})])
def test_a_wish_that_nobody_would_grant(client, path, body):
    """A deadline that is not heard is worse than one that is refused."""
    reply = client.post(path, body, **{"Sluice-Dispatch-Deadline": "30s"})
    assert reply.status == 400 and reply.json["detail"].startswith("Sluice-* fields are wishes for a message"), reply
    assert client.stock("units")["stats"]["used"] == 0 and client.queue("mail")["stats"]["published"] == 0


def test_two_times_to_leave(client):
    reply = client.publish("mail", {}, delay="1s", schedule_time="2099-01-01T00:00:00Z")
    assert reply.status == 400 and reply.json["detail"].endswith("and no other delay or time"), reply


WRONG_FIELDS = [
    ("queues", {"maxMessages": "many"}, "/maxMessages"),
    ("queues", {"maxMessages": -1}, "/maxMessages"),
    ("queues", {"maxMesages": 1}, "/maxMesages"),
    ("queues", {"retryConfig": {"minBackoff": "soon"}}, "/retryConfig/minBackoff"),
    ("queues", {"retryConfig": 7}, "/retryConfig"),
    ("queues", {"maxPriority": 256}, "/maxPriority"),
    ("stocks", {}, "/total"),
    ("stocks", {"total": 1.5}, "/total"),
    ("stocks", {"total": 1, "onSale": "yes"}, "/onSale"),
    ("campaigns", {"stock": "units", "memberPointer": "member"}, "/memberPointer"),
    ("campaigns", {"stock": "units", "memberPointer": "/m", "opensAt": "tomorrow"}, "/opensAt"),
    ("campaigns", {"stock": "nothing", "memberPointer": "/m"}, "/stock"),
    ("destinations", {"url": "ftp://example.org"}, "/url"),
    ("destinations", {"url": "https://example.org", "rateLimits": {"mode": "loose"}}, "/rateLimits/mode"),
    ("destinations", {"url": "https://example.org", "retryStatuses": "4xx"}, "/retryStatuses"),
]


@pytest.mark.parametrize("kind, fields, pointer", WRONG_FIELDS)
def test_wrong_field(client, kind, fields, pointer):
    reply = client.put(f"/v1/{kind}/wrong", fields)
    assert (reply.status, reply.problem) == (400, "invalid"), reply
    assert pointer in [error["pointer"] for error in reply.json["errors"]], reply
    assert all(error["detail"] for error in reply.json["errors"])
    assert client.get(f"/v1/{kind}/wrong").status == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"nul", b'{"member":"a"} x', b'{"member":"\xff"}', b'{"a":1}',
                                  b'{"member":null}', b'{"member":""}', b'{"member":{}}', b'{"member":[1]}',
                                  json.dumps({"member": "m" * 256}).encode(), b'{"member":' + b"[" * 100000])
def test_entry_with_a_wrong_body(client, body):
    reply = client.post("/v1/campaigns/open/entries", body)
    assert (reply.status, reply.problem) == (400, "invalid"), reply


def test_wrong_content_type(client):
    reply = client.request("PUT", "/v1/queues/wrong", b"<queue/>", {"Content-Type": "application/xml"})
    assert (reply.status, reply.problem) == (415, "unsupported"), reply


@pytest.mark.parametrize("method, path", [
    ("GET", "/v1/queues/nothing"), ("GET", "/v1/stocks/nothing"), ("GET", "/v1/campaigns/nothing"),
    ("GET", "/v1/destinations/nothing"), ("GET", "/v1/receipts/r0000000000000fff"), ("GET", "/v1/nothing"),
    ("GET", "/v1/queues/mail/messages/r0000000000000fff"), ("POST", "/v1/queues/nothing/messages"),
    ("POST", "/v1/stocks/nothing/reservations"), ("DELETE", "/v1/queues/nothing"), ("GET", "/nothing"),
    ("POST", "/v1/queues/nothing:pause")])
def test_unknown_resource(client, method, path):
    body = {} if path.endswith("messages") else {"purchase": "p"} if path.endswith("reservations") else None
    reply = client.request(method, path, body)
    assert (reply.status, reply.problem) == (404, "not-found"), reply


def test_what_is_said_names_what_was_wrong(client):
    client.define("queues", "named")
    messages = "/v1/queues/named/messages"
    assert "/openapi.json" in client.get("/v1/queue/named").json["detail"]
    shown = client.get("/v1/queues/named").json
    assert client.put("/v1/queues/named", shown).json["errors"] == [
        {"pointer": "/stats", "detail": "GET tells it besides the definition: leave it out"}]
    del shown["stats"]
    assert client.put("/v1/queues/named", shown).status == 200
    assert client.get(messages + "?filter=ended").json["detail"].endswith('blocked; found "ended"')
    assert client.get(messages + "?colour=red").json["detail"] == 'unknown query parameter; found "colour"'
    errors = client.post("/v1/queues/named/jobs", {"action": "resend"}).json["errors"]
    assert errors == [{"pointer": "/action", "detail": 'expected one of "redrive", "move", "discard", found "resend"'}]
    started = client.post("/v1/queues/named/jobs", {"action": "discard", "reason": "none is there"})
    assert started.status == 202 and started.json["action"] == "discard", started


def test_entry_into_an_unknown_campaign(client):
    reply = client.enter("nothing", "ann")
    assert (reply.status, reply.problem) == (404, "not-found"), reply


def test_wrong_method(client):
    reply = client.request("DELETE", "/healthz")
    assert reply.status == 405 and "GET" in reply.headers["Allow"], reply


def test_too_early_says_when(client):
    reply = client.enter("later", "ann")
    assert (reply.status, reply.problem) == (425, "not-open-yet")
    assert reply.json["opensAt"].startswith("2099-01-01T00:00:00")
    assert int(reply.headers["Retry-After"]) > 0


def test_too_late(client):
    reply = client.enter("over", "ann")
    assert (reply.status, reply.problem) == (410, "closed")


def test_too_large(client):
    try:
        reply = client.request("POST", "/v1/campaigns/open/entries", b'{"member":"' + b"x" * (40 << 20) + b'"}')
        assert (reply.status, reply.problem) == (413, "too-large"), reply
    except OSError:
        client.close()  # closed while we were still sending: refused as well
    assert client.get("/healthz").status == 200


def test_twice_and_sold_out(make_server):
    client = make_server().start().client
    client.define("stocks", "units", total=2)
    client.define("campaigns", "open", stock="units", memberPointer="/member")
    first = client.enter("open", "ann")
    again = client.enter("open", "ann")
    assert (again.status, again.problem, again.json["receipt"]) == (409, "already-claimed", first.json["receipt"])
    assert client.enter("open", 17).status == 202, "a member may be an integer"
    late = client.enter("open", "cid")
    assert (late.status, late.problem) == (410, "sold-out")
    assert client.get(f"/v1/receipts/{first.json['receipt']}").status == 200


def test_queue_with_a_limit_says_when_to_come_back(make_server):
    client = make_server().start().client
    client.define("queues", "mail", maxMessages=2)
    assert [client.publish("mail", {}).status for _ in range(3)] == [202, 202, 503]
    full = client.publish("mail", {})
    assert full.problem == "queue-full" and int(full.headers["Retry-After"]) > 0


def test_idempotency_key(make_server):
    client = make_server().start().client
    client.define("queues", "mail")
    key = {"Idempotency-Key": '"order-1"'}
    first = client.request("POST", "/v1/queues/mail/messages", {"n": 1}, key)
    again = client.request("POST", "/v1/queues/mail/messages", {"n": 1}, key)
    assert first.status == again.status == 202 and first.json["receipt"] == again.json["receipt"]
    assert again.headers["Idempotency-Replayed"] == "true" and "Idempotency-Replayed" not in first.headers
    other = client.request("POST", "/v1/queues/mail/messages", {"n": 2}, key)
    assert other.status == 422, other
    bare = client.request("POST", "/v1/queues/mail/messages", {"n": 1}, {"Idempotency-Key": "order-1"})
    assert bare.json["receipt"] == first.json["receipt"], "unquoted is accepted"
    assert client.queue("mail")["stats"]["ready"] == 1


HEAD = b"POST /v1/campaigns/open/entries HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize("data, status", [
    (b"nonsense\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (HEAD + b"Content-Length: -1\r\n\r\n", 400),
    (HEAD + b"X: a\r\n folded\r\nContent-Length: 2\r\n\r\n{}", 400),
    (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    (b"GET /healthz HTTP/3.7\r\nHost: x\r\n\r\n", 505),
    (b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200000 + b"\r\n\r\n", 431),
])
def test_bytes_that_are_no_request(shared, data, status):
    received = send_raw(shared.port, data)
    assert received.split(b" ", 2)[1:2] == [str(status).encode()], received[:200]
    assert received.count(b"HTTP/1.1 ") == 1, "closed after it"


def test_half_a_request_holds_up_nobody(shared):
    import socket
    with socket.create_connection(("127.0.0.1", shared.port)) as half:
        half.sendall(b"POST /v1/campaigns/open/entr")
        assert shared.client.get("/healthz").status == 200
        half.setblocking(False)
        with pytest.raises(BlockingIOError):
            half.recv(1)  # it is not over yet: the other one was answered before it


def test_answers_leak_nothing(client):
    """No path of the machine, no function name, no source line in what a client is told."""
    for path in ("/v1/queues/nothing", "/v1/nothing", "/v1/queues/%00", "/v1/queues/..%2f..%2fetc"):
        text = client.get(path).body.decode()
        assert "src/" not in text and ".c:" not in text and "/tmp" not in text, text


def test_wrong_requests_changed_nothing(client):
    """Last in the file: after the whole table."""
    assert client.stock("units")["stats"]["used"] == 0
    assert client.queue("mail")["stats"]["ready"] == 0


def test_transaction_is_all_or_nothing(make_server):
    client = make_server().start().client
    client.define("stocks", "units", total=1)
    client.define("queues", "mail")
    both = {"operations": [{"reserve": {"stock": "units", "purchase": "p-1", "member": "ann"}},
                           {"enqueue": {"queue": "mail", "body": {"to": "ann"}}}]}
    done = client.post("/v1/transactions", both)
    assert done.status in (200, 201, 202), done
    both["operations"][0]["reserve"]["purchase"] = "p-2"
    refused = client.post("/v1/transactions", both)
    assert (refused.status, refused.problem) == (410, "sold-out"), refused
    assert client.queue("mail")["stats"]["ready"] == 1
    assert client.stock("units")["stats"]["used"] == 1
    none = client.post("/v1/transactions", {"operations": []})
    assert none.status == 400 and none.json["errors"][0]["detail"] == "expected 1 to 64 operations, found 0", none
    unknown = client.post("/v1/transactions", {"operations": [{"enque": {}}]})
    assert unknown.status == 400 and unknown.json["errors"][0]["pointer"] == "/operations/0/enque", unknown
    many = {"operations": [{"enqueue": {"queue": "mail", "body": {}}}] * 65}
    assert client.post("/v1/transactions", many).status == 400


def test_a_route_without_body_refuses_one(server):
    """A filter in the body was once taken for no filter, and all was purged."""
    client = server.client
    client.define("queues", "mail")
    client.publish("mail", {"n": 1})
    refused = client.post("/v1/queues/mail:purge", {"filter": "dead"})
    assert (refused.status, refused.problem) == (400, "invalid")
    assert client.queue("mail")["stats"]["ready"] == 1
    assert client.post("/v1/queues/mail:purge?filter=dead", body=b" {\n} ").json["purged"] == 0
    assert client.post("/v1/queues/mail:purge?filter=dead").json["purged"] == 0


def test_a_message_that_can_never_fit_is_too_large(make_server):
    server = make_server({"log": {"segmentBytes": 65536}}).start()
    server.client.define("queues", "mail")
    refused = server.client.publish("mail", {"text": "x" * 40000})
    assert (refused.status, refused.problem) == (413, "too-large")


def test_too_many_listeners_are_refused_by_the_check(tmp_path):
    path = tmp_path / "many.yaml"
    path.write_text("listeners:\n" + "".join(f"  - port: {20000 + n}\n" for n in range(9)))
    result = program.run("config", "check", path)
    assert result.returncode == 2 and "at most 8 listeners" in result.stderr, result
