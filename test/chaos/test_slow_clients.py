"""Ten thousand connections that send byte by byte or never read. Others are all answered, none of them as late as a slow
one is given up; each slow one is closed; memory is bounded. How fast others are served is told, not judged: with this
crowd of our own, and who knows what beside it on the machine, it says little about the server."""
import resource
import socket
import time

import pytest
from support.wait import until

from rig.judge import judge
from rig.loads import EntryLoad, KeyLoad, Pressure, StockLoad
from test_kill_rounds import define, verify

HEAD = b"POST /v1/queues/keyed/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
WAYS = {
    "head": (HEAD + b"X-Slow: " + b"x" * 2000, 1),                     # a head that comes byte by byte
    "body": (HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 9999, 200),  # a body that comes byte by byte
    "deaf": (b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200, 20000),  # answers that nobody reads
    "mute": (b"", 1),                                                  # never a word
}
# Long beside any pause that a busy machine makes for the others, who must not be taken for slow ones.
GIVEN_UP = 10
LIMITS = {**{name: f"{GIVEN_UP}s" for name in ("headTimeout", "bodyTimeout", "idleTimeout", "writeTimeout")},
          "connections": 10500}
ENDLESS = 180  # what is open then, is never closed: a slow head lasts for ten minutes, a body an hour, a mute one for ever


class Slow:
    """One connection: sends its first bytes at once, then one at each turn."""

    def __init__(self, port, way):
        self.data, first = WAYS[way]
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.setblocking(False)
        self.deaf, self.at, self.first = way == "deaf", 0, first
        self.socket.connect_ex(("127.0.0.1", port))

    def turn(self):
        """False when the server has closed it."""
        size = self.first if self.at == 0 else 1
        try:
            if self.at < len(self.data):
                self.at += self.socket.send(self.data[self.at:self.at + size])
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def closed_by_server(self):
        if self.deaf:  # behind what it does not read it does not see the end either: the server's count tells
            return True
        try:
            return not self.socket.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            return True


def open_connections(server):
    for line in server.client.get("/metrics").body.decode().splitlines():
        if line.startswith("sluice_http_open_connections "):
            return int(float(line.split()[1]))
    raise AssertionError("no sluice_http_open_connections")


def crowd_of(port, count):
    # Few of the deaf: each is sent 3 MB before it is known not to read, which is much work and not slowness.
    ways = ["head", "body", "mute"] * 33 + ["deaf"]
    crowd = []
    for number in range(count):
        crowd.append(Slow(port, ways[number % len(ways)]))
        if number % 100 == 99:
            time.sleep(0.005)  # the backlog of the listener
    return crowd


def latencies(server, seconds):
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        assert server.client.get("/readyz").status == 200
        took.append(time.monotonic() - started)
        time.sleep(0.01)
    return sorted(took)


@pytest.mark.share(0.05)
def test_ten_thousand_slow_clients(chaos, make_hurt, small_log):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(10000, hard - 2000)
    server, stock = make_hurt({**small_log, "limits": LIMITS}).start(), StockLoad()
    loads = [stock, KeyLoad(stock.history), EntryLoad()]
    define(loads, server.client)
    crowd = []
    try:
        with Pressure(server, loads, chaos.rng, callers=3, pause=0.005):
            crowd = crowd_of(server.port, count)
            most_bytes, end = 0, time.monotonic() + ENDLESS
            took = latencies(server, 0.5)
            left = crowd
            while left and time.monotonic() < end:
                left = [slow for slow in left if slow.turn() and not slow.closed_by_server()]
                took += latencies(server, 0.3)
                most_bytes = max(most_bytes, server.resident_bytes())
            assert not left, f"{len(left)} of {count} slow connections are still open after {ENDLESS} s"
            until(lambda: open_connections(server) <= 10, ENDLESS, "the end of those who read nothing")
    finally:
        for slow in crowd:
            slow.socket.close()
    took.sort()
    verify(loads, server.client)
    judge(chaos, stock.history)
    chaos.count(*loads)
    chaos.figures["slow connections"] = count
    chaos.figures["ms of others, 99 %"] = int(took[len(took) * 99 // 100] * 1000)
    chaos.figures["MiB resident, most"] = most_bytes >> 20
    assert sum(load.unanswered for load in loads) == 0, "somebody else was not answered"
    assert took[-1] < GIVEN_UP, "others wait for the slow ones"
    assert most_bytes < 600 << 20
    assert server.stop() == 0
