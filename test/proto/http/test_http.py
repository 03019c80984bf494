#!/usr/bin/python3
"""Raw sockets against a small server made of the http library (http_test_server.c).

Usage: test_http.py <http_test_server> [unittest arguments]
"""
import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = None
CRLF = b"\r\n"


class Server:
    """One run of the program; `stats` after it has stopped."""

    def __init__(self, **settings):
        arguments = [f"{name}={value}" for name, value in settings.items()]
        self.process = subprocess.Popen([PROGRAM, *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.stats = {}

    def connect(self, receive_buffer=None):
        s = socket.socket()
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.settimeout(60)
        s.connect(("127.0.0.1", self.port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def stop(self, graceful=False):
        out, _ = self.process.communicate("stop\n" if graceful else None, timeout=120)
        self.stats = {line.split()[0]: int(line.split()[1]) for line in out.splitlines()}
        if self.process.returncode != 0:
            raise AssertionError(f"the server ended with {self.process.returncode}")


@contextlib.contextmanager
def serving(graceful=False, **settings):
    server = Server(**settings)
    try:
        yield server
    except BaseException:
        server.process.kill()
        raise
    finally:
        if server.process.returncode is None:
            server.stop(graceful)


class Reader:
    """Answers out of a socket, one after the other."""

    def __init__(self, sock):
        self.sock, self.data = sock, bytearray()

    def more(self):
        part = self.sock.recv(1 << 16)
        self.data += part
        return bool(part)

    def until(self, mark):
        while mark not in self.data:
            if not self.more():
                raise EOFError(bytes(self.data[:200]))
        head, _, self.data = self.data.partition(mark)
        return bytes(head)

    def exactly(self, count):
        while len(self.data) < count:
            if not self.more():
                raise EOFError(f"{len(self.data)} of {count}")
        part = bytes(self.data[:count])
        del self.data[:count]
        return part

    def answer(self, body=True):
        """(status, {field: value}, body)"""
        lines = self.until(CRLF + CRLF).decode().split("\r\n")
        status = int(lines[0].split()[1])
        fields = {n.lower(): v for n, v in (line.split(": ", 1) for line in lines[1:])}
        if not body or status in (100, 204, 304):
            return status, fields, b""
        if fields.get("transfer-encoding") == "chunked":
            return status, fields, b"".join(self.chunks())
        return status, fields, self.exactly(int(fields["content-length"]))

    def chunks(self):
        while size := int(self.until(CRLF), 16):
            yield self.exactly(size)
            self.exactly(2)
        self.exactly(2)

    def closed(self):
        """True when the server closes (a reset counts) without sending more."""
        try:
            return not self.data and not self.more()
        except ConnectionResetError:
            return True


def post(path, body=b"", *fields):
    return (f"POST {path} HTTP/1.1\r\nHost: h\r\n" + "".join(f + "\r\n" for f in fields) +
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def get(path, *fields, version="1.1"):
    return (f"GET {path} HTTP/{version}\r\nHost: h\r\n" +
            "".join(f + "\r\n" for f in fields) + "\r\n").encode()


def head(text):
    """A request written with plain line ends; `|` stands for none."""
    return text.replace("\n", "\r\n").encode("latin-1")


CHUNKED = "POST /echo HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n"

# What must be refused with this status and close: (name, status, bytes). Most of them have smuggled
# a request past some pair of proxy and server.
REFUSED = [
    ("two lengths", 400, head("POST / HTTP/1.1\nHost: h\nContent-Length: 3\nContent-Length: 3\n\nabc")),
    ("two lengths that differ", 400, head("POST / HTTP/1.1\nHost: h\nContent-Length: 3\nContent-Length: 4\n\nabc")),
    ("list of lengths", 400, head("POST / HTTP/1.1\nHost: h\nContent-Length: 3, 3\n\nabc")),
    ("signed length", 400, head("POST / HTTP/1.1\nHost: h\nContent-Length: +3\n\nabc")),
    ("negative length", 400, head("POST / HTTP/1.1\nHost: h\nContent-Length: -3\n\nabc")),
    ("hex length", 400, head("POST / HTTP/1.1\nHost: h\nContent-Length: 0x3\n\nabc")),
    ("length with space inside", 400, head("POST / HTTP/1.1\nHost: h\nContent-Length: 1 2\n\nabc")),
    ("empty length", 400, head("POST / HTTP/1.1\nHost: h\nContent-Length:\n\n")),
    ("length over 64 bits", 400, head("POST / HTTP/1.1\nHost: h\nContent-Length: 18446744073709551619\n\nabc")),
    ("length and chunked", 400, head("POST / HTTP/1.1\nHost: h\nContent-Length: 3\nTransfer-Encoding: chunked\n\n0\n\n")),
    ("chunked and length", 400, head("POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\nContent-Length: 3\n\n0\n\n")),
    ("two encodings", 400, head("POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\n")),
    ("chunked twice", 501, head("POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked, chunked\n\n0\n\n")),
    ("chunked not last", 400, head("POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked, gzip\n\n0\n\n")),
    ("xchunked", 400, head("POST / HTTP/1.1\nHost: h\nTransfer-Encoding: xchunked\n\n0\n\n")),
    ("identity", 400, head("POST / HTTP/1.1\nHost: h\nTransfer-Encoding: identity\n\n")),
    ("chunked with vertical tab", 400, head("POST / HTTP/1.1\nHost: h\nTransfer-Encoding: \x0bchunked\n\n0\n\n")),
    ("chunked quoted", 400, head("POST / HTTP/1.1\nHost: h\nTransfer-Encoding: \"chunked\"\n\n0\n\n")),
    ("unknown coding before chunked", 501, head("POST / HTTP/1.1\nHost: h\nTransfer-Encoding: gzip, chunked\n\n0\n\n")),
    ("chunked in 1.0", 400, head("POST / HTTP/1.0\nHost: h\nTransfer-Encoding: chunked\n\n0\n\n")),
    ("space before colon", 400, head("POST / HTTP/1.1\nHost: h\nContent-Length : 3\n\nabc")),
    ("tab before colon", 400, head("POST / HTTP/1.1\nHost: h\nTransfer-Encoding\t: chunked\n\n0\n\n")),
    ("folded line", 400, head("POST / HTTP/1.1\nHost: h\nTransfer-Encoding:\n chunked\n\n0\n\n")),
    ("folded first line", 400, head("GET / HTTP/1.1\n Host: h\n\n")),
    ("space in name", 400, head("GET / HTTP/1.1\nHost: h\nA b: c\n\n")),
    ("line without colon", 400, head("GET / HTTP/1.1\nHost: h\nAbc\n\n")),
    ("empty name", 400, head("GET / HTTP/1.1\nHost: h\n: c\n\n")),
    ("name above ASCII", 400, head("GET / HTTP/1.1\nHost: h\nA\xe9: c\n\n")),
    ("bare LF after request line", 400, b"GET / HTTP/1.1\nHost: h\r\n\r\n"),
    ("bare LF after field", 400, b"GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n"),
    ("bare LF as end", 400, b"GET / HTTP/1.1\r\nHost: h\r\n\n"),
    ("bare CR in value", 400, b"GET / HTTP/1.1\r\nHost: h\r\nA: b\rC: d\r\n\r\n"),
    ("bare CR as end", 400, b"GET / HTTP/1.1\r\nHost: h\r\n\rX"),
    ("CR CR LF", 400, b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n"),
    ("NUL in value", 400, b"GET / HTTP/1.1\r\nHost: h\r\nA: \0\r\n\r\n"),
    ("control in value", 400, b"GET / HTTP/1.1\r\nHost: h\r\nA: \x01\r\n\r\n"),
    ("DEL in value", 400, b"GET / HTTP/1.1\r\nHost: h\r\nA: \x7f\r\n\r\n"),
    ("NUL in target", 400, b"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("fragment in target", 400, head("GET /a#b HTTP/1.1\nHost: h\n\n")),
    ("target above ASCII", 400, head("GET /\xe9 HTTP/1.1\nHost: h\n\n")),
    ("relative target", 400, head("GET a HTTP/1.1\nHost: h\n\n")),
    ("asterisk for GET", 400, head("GET * HTTP/1.1\nHost: h\n\n")),
    ("authority as target", 400, head("GET h:80 HTTP/1.1\nHost: h\n\n")),
    ("other scheme", 400, head("GET ftp://h/ HTTP/1.1\nHost: h\n\n")),
    ("absolute without host", 400, head("GET http:///a HTTP/1.1\nHost: h\n\n")),
    ("two spaces", 400, head("GET  / HTTP/1.1\nHost: h\n\n")),
    ("space at the end", 400, head("GET / HTTP/1.1 \nHost: h\n\n")),
    ("tab in request line", 400, head("GET\t/ HTTP/1.1\nHost: h\n\n")),
    ("no version", 400, head("GET /\nHost: h\n\n")),
    ("lower-case version", 400, head("GET / http/1.1\nHost: h\n\n")),
    ("short version", 400, head("GET / HTTP/1\nHost: h\n\n")),
    ("long version", 400, head("GET / HTTP/1.10\nHost: h\n\n")),
    ("version 2", 505, head("GET / HTTP/2.0\nHost: h\n\n")),
    ("version 1.2", 505, head("GET / HTTP/1.2\nHost: h\n\n")),
    ("version 0.9", 505, head("GET / HTTP/0.9\nHost: h\n\n")),
    ("no Host", 400, head("GET / HTTP/1.1\nA: b\n\n")),
    ("two Hosts", 400, head("GET / HTTP/1.1\nHost: h\nHost: h\n\n")),
    ("two Hosts in 1.0", 400, head("GET / HTTP/1.0\nHost: h\nHost: h\n\n")),
    ("Host with path", 400, head("GET / HTTP/1.1\nHost: h/x\n\n")),
    ("Host with user", 400, head("GET / HTTP/1.1\nHost: u@h\n\n")),
    ("list of Hosts", 400, head("GET / HTTP/1.1\nHost: a, b\n\n")),
    ("absolute without Host field", 400, head("GET http://h/noop HTTP/1.1\nA: b\n\n")),
    ("unknown method", 405, head("BREW / HTTP/1.1\nHost: h\n\n")),
    ("lower-case method", 405, head("get / HTTP/1.1\nHost: h\n\n")),
    ("CONNECT", 405, head("CONNECT h:80 HTTP/1.1\nHost: h\n\n")),
    ("TRACE", 405, head("TRACE / HTTP/1.1\nHost: h\n\n")),
    ("malformed method", 400, head("G@T / HTTP/1.1\nHost: h\n\n")),
    ("method missing", 400, head(" / HTTP/1.1\nHost: h\n\n")),
    ("TLS hello", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("five empty lines", 400, CRLF * 5 + get("/noop")),
    ("LF before", 400, b"\n" + get("/noop")),
    ("CR before", 400, b"\r" + get("/noop")),
    ("other expectation", 417, head("POST / HTTP/1.1\nHost: h\nExpect: 200-ok\nContent-Length: 1\n\na")),
    ("body too large", 413, head("POST / HTTP/1.1\nHost: h\nContent-Length: 1048577\n\n")),
    ("chunk too large", 413, head(CHUNKED + "fffffff\n")),
    ("chunks too large", 413, head(CHUNKED + "100000\n") + b"x" * (1 << 20) + head("\n1\n")),
    ("chunk size with space", 400, head(CHUNKED + "5 \nabcde\n0\n\n")),
    ("chunk size with space before", 400, head(CHUNKED + " 5\nabcde\n0\n\n")),
    ("chunk size with sign", 400, head(CHUNKED + "+5\nabcde\n0\n\n")),
    ("chunk size with 0x", 400, head(CHUNKED + "0x5\nabcde\n0\n\n")),
    ("chunk size empty", 400, head(CHUNKED + "\nabcde\n0\n\n")),
    ("chunk size of 9 digits", 400, head(CHUNKED + "000000005\nabcde\n0\n\n")),
    ("chunk size of 17 digits", 400, head(CHUNKED + "10000000000000005\nabcde\n0\n\n")),
    ("chunk size, bare LF", 400, head(CHUNKED) + b"5\nabcde\r\n0\r\n\r\n"),
    ("chunk size, CR and other", 400, head(CHUNKED) + b"5\rXabcde\r\n0\r\n\r\n"),
    ("chunk data, no CRLF", 400, head(CHUNKED) + b"5\r\nabcdeXX0\r\n\r\n"),
    ("chunk data, bare LF", 400, head(CHUNKED) + b"5\r\nabcde\n0\r\n\r\n"),
    ("chunk data, bare CR", 400, head(CHUNKED) + b"5\r\nabcde\r0\r\n\r\n"),
    ("chunk longer than it says", 400, head(CHUNKED + "4\nabcde\n0\n\n")),
    ("extension with bare LF", 400, head(CHUNKED) + b"5;a\nb\r\nabcde\r\n0\r\n\r\n"),
    ("extension with control", 400, head(CHUNKED + "5;\x01\nabcde\n0\n\n")),
    ("extension too long", 400, head(CHUNKED + "5;" + "x" * 1025 + "\nabcde\n0\n\n")),
    ("trailer folded", 400, head(CHUNKED + "0\n A: b\n\n")),
    ("trailer with bare LF", 400, head(CHUNKED) + b"0\r\nA: b\n\r\n"),
    ("last chunk and other", 400, head(CHUNKED) + b"0\r\n\rX"),
    ("trailer too long", 431, head(CHUNKED + "0\nA: " + "b" * 20000 + "\n\n")),
    ("target too long", 414, head("GET /" + "a" * 9000 + " HTTP/1.1\nHost: h\n\n")),
    ("endless line", 414, b"A" * 9000),
    ("header too long", 431, head("GET / HTTP/1.1\nHost: h\nA: " + "b" * 17000 + "\n\n")),
    ("101 headers", 431, head("GET / HTTP/1.1\nHost: h\n" + "A: b\n" * 100 + "\n")),
    ("10,000 headers", 431, head("GET / HTTP/1.1\nHost: h\n" + "A: b\n" * 10000 + "\n")),
]

# What must be served: (name, bytes, body of /what or /echo).
SERVED = [
    ("plain", get("/what?a=b"), b"GET /what?a=b 1 0\n"),
    ("one empty line before", CRLF + get("/what"), b"GET /what? 1 0\n"),
    ("absolute target", head("GET http://other:1/what?q HTTP/1.1\nHost: h\n\n"), b"GET /what?q 1 0\n"),
    ("absolute https target", head("GET HTTPS://o/what HTTP/1.1\nHost: h\n\n"), b"GET /what? 1 0\n"),
    ("no space after colon", head("GET /what HTTP/1.1\nHost:h\nA:b\n\n"), b"GET /what? 2 0\n"),
    ("spaces around value", head("GET /what HTTP/1.1\nHost: \t h \t\nA:\t\n\n"), b"GET /what? 2 0\n"),
    ("value above ASCII", head("GET /what HTTP/1.1\nHost: h\nA: \xe9\n\n"), b"GET /what? 2 0\n"),
    ("empty Host", head("GET /what HTTP/1.1\nHost:\n\n"), b"GET /what? 1 0\n"),
    ("IPv6 Host", head("GET /what HTTP/1.1\nHost: [::1]:80\n\n"), b"GET /what? 1 0\n"),
    ("100 headers", head("GET /what HTTP/1.1\nHost: h\n" + "A: b\n" * 99 + "\n"), b"GET /what? 100 0\n"),
    ("upgrade is ignored", get("/what", "Connection: Upgrade", "Upgrade: h2c"), b"GET /what? 3 0\n"),
    ("length 0", post("/what"), b"POST /what? 2 0\n"),
    ("length with zeros", head("POST /echo HTTP/1.1\nHost: h\nContent-Length: 003\n\nabc"), b"abc"),
    ("body", post("/echo", b"abc"), b"abc"),
    ("binary body", post("/echo", bytes(range(256))), bytes(range(256))),
    ("largest body", post("/echo", b"x" * (1 << 20)), b"x" * (1 << 20)),
    ("chunks", head(CHUNKED + "3\nabc\n00000002\nde\n0\n\n"), b"abcde"),
    ("no chunks", head(CHUNKED + "0\n\n"), b""),
    ("chunks with extensions", head(CHUNKED + "3;a=b;c=\"d\"\nabc\n0;x\n\n"), b"abc"),
    ("chunks with trailer", head(CHUNKED + "3\nabc\n0\nA: b\nC: d\n\n"), b"abc"),
    ("CHUNKED", head(CHUNKED.replace("chunked", "Chunked") + "A\n0123456789\n0\n\n"), b"0123456789"),
    ("PUT", head("PUT /what HTTP/1.1\nHost: h\nContent-Length: 2\n\nab"), b"PUT /what? 2 2\n"),
    ("PATCH", head("PATCH /what HTTP/1.1\nHost: h\n\n"), b"PATCH /what? 1 0\n"),
    ("DELETE", head("DELETE /what HTTP/1.1\nHost: h\n\n"), b"DELETE /what? 1 0\n"),
]


class Messages(unittest.TestCase):
    """One server for all that needs no settings of its own."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def ask(self, data, count=1):
        with self.server.connect() as s:
            s.sendall(data)
            r = Reader(s)
            return [r.answer() for _ in range(count)]

    def test_refused_and_closed(self):
        for name, status, data in REFUSED:
            with self.subTest(name), self.server.connect() as s:
                with contextlib.suppress(ConnectionError):
                    s.sendall(data + get("/noop?smuggled"))
                r = Reader(s)
                got, fields, body = r.answer()
                self.assertEqual(got, status, body)
                self.assertEqual(fields["connection"], "close")
                self.assertIn(b'"detail":', body)
                self.assertTrue(r.closed(), "nothing follows")

    def test_refused_whatever_the_cut(self):
        for name, status, data in REFUSED:
            if len(data) > 200:
                continue
            with self.subTest(name), self.server.connect() as s:
                with contextlib.suppress(ConnectionError):
                    for i in range(len(data)):
                        s.sendall(data[i:i + 1])
                    s.shutdown(socket.SHUT_WR)
                self.assertEqual(Reader(s).answer()[0], status)

    def test_served_and_kept_alive(self):
        for name, data, expected in SERVED:
            with self.subTest(name), self.server.connect() as s:
                r = Reader(s)
                for _ in range(2):
                    s.sendall(data)
                    status, fields, body = r.answer()
                    self.assertEqual((status, body), (200, expected))
                    self.assertNotIn("connection", fields)

    def test_answer_has_date_length_and_type(self):
        status, fields, body = self.ask(get("/noop"))[0]
        self.assertRegex(fields["date"], r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")
        self.assertEqual((fields["content-type"], body), ("application/json", b"{}"))

    def test_no_body_for_head_and_204(self):
        with self.server.connect() as s:
            r = Reader(s)
            s.sendall(head("HEAD /noop HTTP/1.1\nHost: h\n\n") + post("/release") + get("/noop"))
            status, fields, _ = r.answer(body=False)
            self.assertEqual((status, fields["content-length"]), (200, "2"))
            status, fields, _ = r.answer()
            self.assertEqual(status, 204)
            self.assertNotIn("content-length", fields)
            self.assertEqual(r.answer()[2], b"{}")

    def test_a_refusal_behind_a_head_has_its_body(self):
        with self.server.connect() as s:
            r = Reader(s)
            s.sendall(head("HEAD /noop HTTP/1.1\nHost: h\n\n"))
            r.answer(body=False)
            s.sendall(head("GET /noop HTTP/1.1\nHo st: h\n\n"))
            status, _, body = r.answer()
            self.assertEqual(status, 400)
            self.assertIn(b'"detail":', body)

    def test_options_asterisk(self):
        self.assertEqual(self.ask(head("OPTIONS * HTTP/1.1\nHost: h\n\n"))[0][0], 404)

    def test_unknown_method_says_what_is_allowed(self):
        _, fields, _ = self.ask(head("BREW / HTTP/1.1\nHost: h\n\n"))[0]
        self.assertIn("DELETE", fields["allow"])

    def test_http_1_0_closes(self):
        for extra in ([], ["Connection: keep-alive"]):
            with self.server.connect() as s:
                s.sendall(get("/noop", *extra, version="1.0"))
                r = Reader(s)
                self.assertEqual(r.answer()[1]["connection"], "close")
                self.assertTrue(r.closed())
        with self.server.connect() as s:
            s.sendall(b"GET /noop HTTP/1.0\r\n\r\n")  # no Host needed
            self.assertEqual(Reader(s).answer()[0], 200)

    def test_connection_close(self):
        for data in (get("/noop", "Connection: close"), get("/noop", "Connection: foo, Close"), get("/close")):
            with self.server.connect() as s:
                s.sendall(data + get("/noop"))
                r = Reader(s)
                status, fields, _ = r.answer()
                self.assertEqual((status, fields["connection"]), (200, "close"))
                self.assertTrue(r.closed(), "what follows the last request is not answered")

    def test_pipeline_of_1000(self):
        data = b"".join(post("/echo", b"%d" % i) for i in range(1000))
        for i, (status, _, body) in enumerate(self.ask(data, 1000)):
            self.assertEqual((status, body), (200, b"%d" % i))

    def test_pipeline_split_at_every_byte(self):
        data = (post("/echo", b"first") + head(CHUNKED + "3\nabc\n2;x\nde\n0\nT: r\n\n") + get("/what?q"))
        for i in range(1, len(data)):
            with self.subTest(i), self.server.connect() as s:
                r = Reader(s)
                s.sendall(data[:i])
                time.sleep(0.0005)
                s.sendall(data[i:])
                self.assertEqual([r.answer()[2] for _ in range(3)], [b"first", b"abcde", b"GET /what?q 1 0\n"])

    def test_pipeline_of_1000_in_random_pieces(self):
        data = b"".join(post("/echo", b"%d" % i) for i in range(1000))
        seed = random.randrange(1 << 32)
        rng = random.Random(seed)
        with self.server.connect() as s:
            r, at = Reader(s), 0
            while at < len(data):
                size = rng.choice([1, 7, 60, 400, 5000])
                s.sendall(data[at:at + size])
                at += size
            for i in range(1000):
                self.assertEqual(r.answer()[2], b"%d" % i, f"seed {seed}")

    def wait_held(self, connection, count):
        r, held = Reader(connection), -1
        while held < count:
            connection.sendall(get("/held"))
            held = int(r.answer()[2])
        self.assertEqual(held, count)

    def test_answers_in_order_of_requests(self):
        with self.server.connect() as s, self.server.connect() as other:
            s.sendall(b"".join(get("/hold") for _ in range(30)) + get("/what?mine"))
            self.wait_held(other, 30)
            other.sendall(get("/release"))
            r = Reader(s)
            bodies = [r.answer()[2] for _ in range(31)]
            self.assertEqual(bodies, [b"held\n"] * 30 + [b"GET /what?mine 1 0\n"])

    def test_at_most_64_unanswered_requests(self):
        with self.server.connect() as s, self.server.connect() as other:
            s.sendall(get("/hold") * 200)
            self.wait_held(other, 64)
            time.sleep(0.1)
            self.wait_held(other, 64)
        self.ask(get("/release"))

    def test_full_line_stops_reading_and_goes_on(self):
        with self.server.connect() as s, self.server.connect() as other:
            s.sendall(b"".join(get("/hold") for _ in range(64)) + b"".join(get("/what?%d" % i) for i in range(200)))
            r, time_out = Reader(s), time.monotonic() + 60
            while time.monotonic() < time_out and b"HTTP" not in r.data:
                other.sendall(get("/release"))
                Reader(other).until(CRLF + CRLF)
                s.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    r.more()
            s.settimeout(60)
            bodies = [r.answer()[2] for _ in range(264)]
            self.assertEqual(bodies[64:], [b"GET /what?%d 1 0\n" % i for i in range(200)])

    def test_continue(self):
        with self.server.connect() as s:
            r = Reader(s)
            request = post("/echo", b"abc", "Expect: 100-continue")
            s.sendall(request[:-3])
            self.assertEqual(r.answer()[0], 100)
            s.sendall(b"abc")
            self.assertEqual(r.answer()[2], b"abc")
            s.sendall(request)  # the body is there: no invitation
            self.assertEqual(r.answer()[0], 200)

    def test_continue_waits_for_its_turn(self):
        with self.server.connect() as s:
            r = Reader(s)
            s.sendall(get("/later?ms=100") + post("/echo", b"abc", "Expect: 100-continue")[:-3])
            self.assertEqual(r.answer()[2], b"late\n")
            self.assertEqual(r.answer()[0], 100)
            s.sendall(b"abc")
            self.assertEqual(r.answer()[2], b"abc")

    def test_too_large_is_not_invited(self):
        status = self.ask(head("POST /echo HTTP/1.1\nHost: h\nExpect: 100-continue\nContent-Length: 2000000\n\n"))[0][0]
        self.assertEqual(status, 413)

    def test_refusal_arrives_though_the_client_goes_on_sending(self):
        with self.server.connect() as s:
            s.sendall(head("POST /echo HTTP/1.1\nHost: h\nContent-Length: 3000000\n\n"))
            for _ in range(30):
                s.sendall(b"x" * 100000)  # no reset, which could overtake the answer
            self.assertEqual(Reader(s).answer()[0], 413)

    def test_half_closed_client_is_answered(self):
        with self.server.connect() as s:
            s.sendall(get("/later?ms=100") + get("/noop"))
            s.shutdown(socket.SHUT_WR)
            r = Reader(s)
            self.assertEqual([r.answer()[2], r.answer()[2]], [b"late\n", b"{}"])
            self.assertTrue(r.closed())

    def test_half_a_request_and_the_end(self):
        for data in (b"", b"GET /no", post("/echo", b"abcdef")[:-3]):
            with self.server.connect() as s:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                self.assertTrue(Reader(s).closed())

    def test_client_vanishes_before_its_answer(self):
        for reset in (False, True):
            for _ in range(20):
                s = self.server.connect()
                s.sendall(get("/later?ms=30") * 3 + get("/hold"))
                time.sleep(0.005)
                if reset:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                s.close()
        time.sleep(0.1)
        self.assertEqual(self.ask(get("/release") + get("/noop"), 2)[1][2], b"{}")

    def test_large_answer(self):
        body = self.ask(get("/big?n=20000000"))[0][2]
        self.assertEqual((len(body), body.strip(b"b")), (20000000, b""))

    def test_pipelined_large_answers_to_a_slow_reader(self):
        with self.server.connect(receive_buffer=20000) as s:
            s.sendall(get("/big?n=300000") * 50)
            time.sleep(0.2)
            r = Reader(s)
            self.assertEqual({len(r.answer()[2]) for _ in range(50)}, {300000})

    def test_a_pipeline_leaves_others_their_turn(self):
        """All are ready at once, whatever the order: whoever asks one thing waits for a share of the others, not for all they asked."""
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(self.server.connect()) for _ in range(9)]
            serials = [Reader(s) for s in crowd]
            for s, r in zip(crowd, serials):
                s.sendall(get("/serial"))
                r.answer()
            self.server.process.send_signal(signal.SIGSTOP)
            for n, s in enumerate(crowd):
                s.sendall(get("/serial") * (1 if n % 3 == 1 else 500))
            self.server.process.send_signal(signal.SIGCONT)
            first = {n: [int(r.answer()[2]) for _ in range(1 if n % 3 == 1 else 500)] for n, r in enumerate(serials)}
            least = min(min(some) for some in first.values())
            for n in (1, 4, 7):
                self.assertLess(first[n][0] - least, 9 * 64)
            self.assertEqual(sorted(sum(first.values(), [])), list(range(least, least + 3003)))

    def test_stream(self):
        with self.server.connect() as s:
            r = Reader(s)
            s.sendall(get("/stream?n=3") + get("/stream?n=0") + get("/noop"))
            self.assertEqual(r.answer()[2], b"data: 0\n\ndata: 1\n\ndata: 2\n\n")
            self.assertEqual(r.answer()[2], b"")
            self.assertEqual(r.answer()[2], b"{}")
            s.sendall(get("/later?ms=50") + get("/stream?n=2") + get("/noop"))  # not its turn at first
            self.assertEqual([r.answer()[2] for _ in range(3)], [b"late\n", b"data: 0\n\ndata: 1\n\n", b"{}"])

    def test_stream_for_1_0_ends_with_the_connection(self):
        with self.server.connect() as s:
            s.sendall(get("/stream?n=2", version="1.0"))
            r = Reader(s)
            self.assertNotIn("transfer-encoding", r.answer(body=False)[1])
            while r.more():
                pass
            self.assertEqual(r.data, b"data: 0\n\ndata: 1\n\n")


class Limits(unittest.TestCase):
    def assertEndsWith408(self, server, data, least):
        with server.connect() as s:
            started = time.monotonic()
            s.sendall(data)
            r = Reader(s)
            status, _, _ = r.answer()
            took = time.monotonic() - started
            self.assertEqual(status, 408)
            self.assertGreaterEqual(took, least)
            self.assertTrue(r.closed())

    def test_slow_head_and_body(self):
        with serving(head_timeout_ms=200, body_timeout_ms=400) as server:
            self.assertEndsWith408(server, b"GET / HTT", 0.2)
            self.assertEndsWith408(server, post("/echo", b"abc")[:-1], 0.4)
            self.assertEndsWith408(server, head(CHUNKED + "5\nab"), 0.4)
            self.assertEndsWith408(server, post("/echo", b"x" * 100000)[:-1], 0.4)

    def test_body_that_is_slow_but_not_too_slow(self):
        with serving(body_timeout_ms=4000) as server, server.connect() as s:
            s.sendall(post("/echo", b"x" * 30000)[:-30000])
            for _ in range(20):
                s.sendall(b"x" * 1500)
                time.sleep(0.3)
            self.assertEqual(len(Reader(s).answer()[2]), 30000)

    def test_slow_loris(self):
        """A byte now and then does not prolong the head's time, nor bytes under the least rate the body's."""
        with serving(head_timeout_ms=300, body_timeout_ms=300) as server:
            for data in (get("/noop", "A: " + "b" * 300), post("/echo", b"x" * 2000)):
                with server.connect() as s:
                    started = time.monotonic()
                    s.sendall(data[:40] if b"GET" in data else data[:-1500])
                    s.settimeout(0.02)
                    r = Reader(s)
                    while b"\r\n\r\n" not in r.data and time.monotonic() < started + 60:
                        with contextlib.suppress(ConnectionError):
                            s.send(b"b")
                        with contextlib.suppress(TimeoutError):
                            r.more()
                    self.assertIn(b"408", r.data)

    def test_time_starts_with_the_first_byte_of_each_request(self):
        with serving(head_timeout_ms=300, idle_timeout_ms=5000) as server, server.connect() as s:
            r = Reader(s)
            for before in (b"", b"\r\n", b""):
                s.sendall(before)
                time.sleep(0.4)
                s.sendall(get("/noop"))
                self.assertEqual(r.answer()[0], 200)

    def test_waiting_for_an_answer_is_no_time_out(self):
        with serving(head_timeout_ms=2000, body_timeout_ms=2000, idle_timeout_ms=2000) as server, server.connect() as s:
            s.sendall(get("/later?ms=5000"))
            self.assertEqual(Reader(s).answer()[2], b"late\n")

    def test_idle_connections_are_closed(self):
        with serving(idle_timeout_ms=2000) as server:
            with server.connect() as fresh, server.connect() as used:
                used.sendall(get("/noop"))
                r = Reader(used)
                r.answer()
                self.assertTrue(r.closed())
                self.assertTrue(Reader(fresh).closed())

    def test_peer_that_never_reads(self):
        with serving(write_timeout_ms=300) as server:
            with server.connect(receive_buffer=4096) as s:
                s.sendall(get("/big?n=20000000"))
                time.sleep(3)
                with self.assertRaises((EOFError, ConnectionError)):
                    Reader(s).answer()
            with server.connect() as s:
                s.sendall(get("/noop"))
                self.assertEqual(Reader(s).answer()[0], 200)

    def test_peer_that_reads_slowly_is_kept(self):
        with serving(write_timeout_ms=4000) as server, server.connect(receive_buffer=4096) as s:
            s.sendall(get("/big?n=12000000"))
            r = Reader(s)
            until = time.monotonic() + 6
            while time.monotonic() < until:
                r.more()
                time.sleep(0.02)
            self.assertEqual(len(r.answer()[2]), 12000000)

    def test_stream_that_nobody_reads_is_bounded(self):
        with serving(graceful=True) as server:
            with server.connect(receive_buffer=4096) as s:
                s.sendall(get("/endless"))
                time.sleep(6)
        self.assertEqual((server.stats["streams_over_limit"], server.stats["closed_streams"]), (1, 1))

    def test_stream_is_told_when_the_client_leaves(self):
        with serving(graceful=True) as server:
            with server.connect() as s:
                s.sendall(get("/endless"))
                Reader(s).until(b"xxxx")
            time.sleep(0.1)
            with server.connect() as s:
                s.sendall(get("/noop"))
                Reader(s).answer()
        self.assertEqual(server.stats["closed_streams"], 1)

    @staticmethod
    def is_let_in(server):
        with contextlib.suppress(EOFError, ConnectionError), server.connect() as s:
            s.sendall(get("/noop"))
            return Reader(s).answer()[0] == 200

    def test_too_many_connections(self):
        with serving(connections=10) as server, contextlib.ExitStack() as stack:
            held = [stack.enter_context(server.connect()) for _ in range(10)]
            for s in held:
                s.sendall(get("/noop"))
                self.assertEqual(Reader(s).answer()[0], 200)
            refused = [stack.enter_context(server.connect()) for _ in range(200)]
            statuses = []
            for s in refused:
                r = Reader(s)
                with contextlib.suppress(EOFError, ConnectionError):
                    statuses.append(r.answer()[0])
            self.assertTrue(statuses and set(statuses) == {503}, statuses)
            for s in refused + held[:1]:
                s.close()
            while not self.is_let_in(server):
                pass
            held[1].sendall(get("/noop"))
            self.assertEqual(Reader(held[1]).answer()[0], 200)

    def test_memory_limit_stops_reading_and_goes_on(self):
        body = b"y" * 1000000
        with serving(memory_bytes=3 << 20, body_timeout_ms=8000) as server, contextlib.ExitStack() as stack:
            peers = [stack.enter_context(server.connect()) for _ in range(12)]
            for s in peers:
                s.sendall(post("/echo", body)[:-400000])
            late = stack.enter_context(server.connect())
            late.sendall(post("/echo", body[:10]))
            late.settimeout(0.3)
            with self.assertRaises(TimeoutError):
                Reader(late).answer()
            late.settimeout(60)  # what the others hold comes back when their time is up
            self.assertEqual(Reader(late).answer()[2], body[:10])
            until = time.monotonic() + 60
            while True:  # all is as before, once the last of them has gone
                late = stack.enter_context(server.connect())
                late.sendall(post("/echo", body))
                if (answer := Reader(late).answer()[2]) == body:
                    break
                self.assertLess(time.monotonic(), until, answer)

    def test_answers_that_nobody_reads_are_bounded(self):
        """Of what was asked before reading paused: 192 MB of answers, and 2 MiB for all connections."""
        with serving(memory_bytes=2 << 20, write_timeout_ms=3000) as server, contextlib.ExitStack() as stack:
            hogs = [stack.enter_context(server.connect(receive_buffer=4096)) for _ in range(15)]
            for s in hogs:
                s.sendall(get("/later?ms=500&n=200000") * 64)
            one = stack.enter_context(server.connect())
            one.sendall(get("/later?ms=500&n=200000"))
            self.assertEqual(len(Reader(one).answer()[2]), 200000)
            one.sendall(get("/later?ms=500&n=200000"))  # after all of theirs
            self.assertEqual(len(Reader(one).answer()[2]), 200000)
            with open(f"/proc/{server.process.pid}/status") as status:
                kib = int(re.search(r"VmHWM:\s+(\d+)", status.read())[1])
            if not os.environ.get("SLUICE_SANITIZED"):
                self.assertLess(kib, 60000)
            cut = 0
            for s in hogs:
                with contextlib.suppress(EOFError, ConnectionError):
                    r = Reader(s)
                    self.assertEqual([len(r.answer()[2]) for _ in range(64)], [200000] * 64)
                    continue
                cut += 1
            self.assertGreater(cut, 10)

    def test_who_reads_nothing_makes_room_for_those_that_wait(self):
        """Long before write_timeout_ms: what they asked for fills the memory, and each has no more than its share of it."""
        with serving(memory_bytes=2 << 20, write_timeout_ms=600000) as server, contextlib.ExitStack() as stack:
            hogs = [stack.enter_context(server.connect(receive_buffer=4096)) for _ in range(20)]
            for s in hogs:
                s.sendall(get("/later?ms=1&n=2500000") * 2)
            one = stack.enter_context(server.connect())
            for _ in range(50):
                one.sendall(get("/noop"))
                self.assertEqual(Reader(one).answer()[2], b"{}")

    def test_whose_line_ends_while_there_is_no_memory_goes_on_when_there_is(self):
        """It was paused for its line when there was memory, so it stands with nobody who waits for that."""
        with serving(memory_bytes=2 << 20, pipeline_depth=1, body_timeout_ms=600000) as server, contextlib.ExitStack() as stack:
            one = stack.enter_context(server.connect())
            one.sendall(get("/later?ms=1500&n=2") + get("/noop"))
            hogs = [server.connect() for _ in range(3)]
            for s in hogs:
                s.sendall(post("/echo", b"y" * 1000000)[:-10])
            r = Reader(one)
            self.assertEqual(len(r.answer()[2]), 2)
            for s in hogs:
                s.close()
            one.settimeout(10)
            self.assertEqual(r.answer()[2], b"{}")

    def test_2000_idle_connections(self):
        with serving() as server, contextlib.ExitStack() as stack:
            for i in range(2000):
                s = stack.enter_context(server.connect())
                if i % 100 == 0:
                    s.sendall(get("/noop"))
                    self.assertEqual(Reader(s).answer()[0], 200)
            with open(f"/proc/{server.process.pid}/status") as status:
                kib = int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])
            if not os.environ.get("SLUICE_SANITIZED"):
                self.assertLess(kib, 24000, "about 2 KiB a connection")
            s.sendall(get("/noop"))
            self.assertEqual(Reader(s).answer()[0], 200)


class Stopping(unittest.TestCase):
    def test_graceful(self):
        server = Server()
        with server.connect() as idle, server.connect() as busy, server.connect() as sending, \
                server.connect() as streaming:
            idle.sendall(get("/noop"))
            Reader(idle).answer()
            busy.sendall(get("/later?ms=3000"))
            sending.sendall(post("/echo", b"abc")[:-1])
            streaming.sendall(get("/endless"))
            Reader(streaming).until(b"xxx")
            server.process.stdin.write("stop\n")
            server.process.stdin.flush()
            self.assertTrue(Reader(idle).closed())
            sending.sendall(b"c")
            for s, expected in ((sending, b"abc"), (busy, b"late\n")):
                r = Reader(s)
                _, fields, body = r.answer()
                self.assertEqual((body, fields["connection"]), (expected, "close"))
                self.assertTrue(r.closed())
            with self.assertRaises(ConnectionRefusedError):
                server.connect()
            while streaming.recv(1 << 16):
                pass
        server.stop()
        self.assertEqual((server.stats["open"], server.stats["requests"]), (0, 4))

    def test_the_whole_line_is_answered(self):
        server = Server()
        with server.connect() as line, server.connect() as other, server.connect() as behind_a_stream:
            line.sendall(get("/later?ms=1500") + get("/noop") * 3 + get("/later?ms=1") + get("/noop") * 5)
            behind_a_stream.sendall(get("/endless") + get("/noop") * 4 + post("/echo", b"abc")[:-1])
            r = Reader(other)
            for polls in itertools.count():  # until all 15 have been taken
                other.sendall(get("/serial"))
                if int(r.answer()[2]) == polls + 15:
                    break
            server.process.stdin.write("stop\n")
            server.process.stdin.flush()
            r = Reader(line)
            self.assertEqual([r.answer()[0] for _ in range(10)], [200] * 10)
            self.assertTrue(r.closed())
            r = Reader(behind_a_stream)
            r.answer()
            for _ in range(4):
                self.assertEqual(r.answer()[0], 200)
            behind_a_stream.sendall(b"c")
            _, fields, body = r.answer()
            self.assertEqual((body, fields["connection"]), (b"abc", "close"))
            self.assertTrue(r.closed())
        server.stop()

    def test_cut_off(self):
        server = Server()
        with contextlib.ExitStack() as stack:
            for data in (b"", b"GET", get("/hold"), get("/endless"), get("/big?n=20000000")):
                stack.enter_context(server.connect()).sendall(data)
            time.sleep(0.05)
            server.stop()


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="sluice-tls-")
        for name in ("server", "client", "stranger"):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                            "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
                            "-keyout", cls.path(f"{name}.key"), "-out", cls.path(f"{name}.crt")],
                           check=True, capture_output=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name)

    def serving(self, **settings):
        return serving(cert=self.path("server.crt"), key=self.path("server.key"), **settings)

    def context(self, certificate=None):
        context = ssl.create_default_context(cafile=self.path("server.crt"))
        if certificate:
            context.load_cert_chain(self.path(f"{certificate}.crt"), self.path(f"{certificate}.key"))
        return context

    def wrap(self, server, context):
        return context.wrap_socket(server.connect(), server_hostname="127.0.0.1")

    def test_requests(self):
        context = self.context()
        context.set_alpn_protocols(["http/1.1"])
        with self.serving() as server, self.wrap(server, context) as s:
            self.assertEqual(s.selected_alpn_protocol(), "http/1.1")
            r = Reader(s)
            for body in (b"abc", b"x" * 1000000):
                s.sendall(post("/echo", body))
                self.assertEqual(r.answer()[2], body)
            s.sendall(b"".join(post("/echo", b"%d" % i) for i in range(500)))
            self.assertEqual([r.answer()[2] for i in range(500)], [b"%d" % i for i in range(500)])
            s.sendall(get("/big?n=5000000") + get("/close"))
            self.assertEqual(len(r.answer()[2]), 5000000)
            self.assertEqual(r.answer()[1]["connection"], "close")
            self.assertEqual(s.recv(10), b"")  # a proper close_notify: no SSLEOFError

    def test_backpressure(self):
        with self.serving() as server, self.wrap(server, self.context()) as s:
            s.sendall(get("/later?ms=100") * 64 + b"".join(post("/echo", b"%d" % i) for i in range(1000)))
            r = Reader(s)
            self.assertEqual([r.answer()[2] for _ in range(1064)][64:], [b"%d" % i for i in range(1000)])

    def test_versions(self):
        with self.serving() as server:
            for version, works in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True),
                                   (ssl.TLSVersion.TLSv1_3, True)):
                context = self.context()
                context.set_ciphers("DEFAULT:@SECLEVEL=0")
                context.minimum_version = min(version, ssl.TLSVersion.TLSv1_1)
                context.maximum_version = version
                if works:
                    with self.wrap(server, context) as s:
                        s.sendall(get("/noop"))
                        self.assertEqual(Reader(s).answer()[0], 200)
                else:
                    with self.assertRaises((ssl.SSLError, ConnectionError)):
                        self.wrap(server, context)

    def test_unknown_protocol_is_refused(self):
        context = self.context()
        context.set_alpn_protocols(["h2"])
        with self.serving() as server, self.assertRaises((ssl.SSLError, ConnectionError)):
            self.wrap(server, context)

    def test_client_certificates(self):
        with self.serving(ca=self.path("client.crt")) as server:
            with self.wrap(server, self.context("client")) as s:
                s.sendall(get("/noop"))
                self.assertEqual(Reader(s).answer()[0], 200)
            for certificate in (None, "stranger"):
                with self.assertRaises((ssl.SSLError, ConnectionError, EOFError)):
                    with self.wrap(server, self.context(certificate)) as s:
                        s.sendall(get("/noop"))
                        Reader(s).answer()

    def test_plain_or_silent_client(self):
        with self.serving(head_timeout_ms=300) as server:
            with server.connect() as plain:
                plain.sendall(get("/noop"))
                with contextlib.suppress(ConnectionError):
                    while plain.recv(100):
                        pass
            with server.connect() as silent:
                self.assertTrue(Reader(silent).closed())
            with server.connect() as part:
                part.sendall(b"\x16\x03\x01\x02\x00\x01")
                self.assertTrue(Reader(part).closed())

    def test_bad_files_are_named(self):
        for cert, key, word in (("none.crt", "server.key", "none.crt"), ("server.crt", "client.key", "client.key")):
            done = subprocess.run([PROGRAM, f"cert={self.path(cert)}", f"key={self.path(key)}"],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn(word[:4], done.stderr)

    @unittest.skipUnless(shutil.which("curl"), "curl is not installed")
    def test_curl(self):
        with self.serving() as server:
            done = subprocess.run(
                ["curl", "-sS", "--cacert", self.path("server.crt"), "-d", "hello",
                 f"https://127.0.0.1:{server.port}/echo"], capture_output=True, check=True)
            self.assertEqual(done.stdout, b"hello")


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
