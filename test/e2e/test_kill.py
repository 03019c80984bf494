"""kill -9 in a loop under load. A ledger outside the server keeps every answer; after each start all of them must still be
true, and nothing may be there that nobody asked for. SLUICE_KILL_SECONDS sets how long (default 20)."""
import http.client
import os
import threading
import time

SECONDS = float(os.environ.get("SLUICE_KILL_SECONDS", "20"))
TOTAL = 1_000_000
CALLERS = 6


class Ledger:
    """What callers were answered, and what they asked without hearing an answer."""

    def __init__(self):
        self.lock = threading.Lock()
        self.entered, self.published, self.reserved = {}, {}, {}
        self.unknown = set()

    def count(self):
        return len(self.entered) + len(self.published) + len(self.reserved)


class Caller(threading.Thread):
    def __init__(self, number, client, ledger, stopped):
        super().__init__(daemon=True)
        self.number, self.client, self.ledger, self.stopped = number, client, ledger, stopped
        self.fault = None

    def run(self):
        turn = 0
        while not self.stopped.is_set() and self.fault is None:
            turn += 1
            name = f"{self.number}-{turn}"
            try:
                (self.enter, self.publish, self.reserve, self.enter_again)[turn % 4](name)
            except (OSError, http.client.HTTPException):
                with self.ledger.lock:
                    self.ledger.unknown.add(name)
                self.client.close()
                time.sleep(0.01)
            except Exception as fault:  # shown by the test's own thread
                self.fault = fault

    def enter(self, name):
        reply = self.client.enter("first", name)
        if self.retriable(reply, name):
            return
        assert reply.status == 202, reply
        with self.ledger.lock:
            self.ledger.entered[name] = (reply.json["receipt"], reply.json["number"])

    def enter_again(self, name):
        """A member of the past hears the same receipt, across every kill."""
        with self.ledger.lock:
            past = [m for m in list(self.ledger.entered)[-50:] if m.startswith(f"{self.number}-")]
            if not past:
                return
            member, (receipt, _) = past[0], self.ledger.entered[past[0]]
        reply = self.client.enter("first", member)
        if reply.status != 503:
            assert (reply.status, reply.json["receipt"]) == (409, receipt), reply

    def publish(self, name):
        reply = self.client.publish("held", {"name": name})
        if self.retriable(reply, name):
            return
        assert reply.status == 202, reply
        with self.ledger.lock:
            self.ledger.published[name] = reply.json["receipt"]

    def reserve(self, name):
        reply = self.client.reserve("units", name, f"member-{name}")
        if self.retriable(reply, name):
            return
        assert reply.status == 201, reply
        with self.ledger.lock:
            self.ledger.reserved[name] = reply.json["number"]

    def retriable(self, reply, name):
        """503 while stopping or busy: refused, so it must not be there; asked again under another name."""
        return reply.status == 503


def pages(client, path, field):
    token = ""
    while True:
        reply = client.get(f"{path}?page_size=500{token}")
        assert reply.status == 200, reply
        yield from reply.json[field]
        if not reply.json.get("nextPageToken"):
            return
        token = f"&page_token={reply.json['nextPageToken']}"


def check(client, ledger):
    """Nothing acknowledged is lost, nothing is there that nobody asked for, numbers have no gap."""
    with ledger.lock:
        entered, published, reserved = dict(ledger.entered), dict(ledger.published), dict(ledger.reserved)
    listed = {entry["member"]: (entry["receipt"], entry["number"])
              for entry in pages(client, "/v1/campaigns/first/entries", "entries")}
    for member, told in entered.items():
        assert listed.get(member) == told, f"{member} was told {told}, now it is {listed.get(member)}"

    messages = {message["id"] for message in pages(client, "/v1/queues/held/messages", "messages")}
    assert set(published.values()) <= messages, "an acknowledged message is gone"

    for name, number in list(reserved.items())[-200:]:
        again = client.reserve("units", name, f"member-{name}")
        assert again.json["number"] == number, again
    return listed, messages


def check_nothing_else(client, ledger, listed, messages):
    """Run when no caller is under way: the surplus is at most what was asked without an answer."""
    assert set(listed) - set(ledger.entered) <= ledger.unknown
    assert len(messages) - len(ledger.published) <= len(ledger.unknown)
    assert sorted(number for _, number in listed.values()) == list(range(1, len(listed) + 1))
    used = client.stock("units")["stats"]["used"]
    assert len(ledger.reserved) <= used <= len(ledger.reserved) + len(ledger.unknown)


def test_kill_in_a_loop(make_server):
    # Small segments and frequent snapshots: every kind of file operation is under way at some kill.
    server = make_server({"log": {"segmentBytes": 262144, "snapshotEveryBytes": 1 << 20}}).start()
    client, ledger = server.client, Ledger()
    client.define("stocks", "entries", total=TOTAL)
    client.define("stocks", "units", total=TOTAL)
    client.define("queues", "held", paused=True)
    client.define("campaigns", "first", stock="entries", memberPointer="/member")

    end, kills = time.monotonic() + SECONDS, 0
    while time.monotonic() < end or kills < 3 or (ledger.count() <= 100 and kills < 300):
        stopped = threading.Event()
        callers = [Caller(f"{kills}.{n}", client, ledger, stopped) for n in range(CALLERS)]
        for caller in callers:
            caller.start()
        time.sleep(0.2 + 0.37 * (kills % 5))
        server.kill()
        stopped.set()
        for caller in callers:
            caller.join(60)
            assert caller.fault is None, repr(caller.fault)
        kills += 1
        server.start()
        check_nothing_else(client, ledger, *check(client, ledger))
    print(f"{kills} kills, {ledger.count()} answers kept, {len(ledger.unknown)} never heard")
    assert ledger.count() > 100
    assert server.stop() == 0
