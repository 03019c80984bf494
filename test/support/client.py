"""A small HTTP client: one keep-alive connection a thread, JSON in and out, nothing retried behind the test's back."""
import http.client
import json
import select
import socket
import threading
from urllib.parse import quote


class Reply:
    """An answer that has wholly arrived."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def problem(self):
        """The stable part of a problem's type: "sold-out"."""
        assert self.headers.get("Content-Type", "").startswith("application/problem+json"), self
        return self.json["type"].rstrip("/").rsplit("/", 1)[-1].rsplit(":", 1)[-1]

    def __repr__(self):
        return f"<{self.status} {dict(self.headers)} {self.body[:400]!r}>"


class Client:
    def __init__(self, port, token=None, tls=None, timeout=60):
        self.port, self.token, self.tls, self.timeout = port, token, tls, timeout
        self.local = threading.local()

    def connect(self):
        if self.tls is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=self.timeout, context=self.tls)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def request(self, method, path, body=None, headers=None):
        """The reply, or OSError / HTTPException when none arrived: then the outcome is unknown."""
        fields = dict(headers or {})
        if self.token:
            fields.setdefault("Authorization", f"Bearer {self.token}")
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None:
            fields.setdefault("Content-Type", "application/json")
        if self.ended():
            self.close()
        reused = getattr(self.local, "connection", None) is not None
        if not reused:
            self.local.connection = self.connect()
        try:
            self.local.connection.request(method, path, body, fields)
            response = self.local.connection.getresponse()
            reply = Reply(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException):
            self.close()
            if reused and method == "GET":  # the server may have closed an idle connection
                return self.request(method, path, body, headers)
            raise
        if response.will_close:
            self.close()
        return reply

    def ended(self):
        """Whether the server has closed the kept connection, as it does with an idle one: nothing else can be there to be read."""
        connection = getattr(self.local, "connection", None)
        if connection is None or connection.sock is None:
            return False
        poll = select.poll()
        poll.register(connection.sock, select.POLLIN)
        return bool(poll.poll(0))

    def close(self):
        connection = getattr(self.local, "connection", None)
        self.local.connection = None
        if connection is not None:
            connection.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def post(self, path, body=None, **headers):
        return self.request("POST", path, body if body is not None else {}, headers)

    def put(self, path, body, **headers):
        return self.request("PUT", path, body, headers)

    def delete(self, path):
        return self.request("DELETE", path)

    # ---- the resources, by name ----

    def define(self, kind, name, expect=(200, 201), **fields):
        reply = self.put(f"/v1/{kind}/{name}", fields)
        assert reply.status in expect, reply
        return reply

    def enter(self, campaign, member, **fields):
        return self.post(f"/v1/campaigns/{campaign}/entries", {"member": member, **fields})

    def reserve(self, stock, purchase=None, member=None, **fields):
        named = {"purchase": purchase, "member": member}
        return self.post(f"/v1/stocks/{stock}/reservations",
                         {**{k: v for k, v in named.items() if v is not None}, **fields})

    def release(self, stock, purchase):
        return self.delete(f"/v1/stocks/{stock}/reservations/{quote(purchase, safe='')}")

    def publish(self, queue, body, **options):
        """Options of the message are header fields: delay="2s" is Sluice-Delay: 2s."""
        fields = {"Sluice-" + name.replace("_", "-").title(): str(value) for name, value in options.items()}
        return self.post(f"/v1/queues/{queue}/messages", body, **fields)

    def stock(self, name):
        return self.get(f"/v1/stocks/{name}").json

    def queue(self, name):
        return self.get(f"/v1/queues/{name}").json


def send_raw(port, data, timeout=60):
    """Sends bytes as they are; what came back until the server closed or fell silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(data)
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except (TimeoutError, ConnectionResetError):
            pass
        return received
