#!/usr/bin/python3
"""The way out against a far side that misbehaves: dispatch_probe (real engine, real libcurl) calls a raw server.

Usage: test_dispatch.py <dispatch_probe> [unittest arguments]
"""
import contextlib
import email.utils
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PROGRAM = None
READY, DELAYED, IN_FLIGHT, DEAD, DONE = 1, 2, 3, 4, 6
REFUSED, EXHAUSTED = 1, 2
OK, CONNECT, TIMEOUT, TLS, DNS, PROTOCOL, ADDRESS_REFUSED = range(7)
BROKEN = 11


def answer(status=200, body=b"ok", headers=()):
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class FarSide:
    """Reads requests and lets `reply(connection, request)` do what it likes; keeps what it saw."""

    def __init__(self, reply, context=None):
        self.reply, self.context = reply, context
        self.requests, self.connections, self.lock = [], 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError), connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            stream = connection.makefile("rb")
            while request := self.read(stream):
                with self.lock:
                    self.requests.append(request)
                if self.reply(connection, request) is False:
                    return

    @staticmethod
    def read(stream):
        line = stream.readline().decode()
        if not line:
            return None
        headers = {}
        while (text := stream.readline().decode().rstrip("\r\n")):
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", 0)))
        method, path, _ = line.split(" ", 2)
        return {"method": method, "path": path, "headers": headers, "body": body, "at": time.monotonic()}

    def close(self):
        self.listener.close()


def always(data):
    return lambda connection, request: connection.sendall(data)


class Result:
    def __init__(self, text):
        self.messages, self.stats = [], {}
        for line in text.splitlines():
            kind, *rest = line.split()
            pairs = dict(part.split("=") for part in rest if "=" in part)
            if kind == "message":
                self.messages.append({"id": rest[0], **{k: int(v) for k, v in pairs.items()}})
            elif kind == "stats":
                self.stats = {k: float(v) for k, v in pairs.items()}

    @property
    def one(self):
        assert len(self.messages) == 1, self.messages
        return self.messages[0]


def probe(url, **settings):
    folder = tempfile.mkdtemp(prefix="sluice-dispatch-")
    try:
        arguments = [f"{name}={value}" for name, value in settings.items()]
        done = subprocess.run([PROGRAM, folder, url, *arguments], capture_output=True, text=True, timeout=240,
                              env={**os.environ, "http_proxy": "http://127.0.0.1:9"}, check=False)
        if done.returncode != 0:
            raise AssertionError(f"probe ended with {done.returncode}: {done.stderr}")
        return Result(done.stdout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Case(unittest.TestCase):
    by_curl = False  # places in a URL make the whole request curl's; else it leaves over a plain connection of ours

    def far_side(self, reply, context=None):
        side = FarSide(reply, context)
        self.addCleanup(side.close)
        return side

    def call(self, reply, path="/", **settings):
        side = self.far_side(reply)
        return side, probe(self.url(side, path), **settings)

    def url(self, side, path="/"):
        return f"http://127.0.0.1:{side.port}{path}" + ("#{queue}" if self.by_curl else "")

    def ends(self, result, **expected):
        for name, value in expected.items():
            self.assertEqual(result.one[name], value, (name, result.one))


class Requests(Case):
    def test_what_is_sent(self):
        side, result = self.call(
            always(answer()), "/a/../b?c=%20d", body_bytes=3000, content_type="application/json", correlation_id="c-1",
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate="a=b",
            headers="Authorization: Bearer s\\nX-Both: destination\\n",
            message_headers="X-Mine: 1\\nX-Both: message\\nAuthorization: mine\\nHost: evil\\nContent-Length: 1\\n"
                            "Idempotency-Key: other\\nX-Empty:\\n")
        self.ends(result, state=DONE, status=200, attempts=1)
        request = side.requests[0]
        headers = request["headers"]
        self.assertEqual((request["method"], request["path"]), ("POST", "/a/../b?c=%20d"))
        self.assertEqual(request["body"], b"b" * 3000)
        self.assertEqual(headers["content-type"], "application/json")
        self.assertRegex(headers["idempotency-key"], "^" + result.one["id"] + "-[0-9a-f]{16}$")
        self.assertEqual(headers["sluice-message"], result.one["id"])
        self.assertEqual((headers["sluice-queue"], headers["sluice-attempt"]), ("q", "1"))
        self.assertRegex(headers["sluice-scheduled-for"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertRegex(headers["traceparent"], "^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$")
        self.assertNotIn("b7ad6b7169203331", headers["traceparent"])
        self.assertEqual((headers["tracestate"], headers["x-correlation-id"]), ("a=b", "c-1"))
        self.assertEqual((headers["authorization"], headers["x-both"]), ("Bearer s", "destination"))
        self.assertEqual((headers["x-mine"], headers["x-empty"]), ("1", ""))
        self.assertEqual(headers["host"], f"127.0.0.1:{side.port}")
        self.assertEqual(headers["user-agent"], "sluice/test")
        self.assertNotIn("expect", headers)

    def test_without_content_type_none_is_made_up(self):
        side, _ = self.call(always(answer()), body_bytes=2_000_000)
        self.assertNotIn("content-type", side.requests[0]["headers"])
        self.assertNotIn("expect", side.requests[0]["headers"])
        self.assertEqual(len(side.requests[0]["body"]), 2_000_000)

    def test_methods(self):
        for method, body in (("PUT", 5), ("DELETE", 5), ("GET", 0), ("HEAD", 0)):
            side, result = self.call(always(answer(body=b"" if method == "HEAD" else b"ok")), method=method, body_bytes=5)
            self.ends(result, state=DONE)
            self.assertEqual((side.requests[0]["method"], len(side.requests[0]["body"])), (method, body))

    def test_connections_are_kept(self):
        side, result = self.call(always(answer()), messages=200, concurrency=4)
        self.assertEqual(len(side.requests), 200)
        self.assertLessEqual(side.connections, 4)
        self.assertEqual(result.stats["opened"], side.connections)

    def test_the_same_key_in_every_attempt(self):
        side, result = self.call(always(answer(503)), max_attempts=3, backoff_ms=5)
        self.ends(result, state=DEAD, reason=EXHAUSTED, status=503, attempts=3)
        self.assertEqual([r["headers"]["sluice-attempt"] for r in side.requests], ["1", "2", "3"])
        self.assertEqual(len({r["headers"]["idempotency-key"] for r in side.requests}), 1)


class Statuses(Case):
    def test_final_and_retriable(self):
        for status, state in ((200, DONE), (202, DONE), (204, DONE), (400, DEAD), (404, DEAD), (422, DEAD), (301, DEAD)):
            reply = answer(status, b"" if status == 204 else b"x", ["Location: /elsewhere"])
            side, result = self.call(always(reply), max_attempts=2, backoff_ms=1)
            self.ends(result, state=state, status=status, attempts=1)
            self.assertEqual(len(side.requests), 1, "redirects are not followed")
        for status in (408, 425, 500, 502, 504):
            _, result = self.call(always(answer(status)), max_attempts=2, backoff_ms=1)
            self.ends(result, state=DEAD, reason=EXHAUSTED, status=status, attempts=2)

    def test_own_list(self):
        _, result = self.call(always(answer(500)), retry_statuses="404", max_attempts=2, backoff_ms=1)
        self.ends(result, state=DEAD, reason=REFUSED, attempts=1)
        _, result = self.call(always(answer(404)), retry_statuses="404", max_attempts=2, backoff_ms=1)
        self.ends(result, state=DEAD, reason=EXHAUSTED, attempts=2)

    def test_retry_after_in_seconds_and_as_a_date(self):
        date = email.utils.formatdate(time.time() + 30, usegmt=True)
        for value, status in (("30", 429), (date, 503)):
            side, result = self.call(always(answer(status, headers=[f"Retry-After: {value}"])), messages=1, wait_ms=4000)
            self.ends(result, state=DELAYED, status=status)
            self.assertTrue(3_000 < result.one["delay_ms"] < 31_000, result.one)
            self.assertEqual(len(side.requests), 1)

    def test_retry_after_closes_the_destination(self):
        once = []

        def reply(connection, request):
            first = not once
            once.append(1)
            connection.sendall(answer(429, headers=["Retry-After: 1"]) if first else answer())

        side, result = self.call(reply, messages=5, concurrency=1)
        self.assertEqual({m["state"] for m in result.messages}, {DONE})
        self.assertGreaterEqual(side.requests[1]["at"] - side.requests[0]["at"], 0.99)


class Trouble(Case):
    def test_refused(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]  # ours, and nobody listens
            result = probe(f"http://127.0.0.1:{port}/", max_attempts=2, backoff_ms=5)
        self.ends(result, state=DEAD, reason=EXHAUSTED, status=0, error=CONNECT, attempts=2)

    def test_no_such_host(self):
        result = probe("http://does-not-exist.invalid/", max_attempts=1)
        self.ends(result, state=DEAD, error=DNS)

    def test_silence(self):
        began = time.monotonic()
        _, result = self.call(lambda *_: time.sleep(90), timeout_ms=200, max_attempts=1)
        self.ends(result, state=DEAD, error=TIMEOUT, status=0)
        self.assertLess(time.monotonic() - began, 80)
        self.assertEqual(result.stats["timeouts"], 1)

    def test_an_answer_that_does_not_begin(self):
        began = time.monotonic()
        side, result = self.call(lambda *_: time.sleep(90), first_byte_ms=200, timeout_ms=85000, max_attempts=2, backoff_ms=5)
        self.ends(result, state=DEAD, error=TIMEOUT, status=0, attempts=2)
        self.assertLess(time.monotonic() - began, 80)
        self.assertGreaterEqual(side.requests[1]["at"] - side.requests[0]["at"], 0.1)

    def test_an_answer_that_has_begun_may_take_its_time(self):
        def reply(connection, _):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            time.sleep(6)  # longer than it may take to begin
            connection.sendall(b"ok")

        _, result = self.call(reply, messages=2, concurrency=1, first_byte_ms=4000, timeout_ms=85000, max_attempts=1)
        self.assertEqual([m["state"] for m in result.messages], [DONE, DONE])

    def test_nobody_takes_the_connection(self):
        """A full line of those who wait to be accepted looks as a firewall that drops: nothing left, whatever curl calls it."""
        with socket.socket() as listener, contextlib.ExitStack() as others:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(3):
                other = others.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex(listener.getsockname())
            for limits in ({"connect_ms": 200}, {"timeout_ms": 200}, {"connect_ms": 200, "first_byte_ms": 50}):
                url = f"http://127.0.0.1:{listener.getsockname()[1]}/" + ("#{queue}" if self.by_curl else "")
                self.ends(probe(url, max_attempts=1, **limits), state=DEAD, error=CONNECT, status=0)

    def test_slow_bytes(self):
        def drip(connection, _):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(900):  # until nobody listens
                connection.sendall(b"x")
                time.sleep(0.05)

        _, result = self.call(drip, timeout_ms=3000, max_attempts=1)
        self.ends(result, state=DEAD, error=TIMEOUT, status=200)

    def test_no_answer_is_not_asked_twice(self):
        """curl would send again when a kept connection dies; that would be a second request on one token."""
        def reply(connection, request):
            if request["headers"]["sluice-attempt"] == "1" and len(side.requests) == 2:
                return False
            connection.sendall(answer())
            return None

        side = self.far_side(reply)
        result = probe(self.url(side), messages=3, concurrency=1, backoff_ms=5)
        self.assertEqual({m["state"] for m in result.messages}, {DONE})
        seen = [(r["headers"]["sluice-message"], r["headers"]["sluice-attempt"]) for r in side.requests]
        self.assertEqual(len(seen), len(set(seen)), seen)
        self.assertEqual(len(seen), 4)
        self.assertEqual(result.stats["started"], 4)

    def test_garbage(self):
        _, result = self.call(lambda c, r: c.sendall(b"\x00\x01 what?\r\n\r\n") or False, max_attempts=1)
        self.ends(result, state=DEAD)
        self.assertIn(result.one["error"], (PROTOCOL, BROKEN))

    def test_what_only_curl_understands_is_left_to_it(self):
        reply = always(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok")
        side, result = self.call(reply, messages=5, concurrency=1, max_attempts=2, backoff_ms=5)
        self.assertEqual({m["state"] for m in result.messages}, {DONE})
        self.assertEqual(len(side.requests), 5 if self.by_curl else 6)

    def test_cut_off_in_the_body(self):
        def reply(connection, _):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            return False

        _, result = self.call(reply, max_attempts=1)
        self.ends(result, state=DEAD, reason=EXHAUSTED)

    def test_a_huge_response_is_cut(self):
        sent = []

        def reply(connection, _):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n")
            for _ in range(4000):
                connection.sendall(b"\xff" * 100_000)
                sent.append(1)

        _, result = self.call(reply, max_response=50_000)
        self.ends(result, state=DONE, status=200, attempts=1)
        self.assertLess(len(sent), 400)

    def test_endless_headers(self):
        def reply(connection, _):
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X-Long: yes\r\n" * 100_000)
            return False

        _, result = self.call(reply, max_attempts=1, timeout_ms=5000)
        self.ends(result, state=DEAD)

    def test_private_addresses_are_refused_unless_allowed(self):
        side = self.far_side(always(answer()))
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001", "2130706433", "0.0.0.0"):
            result = probe(f"http://{host}:{side.port}/", allow_private=0, max_attempts=1)
            self.ends(result, state=DEAD, error=ADDRESS_REFUSED, status=0)
        self.assertEqual(side.connections, 0)

    def test_stop_waits_for_what_is_under_way(self):
        def reply(connection, _):
            time.sleep(8)
            connection.sendall(answer())

        side, result = self.call(reply, messages=3, wait_ms=4000, grace_ms=60000)
        self.assertEqual((result.stats["succeeded"], result.stats["abandoned"]), (3, 0))
        side, result = self.call(reply, messages=3, wait_ms=4000, grace_ms=0)
        self.assertEqual((result.stats["succeeded"], result.stats["abandoned"]), (0, 3))
        self.assertEqual(len(side.requests), 3)


class Encrypted(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="sluice-tls-")
        cls.certificate, cls.key = f"{cls.folder}/c.pem", f"{cls.folder}/k.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", cls.key, "-out", cls.certificate, "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def tls_side(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return self.far_side(always(answer()), context)

    def test_self_signed_is_refused(self):
        side = self.tls_side()
        result = probe(f"https://localhost:{side.port}/", max_attempts=1)
        self.ends(result, state=DEAD, error=TLS, status=0)
        self.assertEqual(side.requests, [])

    def test_with_its_ca_it_is_taken(self):
        side = self.tls_side()
        result = probe(f"https://localhost:{side.port}/", ca_file=self.certificate, messages=20, concurrency=2)
        self.assertEqual({m["state"] for m in result.messages}, {DONE})
        self.assertLessEqual(side.connections, 2)

    def test_the_name_must_fit(self):
        side = self.tls_side()
        result = probe(f"https://127.0.0.1:{side.port}/", ca_file=self.certificate, max_attempts=1)
        self.ends(result, state=DEAD, error=TLS)


class Pace(Case):
    @staticmethod
    def most_in_a_second(requests):
        times = sorted(r["at"] for r in requests)
        first, most = 0, 0
        for i, at in enumerate(times):
            while at - times[first] >= 1.0:
                first += 1
            most = max(most, i - first + 1)
        return most

    def test_strict_never_above_its_limit(self):
        def reply(connection, _):
            time.sleep(0.02)
            connection.sendall(answer())

        side, result = self.call(reply, messages=300, rate=100, strict=1)
        self.assertEqual(len(side.requests), 300)
        self.assertLessEqual(self.most_in_a_second(side.requests), 100)
        self.assertLess(result.stats["seconds"], 35)


class RequestsByCurl(Requests):
    by_curl = True


class StatusesByCurl(Statuses):
    by_curl = True


class TroubleByCurl(Trouble):
    by_curl = True


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main(verbosity=2)
