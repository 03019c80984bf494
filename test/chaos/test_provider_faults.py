"""A provider that does everything wrong: stalls, resets, drips, lies about lengths, floods, disappears. Messages wait
and are tried again; each arrives, in order, with one effect; nobody else notices."""
import socket
import struct
import time

import pytest
from support.provider import Handler, Provider, Seen
from support.wait import until

from rig.judge import judge
from rig.loads import DeliveryLoad, KeyLoad, Pressure, StockLoad
from test_kill_rounds import define, drain, verify

FLOOD_BYTES = 100 << 20


class Unruly(Handler):
    """Each method answers in its own wrong way; the effect has taken place, the answer may never be heard."""

    def do_POST(self):
        at_ns = time.monotonic_ns()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if len(body) < int(self.headers.get("Content-Length", 0)):
            return  # the server was killed while it sent
        seen = Seen(self.path, self.headers, body, at_ns)
        provider = self.server.provider
        self.asked = getattr(self, "asked", 0) + 1  # on this connection
        provider.note(seen)
        provider.took_effect(seen)
        fault = None if provider.calm else provider.rng.choice(provider.choice)
        with provider.lock:
            provider.on_kept += fault is not None and fault is not good and self.asked > 1
            provider.faults[fault.__name__ if fault else "good"] = provider.faults.get(
                fault.__name__ if fault else "good", 0) + 1
        try:
            (fault or good)(self)
        except OSError:
            self.close_connection = True

    def raw(self, data):
        self.wfile.write(data)
        self.wfile.flush()


def good(handler):
    handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def stall(handler):
    time.sleep(1.5)  # longer than the destination's timeout
    handler.close_connection = True


def reset(handler):
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def drop(handler):
    handler.close_connection = True


def drip(handler):
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nslow!":
        handler.raw(bytes([byte]))
        time.sleep(0.005)


def drip_for_ever(handler):
    handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(30):
        handler.raw(b"x")
        time.sleep(0.05)
    handler.close_connection = True


def promise_more(handler):
    handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nless")
    handler.close_connection = True


def send_more(handler):
    handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and something that nobody asked for\r\n\r\n")
    handler.close_connection = True


def flood(handler):
    handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % FLOOD_BYTES)
    for _ in range(FLOOD_BYTES >> 20):
        handler.raw(b"f" * (1 << 20))


def flood_of_headers(handler):
    handler.raw(b"HTTP/1.1 200 OK\r\n")
    for number in range(2000):
        handler.raw(b"X-%d: %s\r\n" % (number, b"h" * 1000))
    handler.raw(b"\r\n")
    handler.close_connection = True


def nonsense(handler):
    handler.raw(b"\0\xff SMTP? 220 hello\r\n\r\n")
    handler.close_connection = True


def bad_length(handler):
    handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: -17\r\n\r\n")
    handler.close_connection = True


def fail(handler):
    handler.raw(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")


def informational(handler):
    handler.raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


FAULTS = (good, good, stall, reset, drop, drip, drip_for_ever, promise_more, send_more, flood, flood_of_headers,
          nonsense, bad_length, fail, informational)


# Who answers so is left to curl from then on.
NOT_UNDERSTOOD = (flood_of_headers, nonsense, bad_length)


class UnrulyProvider(Provider):
    def __init__(self, rng, choice, place=""):
        super().__init__()
        self.place = place  # in its URL: then requests are curl's
        self.RequestHandlerClass = Unruly
        self.provider, self.rng, self.choice, self.calm, self.faults = self, rng, choice, False, {}
        self.on_kept = 0  # faults in the place of a second or later answer on a connection

    @property
    def url(self):
        return super().url + self.place


@pytest.mark.share(0.04)
@pytest.mark.parametrize("way", ("plain", "curl"))
def test_unruly_provider(chaos, make_hurt, small_log, way):
    understood = [fault for fault in FAULTS if fault not in NOT_UNDERSTOOD]
    provider = UnrulyProvider(chaos.rng, *((FAULTS, "#{queue}") if way == "curl" else (understood,)))
    server, stock = make_hurt(small_log).start(), StockLoad()
    loads = [stock, KeyLoad(stock.history), DeliveryLoad(provider)]
    define(loads, server.client)
    most = 0
    try:
        for number in chaos.rounds(2):
            with Pressure(server, loads, chaos.rng, pause=0.005):
                time.sleep(1 + chaos.rng.random())
                most = max(most, server.resident_bytes())
                if number % 3 == 2:
                    server.kill()
            if server.process is None:
                stock.history.server_died()
                server.start()
                chaos.figures["kills"] += 1
            verify(loads, server.client)
        provider.calm = True
        until(lambda: server.client.queue("out")["stats"]["dead"] == 0, 5, "no dead letters")
        drain(server, loads[2])
    finally:
        provider.stop()
    judge(chaos, stock.history)
    chaos.count(*loads)
    chaos.figures["faults"] = sum(count for name, count in provider.faults.items() if name != "good")
    chaos.figures["MiB resident, most"] = most >> 20
    chaos.figures["faults on kept connections"] = provider.on_kept
    assert provider.on_kept > 0
    assert most < 150 << 20, "answers of 100 MiB are kept in memory"
    assert server.stop() == 0
