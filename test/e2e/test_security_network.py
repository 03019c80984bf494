"""What comes over the network: smuggled requests, floods, old TLS, addresses that lead inside, guessed tokens."""
import contextlib
import os
import re
import select
import socket
import ssl
import subprocess
import threading
import time

import pytest
from support.certificates import Authority
from support.client import Client
from support.server import free_port
from support.tokens import Tokens
from support.wait import until


def exchange(port, *pieces, timeout=60, pause=0.0):
    """Sends pieces one after the other; all that came back until the server closed or fell silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
                if pause:
                    time.sleep(pause)
            while chunk := connection.recv(65536):
                received += chunk
        except (TimeoutError, ConnectionError):
            pass
        return received


# ---- smuggling: what one reader takes for a body must not become a request for us ----

SMUGGLED = b"DELETE /v1/queues/victim HTTP/1.1\r\nHost: localhost\r\n\r\n"
SIZE = str(len(SMUGGLED)).encode()
POST = b"POST /v1/queues/mail/messages HTTP/1.1\r\nHost: localhost\r\n"
AMBIGUOUS = {
    "CL.TE": POST + b"Content-Length: " + SIZE + b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE.CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + b"0\r\n\r\n" + SMUGGLED,
    "CL.CL": POST + b"Content-Length: " + SIZE + b"\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "CL, CL in one": POST + b"Content-Length: " + SIZE + b", 0\r\n\r\n" + SMUGGLED,
    "CL with a sign": POST + b"Content-Length: +0\r\n\r\n" + SMUGGLED,
    "CL in hexadecimal": POST + b"Content-Length: 0x0\r\n\r\n" + SMUGGLED,
    "CL beyond 64 bits": POST + b"Content-Length: 18446744073709551616\r\n\r\n" + SMUGGLED,
    "CL with a blank": POST + b"Content-Length : 0\r\n\r\n" + SMUGGLED,
    "TE, something": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE.TE": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE with a tab": POST + b"Transfer-Encoding:\x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE folded": POST + b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "folded": POST + b"X: 1\r\n Content-Length: 5\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "bare LF": POST + b"X: 1\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "bare CR": POST + b"X: 1\rContent-Length: 0\r\n\r\n" + SMUGGLED,
    "NUL in a field": POST + b"X: \x00\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "blank in a name": POST + b"X Y: 1\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "chunk size too long": POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + SMUGGLED,
    "chunk size with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n-0\r\n\r\n" + SMUGGLED,
    "chunk without CRLF": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc0\r\n\r\n" + SMUGGLED,
    "chunk, bare LF": POST + b"Transfer-Encoding: chunked\r\n\r\n0\n\n" + SMUGGLED,
    "two hosts": POST + b"Host: other\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "no host": POST.replace(b"Host: localhost\r\n", b"") + b"Content-Length: 0\r\n\r\n" + SMUGGLED,
    "HTTP/1.10": POST.replace(b"1.1", b"1.10") + b"Content-Length: 0\r\n\r\n" + SMUGGLED,
    "two blanks": POST.replace(b" HTTP", b"  HTTP") + b"Content-Length: 0\r\n\r\n" + SMUGGLED,
    "HTTP/1.0 with chunks": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
}


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    from support.server import Server
    server = Server(tmp_path_factory.mktemp("target"), {}).start()
    server.client.define("queues", "victim", paused=True)
    server.client.define("queues", "mail", paused=True)
    yield server
    server.kill()


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_no_second_request_in_a_body(target, name):
    answers = exchange(target.port, AMBIGUOUS[name])
    assert answers.startswith(b"HTTP/1.") and answers.split(b" ", 2)[1] in (b"400", b"413", b"501", b"505"), answers
    assert answers.count(b"HTTP/1.1 ") == 1, "refused, and nothing behind it is read"
    assert b"Connection: close" in answers
    assert target.client.get("/v1/queues/victim").status == 200


def test_a_body_is_a_body(target):
    """The same bytes, once unambiguous: a message, and no request."""
    before = target.client.queue("mail")["stats"]["ready"]
    answers = exchange(target.port, POST + b"Content-Length: " + SIZE + b"\r\nConnection: close\r\n\r\n" + SMUGGLED)
    assert answers.startswith(b"HTTP/1.1 202")
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    answers = exchange(target.port, POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunked)
    assert answers.startswith(b"HTTP/1.1 202") and answers.count(b"HTTP/1.1 ") == 1
    assert target.client.queue("mail")["stats"]["ready"] == before + 2
    assert target.client.get("/v1/queues/victim").status == 200


def test_pipelined_in_any_pieces(target):
    """Three requests, cut at every byte: the same three answers."""
    whole = (b"GET /v1/queues/victim HTTP/1.1\r\nHost: localhost\r\n\r\n"
             + POST + b"Content-Length: 3\r\n\r\n{} "
             + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    for cut in range(1, len(whole), 7):
        answers = exchange(target.port, whole[:cut], whole[cut:], pause=0.001)
        assert re.findall(rb"HTTP/1.1 (\d+) ", answers) == [b"200", b"202", b"200"], (cut, answers)


def test_what_a_token_may_is_asked_of_each_request(make_server):
    """On one connection: the rights of the first request are not those of the second."""
    tokens = Tokens().add("ops", "admin")
    server = make_server({"tokens": tokens.entries})
    server.client.token = tokens.secrets["ops"]
    server.start()
    good = b"GET /v1/queues HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + tokens.secrets["ops"].encode()
    bare = b"GET /v1/queues HTTP/1.1\r\nHost: localhost\r\nConnection: close"
    answers = exchange(server.port, good + b"\r\n\r\n" + bare + b"\r\n\r\n")
    assert b"HTTP/1.1 200" in answers and b"HTTP/1.1 401" in answers
    # Two fields: the first counts, and only it.
    twice = bare + b"\r\nAuthorization: Bearer x\r\nAuthorization: Bearer " + tokens.secrets["ops"].encode()
    assert exchange(server.port, twice + b"\r\n\r\n").startswith((b"HTTP/1.1 401", b"HTTP/1.1 400"))


# ---- exhaustion ----

def hello(connection):
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return connection.recv(1000).startswith(b"HTTP/1.1 200")


def hello_amqp(connection):
    connection.sendall(b"AMQP\0\0\x09\x01")
    return connection.recv(1000)[:1] == b"\1"  # a method: connection.start


@pytest.mark.parametrize("protocol, refusal, greet", [("http", b"HTTP/1.1 503", hello), ("amqp", b"", hello_amqp)])
def test_connections_of_one_address(protocol, refusal, greet, make_server):
    server = make_server({"ioThreads": 1, "limits": {"connectionsPerAddress": 20, "connections": 1000}})
    port = free_port() if protocol == "amqp" else server.port
    if protocol == "amqp":
        server.configure({"listeners": [*server.config["listeners"],
                                        {"host": "127.0.0.1", "port": port, "protocol": protocol}]})
    server.start().client.close()
    opened = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(60)]
    waiting, refused, patience = list(opened), 0, 60
    while True:
        ready = select.select(waiting, [], [], patience)[0]
        if not ready:
            break
        for connection in ready:
            refused += connection.recv(1000)[:12] == refusal
            waiting.remove(connection)
        patience = 0.3 if refused >= 40 else 60  # then nobody else may be refused
    assert refused in (40, 41), refused  # the one that asked for readiness may still be counted
    other = socket.socket()
    other.bind(("127.0.0.2", 0))  # another address of this machine
    other.connect(("127.0.0.1", port))
    assert greet(other)
    for connection in [*opened, other]:
        connection.close()

    def room_again():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            return greet(connection)
    until(room_again, 5, "room again")


def test_requests_of_one_client(make_server):
    """A token is a client wherever it comes from, everybody else his address; health is always told."""
    tokens = Tokens().add("first", "admin").add("second", "admin")
    server = make_server({"tokens": tokens.entries, "limits": {"requestsPerSecond": 2, "requestsBurst": 6}}).start()
    first, second = tokens.client(server, "first"), tokens.client(server, "second")
    stranger, forger = Client(server.port), Client(server.port, token="slc_00000000_" + "A" * 43)
    begun, replies = time.monotonic(), [first.get("/v1/queues")]
    while replies[-1].status == 200:
        replies.append(first.get("/v1/queues"))
    let_in = replies[:-1]
    assert 6 <= len(let_in) <= 7 + 2 * (time.monotonic() - begun), len(let_in)
    assert let_in[0].headers["RateLimit-Policy"] == '"client";q=6;w=3'
    assert let_in[0].headers["RateLimit"] == '"client";r=5;t=1'
    refused = replies[-1]
    assert refused.status == 429 and refused.problem == "rate-limited" and refused.headers["Retry-After"] == "1"
    assert re.fullmatch('"client";r=0;t=[23]', refused.headers["RateLimit"])
    assert second.get("/v1/queues").status == 200, "another token, another client"
    begun = time.monotonic()
    statuses = [one.get("/v1/queues").status for one in (forger, stranger) * 10]
    assert statuses.count(401) <= 7 + 2 * (time.monotonic() - begun), "what is no token counts by address"
    assert set(statuses) == {401, 429}
    assert {stranger.get(path).status for path in ("/healthz", "/readyz", "/openapi.json") for _ in range(10)} == {200}
    until(lambda: stranger.get("/v1/queues").status == 401, 5, "another request by and by")
    metrics = second.get("/metrics").body.decode()
    assert re.search(r'sluice_refused_total\{reason="rate-limited"\} [1-9]', metrics)


def test_bodies_of_many_are_bounded(make_server):
    """Half-sent bodies fill no more than the memory that was set; others are served when the slow ones time out."""
    server = make_server({"ioThreads": 1, "limits": {"memoryBytes": 8 << 20, "bodyTimeout": "1s"}}).start()
    server.client.define("queues", "mail", paused=True)
    before = server.resident_bytes()
    head = POST + b"Content-Length: 1048576\r\n\r\n"
    senders = []
    for _ in range(60):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        connection.setblocking(False)
        try:
            connection.send(head + b"x" * 900_000)
        except BlockingIOError:
            pass
        senders.append(connection)
    highest = 0
    for _ in range(10):
        highest = max(highest, server.resident_bytes())
        time.sleep(0.05)
    assert highest - before < 40 << 20, "60 MB were sent"

    def answers():
        try:
            return Client(server.port, timeout=5).get("/healthz").status == 200
        except OSError:
            return False

    until(answers, 15, "an answer while the slow ones hold on")
    for connection in senders:
        connection.close()


LIST = b"GET /v1/queues/%s/messages?page_size=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"


def ask_and_not_read(port, requests):
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(requests)
    return connection


def test_lists_that_nobody_reads_are_bounded(make_server):
    """What the engine found waits to be rendered, nearly 100 KB for each page: 600 MB were asked for."""
    server = make_server({"ioThreads": 1, "limits": {"memoryBytes": 16 << 20}}).start()
    server.client.define("queues", "mail", paused=True)
    message = b"POST /v1/queues/mail/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    exchange(server.port, message * 999 + message.replace(b"Host:", b"Connection: close\r\nHost:"))
    assert server.client.queue("mail")["stats"]["ready"] == 1000
    before = server.resident_bytes("VmHWM")
    hogs = [ask_and_not_read(server.port, LIST % b"mail" * 64) for _ in range(100)]
    for n in range(50):
        assert server.client.publish("mail", {"n": n}).status == 202, "others are served"
    assert len(server.client.get("/v1/queues/mail/messages?page_size=1000").json["messages"]) == 1000
    assert server.client.get("/metrics").status == 200
    grown = server.resident_bytes("VmHWM") - before
    # a sanitizer keeps the memory that was freed
    assert os.environ.get("SLUICE_SANITIZED") or grown < 64 << 20, "16 MiB, and what renders"
    for connection in hogs:
        connection.close()


def test_a_list_that_waits_for_room_keeps_its_place(make_server):
    """What was asked behind it on its connection has not happened when it is answered."""
    server = make_server({"ioThreads": 1}).start()
    connections = []
    for n in range(60):
        server.client.define("queues", f"q{n}", paused=True)
    for n in range(60):
        name = b"q%d" % n
        publish = b"POST /v1/queues/%s/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}" % name
        connections.append(ask_and_not_read(server.port, (LIST % name + publish) * 8))
    for connection in connections:
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        pages = [part.count(b'"id":') for part in received.split(b"HTTP/1.1 ") if b'"messages":' in part]
        assert pages == list(range(8))
        connection.close()


def half_hello():
    """The first half of what a TLS client says first."""
    hello = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    text = hello.read()
    return text[:len(text) // 2]


def is_open(connection):
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_half_handshakes_of_many_are_bounded(make_server, tmp_path):
    """A handshake may hold 72 KiB: of those that never go on as many as the memory has room for, whoever is over is closed.
    When they have gone, there is room again."""
    certificate, key = Authority(tmp_path / "ca").sign("server")
    server = make_server({"ioThreads": 1, "limits": {"memoryBytes": 4 << 20, "headTimeout": "10m", "idleTimeout": "10m"}})
    server.configure({"listeners": [{"host": "127.0.0.1", "port": server.port,
                                     "tls": {"certificate": str(certificate), "key": str(key)}}]})
    server.client = Client(server.port, tls=ssl.create_default_context(cafile=tmp_path / "ca" / "ca_certificate.pem"))
    server.start()
    hello, crowd = half_hello(), []
    for _ in range(300):
        crowd.append(socket.create_connection(("127.0.0.1", server.port), timeout=60))
        with contextlib.suppress(OSError):
            crowd[-1].sendall(hello)
        crowd[-1].setblocking(False)
    # 56 fit, and the last one to begin.
    until(lambda: sum(map(is_open, crowd)) < 60, what="no more of them than there is memory for")
    assert sum(map(is_open, crowd)) > 50, "those that fit stay"
    for connection in crowd:
        connection.close()
    server.wait_for("/healthz")


def test_a_flood_of_wrong_tokens_is_only_refused(make_server):
    tokens = Tokens().add("ops", "admin")
    server = make_server({"tokens": tokens.entries, "limits": {"queueMax": 100}})
    server.client.token = tokens.secrets["ops"]
    server.start()
    server.client.define("queues", "mail", paused=True)
    stop = threading.Event()

    def knock():
        stranger = Client(server.port, token="slc_00000000_" + "A" * 43)
        while not stop.is_set():
            assert stranger.post("/v1/queues/mail/messages", {}).status == 401

    workers = [threading.Thread(target=knock) for _ in range(4)]
    for worker in workers:
        worker.start()
    try:
        for n in range(50):
            assert server.client.publish("mail", {"n": n}).status == 202
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert server.client.queue("mail")["stats"]["ready"] == 50


# ---- tokens ----

def test_guessing_a_token_takes_the_same_time(make_server):
    """
    A structural promise (one hash and one comparison whatever comes, auth.c) with a look at what is computed: wrong
    in the first character of the secret, in the last, in the id. The least of interleaved runs lies within 20 %.
    """
    tokens = Tokens().add("ops", "admin")
    server = make_server({"tokens": tokens.entries})
    server.client.token = tokens.secrets["ops"]
    server.start()
    right = tokens.secrets["ops"]

    def wrong_at(place):
        return right[:place] + ("A" if right[place] != "A" else "B") + right[place + 1:]

    heads = {name: b"GET /v1/noop HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + wrong_at(place).encode()
             + b"\r\n\r\n" for name, place in (("first", 13), ("last", len(right) - 2), ("id", 5))}
    spent_s = {name: [] for name in heads}

    def ratio():
        least = [min(values) for values in spent_s.values()]
        return max(least) / min(least)

    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for turn in range(400):
            if turn >= 20 and ratio() < 1.2:
                break
            for name, head in heads.items():
                before = server.cpu_s()
                for _ in range(75):
                    connection.sendall(head)
                    assert connection.recv(65536).startswith(b"HTTP/1.1 4")
                spent_s[name].append(server.cpu_s() - before)
    assert ratio() < 1.2, {name: min(values) for name, values in spent_s.items()}


# ---- TLS ----

@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    from support.server import Server
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out",
                    folder / "cert.pem"], check=True, capture_output=True)
    server = Server(folder / "server")
    server.configure({"listeners": [{"host": "127.0.0.1", "port": server.port, "tls": {
        "certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}}]})
    server.client = Client(server.port, tls=ssl.create_default_context(cafile=str(folder / "cert.pem")))
    server.start()
    yield server
    server.kill()


def handshake(port, *options):
    """With a client that would do anything; its exit code and words."""
    result = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options], input=b"",
                            capture_output=True, timeout=120, check=False)
    return result.returncode, result.stdout.decode(errors="replace")


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_tls_is_refused(secure, version):
    code, said = handshake(secure.port, version, "-cipher", "ALL:@SECLEVEL=0")
    assert code != 0 and "Cipher is (NONE)" in said, said


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_present_tls_is_spoken(secure, version):
    assert handshake(secure.port, version)[0] == 0


@pytest.mark.parametrize("cipher", ["eNULL", "aNULL", "RC4", "3DES", "MD5", "EXPORT", "PSK", "kRSA", "CBC"])
def test_weak_ciphers_are_refused(secure, cipher):
    names = subprocess.run(["openssl", "ciphers", "-s", "-tls1_2", f"{cipher}:@SECLEVEL=0"], capture_output=True,
                           text=True, check=False).stdout.strip()
    if cipher == "CBC":
        names = "ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA384:AES128-SHA"
    if not names:
        pytest.skip("this OpenSSL does not have them at all")
    code, said = handshake(secure.port, "-tls1_2", "-cipher", names + ":@SECLEVEL=0")
    assert code != 0 and "Cipher is (NONE)" in said, said


def test_no_renegotiation_and_no_compression(secure):
    said = handshake(secure.port, "-tls1_2")[1]
    assert "Compression: NONE" in said
    result = subprocess.run(["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{secure.port}"], input=b"R\n",
                            capture_output=True, timeout=120, check=False)
    assert b"no renegotiation" in result.stderr or b"handshake failure" in result.stderr or result.returncode != 0, \
        result.stderr


# ---- the way out: addresses that lead inside ----

INSIDE = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "017700000001", "0", "0.0.0.0", "localhost",
          "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]", "[64:ff9b::7f00:1]",
          "[2002:7f00:1::]", "127.0.0.1.", "LOCALHOST", "127.0.0.255", "ⓛocalhost"]
PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0xa9fea9fe", "2852039166",
           "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "224.0.0.1", "255.255.255.255"]


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    from support.provider import Provider
    from support.server import Server
    server, provider = Server(tmp_path_factory.mktemp("outside")).start(), Provider()
    yield server, provider
    provider.stop()
    server.kill()


def test_no_notation_of_an_inner_address_is_called(outside):
    """All at once: each has a queue of its own, and each message dies without a connection."""
    server, provider = outside
    port = provider.url.rsplit(":", 1)[1].split("/")[0]
    queues = []
    for n, host in enumerate(INSIDE + PRIVATE):
        reply = server.client.put(f"/v1/destinations/d{n}", {
            "url": f"http://{host}:{port}/", "timeout": "20s", "connectTimeout": "15s"})
        if reply.status == 400:  # not even taken
            continue
        assert reply.status == 201, reply
        server.client.define("queues", f"q{n}", destination=f"d{n}", retryConfig={"maxAttempts": 1})
        assert server.client.publish(f"q{n}", {"host": host}).status == 202
        queues.append((n, host))
    assert len(queues) > 20
    for n, host in queues:
        until(lambda n=n: server.client.queue(f"q{n}")["stats"]["dead"] == 1, 20, f"a dead letter of {host}")
    assert provider.seen == []
    refused = 0
    for n, host in queues:
        message = server.client.get(f"/v1/queues/q{n}/messages").json["messages"][0]
        refused += message["lastError"] == "address-refused"
    assert refused >= len(INSIDE) - 6, "most are refused as addresses; the rest are no names"


def test_redirects_are_not_followed(make_server, make_provider):
    inner = make_provider()
    outer = make_provider(answer=lambda seen, times: (302, {"Location": inner.url}))
    server = make_server().start()
    server.client.define("destinations", "out", url=outer.url, allowPrivateAddresses=True, retryStatuses="500-599")
    server.client.define("queues", "mail", destination="out", retryConfig={"maxAttempts": 1})
    server.client.publish("mail", {"n": 1})
    until(lambda: server.client.queue("mail")["stats"]["dead"] == 1, 10, "a dead letter")
    assert len(outer.seen) == 1 and inner.seen == []
