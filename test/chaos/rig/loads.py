"""Loads: what clients do while the server is hurt, and what must be true afterwards.

A load is written against this small interface, whatever the protocol:

    define(client)            makes its resources by HTTP; once, before the first caller
    caller(server, seed)      one client of its own; its step() does one operation, notes what it heard, and returns. It
                              raises Unanswered when no answer came; anything else that it raises is a fault
    verify(client)            the server runs, nobody calls: all that was answered is still true
    history                   operations for the linearizability checkers, or None
    answered, unanswered      how many

Pressure runs the callers of several loads on threads and hands their faults to the test's own thread.
"""
import http.client
import itertools
import random
import threading
import time

from support.client import Client

from rig.checker import Stock
from rig.history import History

TRY_LATER = (503, 507)  # certainly refused: nothing of it may be there


class Unanswered(Exception):
    """The outcome is unknown; `sent` is false when nothing can have reached the server."""

    def __init__(self, sent):
        super().__init__(sent)
        self.sent = sent


class CallerClient(Client):
    """Hears nothing once the server's power is going."""

    def __init__(self, server):
        super().__init__(server.port, timeout=60)
        self.server = server

    def request(self, *arguments, **options):
        reply = super().request(*arguments, **options)
        if self.server.dark:
            raise ConnectionResetError("the machine is off")
        return reply


class HttpCaller:
    def __init__(self, load, server, seed):
        self.load, self.rng = load, random.Random(seed)
        self.client = CallerClient(server)

    def ask(self, call, *arguments, **options):
        """The reply; Unanswered when none came, None when it was refused for now."""
        try:
            reply = call(*arguments, **options)
        except ConnectionRefusedError:
            self.client.close()
            time.sleep(0.005)
            raise Unanswered(sent=False) from None
        except (OSError, http.client.HTTPException):
            self.client.close()
            raise Unanswered(sent=True) from None
        if reply.status in TRY_LATER:
            self.load.count_refused(reply)
            time.sleep(0.005)
            return None
        self.load.count_answered()
        return reply

    def close(self):
        self.client.close()


class Load:
    history = None

    def __init__(self):
        self.lock = threading.Lock()
        self.answered = self.unanswered = self.refused = 0
        self.serial = itertools.count()

    def next_name(self):
        with self.lock:
            return f"n{next(self.serial)}"

    def count_answered(self):
        with self.lock:
            self.answered += 1

    def count_unanswered(self):
        with self.lock:
            self.unanswered += 1

    def count_refused(self, reply):
        assert "Retry-After" in reply.headers, reply
        with self.lock:
            self.refused += 1

    def more_figures(self):
        return {}

    def define(self, client):
        raise NotImplementedError

    def caller(self, server, seed):
        raise NotImplementedError

    def verify(self, client):
        raise NotImplementedError


def pages(client, path, field, filtered=""):
    token = ""
    while True:
        reply = client.get(f"{path}?page_size=1000{filtered}{token}")
        assert reply.status == 200, reply
        yield from reply.json[field]
        if not reply.json.get("nextPageToken"):
            return
        token = f"&page_token={reply.json['nextPageToken']}"


# ---- stock, for linearizability ----

class StockLoad(Load):
    """Small stocks, each asked about for a short while by all callers at once; every answer is in the history."""
    OPERATIONS = 40  # of one stock: what a checker can search
    OPEN = 3         # stocks in use at a time
    PURCHASES = 12

    def __init__(self, history=None):
        super().__init__()
        self.history = history or History()
        self.defined = 0

    def define(self, client):
        self.define_more(client, 200)

    def define_more(self, client, count):
        for number in range(self.defined, self.defined + count):
            client.define("stocks", f"s{number}", total=Stock.TOTAL)
        self.defined += count

    def caller(self, server, seed):
        return StockCaller(self, server, seed)

    def next_stock(self, rng):
        """Moves on with the operations asked so far; the caller defines what it lacks."""
        with self.lock:
            asked = next(self.serial)
        return asked // (self.OPERATIONS * self.OPEN) * self.OPEN + rng.randrange(self.OPEN)

    def verify(self, client):
        """The checkers judge the history; here only that what was released and taken adds up."""
        for number in range(0, self.defined, 7):
            stats = client.stock(f"s{number}")["stats"]
            assert 0 <= stats["used"] <= Stock.TOTAL and stats["left"] == Stock.TOTAL - stats["used"], stats


class StockCaller(HttpCaller):
    def step(self):
        number = self.load.next_stock(self.rng)
        if number >= self.load.defined:
            with self.load.lock:
                missing = number >= self.load.defined
                if missing:
                    self.more()
        stock, purchase = f"s{number}", f"p{self.rng.randrange(self.load.PURCHASES)}"
        op = self.rng.choices(["reserve", "release", "look", "count"], [5, 3, 2, 1])[0]
        operation = self.load.history.begin("stock", stock, op, purchase)
        try:
            reply = self.ask(getattr(self, op), stock, purchase)
        except Unanswered as unanswered:
            (self.load.history.unknown if unanswered.sent else self.load.history.never)(operation)
            raise
        if reply is None:
            self.load.history.never(operation)
        else:
            self.load.history.done(operation, getattr(self, "heard_" + op)(reply))

    def more(self):
        try:
            self.load.define_more(self.client, 60)
        except (OSError, http.client.HTTPException, AssertionError) as fault:
            self.client.close()
            raise Unanswered(sent=False) from fault

    def reserve(self, stock, purchase):
        return self.client.reserve(stock, purchase)

    def heard_reserve(self, reply):
        if reply.status == 201:
            return reply.json["number"]
        assert (reply.status, reply.problem) in ((410, "sold-out"), (409, "cancelled")), reply
        return reply.problem

    def release(self, stock, purchase):
        return self.client.release(stock, purchase)

    def heard_release(self, reply):
        assert reply.status == 204, reply
        return "gone"

    def look(self, stock, purchase):
        return self.client.get(f"/v1/stocks/{stock}/reservations/{purchase}")

    def heard_look(self, reply):
        if reply.status == 404:
            return "nothing"
        assert reply.status == 200, reply
        return "cancelled" if reply.json["state"] == "cancelled" else reply.json["number"]

    def count(self, stock, _purchase):
        return self.client.get(f"/v1/stocks/{stock}")

    def heard_count(self, reply):
        assert reply.status == 200, reply
        return reply.json["stats"]["used"]


# ---- idempotency keys, for linearizability ----

class KeyLoad(Load):
    """Each Idempotency-Key is used a few times by anybody, mostly with the same body; the queue is paused."""
    USES = 8
    OPEN = 4

    def __init__(self, history=None):
        super().__init__()
        self.history = history or History()

    def define(self, client):
        client.define("queues", "keyed", paused=True)

    def caller(self, server, seed):
        return KeyCaller(self, server, seed)

    def verify(self, client):
        told = {o["out"]["receipt"] for o in self.history.operations
                if o["model"] == "key" and o["out"] and o["out"].get("receipt")}
        there = {message["id"] for message in pages(client, "/v1/queues/keyed/messages", "messages")}
        assert told <= there, f"acknowledged messages are gone: {sorted(told - there)[:5]}"
        assert len(there) - len(told) <= self.unanswered, "messages are there that nobody asked for"


class KeyCaller(HttpCaller):
    def step(self):
        with self.load.lock:
            asked = next(self.load.serial)
        group = asked // (self.load.USES * self.load.OPEN)
        key = f"k{group}-{self.rng.randrange(self.load.OPEN)}"
        body = self.rng.choices("ab", [6, 1])[0]
        operation = self.load.history.begin("key", key, "publish", body)
        try:
            reply = self.ask(self.client.post, "/v1/queues/keyed/messages", {"key": key, "body": body},
                             **{"Idempotency-Key": f'"{key}"'})
        except Unanswered as unanswered:
            (self.load.history.unknown if unanswered.sent else self.load.history.never)(operation)
            raise
        if reply is None:
            self.load.history.never(operation)
        elif reply.status == 422:
            self.load.history.done(operation, {"refused": True})
        else:
            assert reply.status == 202, reply
            self.load.history.done(operation, {"receipt": reply.json["receipt"],
                                               "replayed": "Idempotency-Replayed" in reply.headers})


# ---- entries: a campaign with duplicates ----

class EntryLoad(Load):
    """A member enters once, hears the same receipt for ever, and numbers are 1..N."""

    def __init__(self, members=400_000):
        super().__init__()
        self.entered, self.asked = {}, set()
        self.members = members

    def define(self, client):
        client.define("stocks", "prizes", total=10**6)
        client.define("queues", "prize-mail", paused=True)
        client.define("campaigns", "draw", stock="prizes", queue="prize-mail", memberPointer="/member")

    def caller(self, server, seed):
        return EntryCaller(self, server, seed)

    def verify(self, client):
        listed = {entry["member"]: (entry["receipt"], entry["number"])
                  for entry in pages(client, "/v1/campaigns/draw/entries", "entries")}
        for member, told in self.entered.items():
            assert listed.get(member) == told, f"{member} was told {told}, now it is {listed.get(member)}"
        assert set(listed) - set(self.entered) <= self.asked, "a member is there that never asked"
        assert len(set(listed) - set(self.entered)) <= self.unanswered
        assert sorted(number for _, number in listed.values()) == list(range(1, len(listed) + 1))
        messages = sum(1 for _ in pages(client, "/v1/queues/prize-mail/messages", "messages"))
        assert messages == len(listed), f"{messages} messages for {len(listed)} entries"


class EntryCaller(HttpCaller):
    def step(self):
        again = self.load.entered and self.rng.random() < 0.2
        member = self.rng.choice(list(self.load.entered)[-50:]) if again else self.load.next_name()
        self.load.asked.add(member)
        reply = self.ask(self.client.enter, "draw", member, text="x" * self.rng.choice((10, 200, 3000)))
        if reply is None:
            return
        if reply.status == 202:
            assert member not in self.load.entered, f"{member} entered twice: {reply}"
            self.load.entered[member] = (reply.json["receipt"], reply.json["number"])
        else:
            assert reply.status == 409 and reply.problem == "already-claimed", reply
            known = self.load.entered.get(member)
            assert known is None or known[0] == reply.json["receipt"], f"{known} became {reply}"


# ---- transactions: all or nothing ----

class TransactionLoad(Load):
    """A unit, a message and a key in one request: all three are there, or none of them."""

    def __init__(self):
        super().__init__()
        self.done, self.asked = {}, set()

    def define(self, client):
        client.define("stocks", "seats", total=10**6)
        client.define("queues", "seat-mail", paused=True)

    def caller(self, server, seed):
        return TransactionCaller(self, server, seed)

    def verify(self, client):
        mail = {message["id"] for message in pages(client, "/v1/queues/seat-mail/messages", "messages")}
        told = set(self.done.values())
        assert told <= mail, f"acknowledged transactions are gone: {sorted(told - mail)[:5]}"
        assert len(mail) == client.stock("seats")["stats"]["used"], "half a transaction"
        assert len(mail) - len(told) <= self.unanswered
        sample = list(self.done)[-100:] + random.Random(len(self.done)).sample(
            list(self.done), min(100, len(self.done)))
        for name in sample:
            assert client.get(f"/v1/stocks/seats/reservations/{name}").status == 200, f"{name} lost its seat"


class TransactionCaller(HttpCaller):
    def step(self):
        name = self.load.next_name()
        reply = self.ask(self.client.post, "/v1/transactions", {"operations": [
            {"reserve": {"stock": "seats", "purchase": name}},
            {"enqueue": {"queue": "seat-mail", "body": {"seat": name},
                         "compensate": {"stock": "seats", "purchase": name}}},
            {"dedup": {"key": f"seat-{name}", "ttl": "1h"}}]})
        if reply is None:
            return
        assert reply.status == 202, reply
        self.load.done[name] = reply.json["operations"][1]["receipt"]


# ---- churn: bodies that come and go, so that segments are rolled, copied forward, recycled ----

class ChurnLoad(Load):
    """Larger messages come and go. What was kept reads back as it was sent; what was deleted stays away."""
    KEPT = 20  # of each caller

    def __init__(self):
        super().__init__()
        self.kept, self.deleted, self.doubtful = {}, set(), set()

    def define(self, client):
        client.define("queues", "churn", paused=True)

    def caller(self, server, seed):
        return ChurnCaller(self, server, seed)

    @staticmethod
    def body(seed, size):
        return random.Random(seed).randbytes(size)

    def verify(self, client):
        there = {message["id"] for message in pages(client, "/v1/queues/churn/messages", "messages")}
        lost = set(self.kept) - there - self.doubtful
        assert not lost, f"acknowledged messages are gone: {sorted(lost)[:5]}"
        assert not self.deleted & there, f"deleted messages are back: {sorted(self.deleted & there)[:5]}"
        assert len(there - set(self.kept)) <= self.unanswered
        for receipt in [name for name in self.kept if name in there][-60:]:
            reply = client.get(f"/v1/queues/churn/messages/{receipt}?view=body")
            assert reply.status == 200 and reply.body == self.body(*self.kept[receipt]), f"{receipt} has another body"


class ChurnCaller(HttpCaller):
    def __init__(self, load, server, seed):
        super().__init__(load, server, seed)
        self.mine = []

    def step(self):
        if len(self.mine) >= self.load.KEPT:
            self.delete(self.mine.pop(self.rng.randrange(len(self.mine))))
        made = (self.rng.getrandbits(40), self.rng.choice((100, 5000, 60000)))
        reply = self.ask(self.client.post, "/v1/queues/churn/messages", self.load.body(*made),
                         **{"Content-Type": "application/octet-stream"})
        if reply is not None:
            assert reply.status == 202, reply
            self.load.kept[reply.json["receipt"]] = made
            self.mine.append(reply.json["receipt"])

    def delete(self, receipt):
        self.load.doubtful.add(receipt)  # until the answer is there it may be so or so
        reply = self.ask(self.client.delete, f"/v1/queues/churn/messages/{receipt}")
        if reply is None:
            return
        assert reply.status == 204, reply
        self.load.deleted.add(receipt)
        del self.load.kept[receipt]
        self.load.doubtful.discard(receipt)


# ---- deliveries: through the server to a provider ----

class DeliveryLoad(Load):
    """Messages for a provider. All that were accepted arrive in the end, each key has one effect, in order."""
    LANES = 20

    def __init__(self, provider, **queue):
        super().__init__()
        self.provider, self.queue = provider, queue
        self.accepted = {}
        self.lane_locks = [threading.Lock() for _ in range(self.LANES)]
        self.lane_serials = [itertools.count() for _ in range(self.LANES)]

    def define(self, client):
        client.define("destinations", "far", url=self.provider.url, allowPrivateAddresses=True,
                      connectTimeout="1s", timeout="1s")
        client.define("queues", "out", destination="far",
                      **{"retryConfig": {"maxAttempts": 10000, "minBackoff": "0.02s", "maxBackoff": "0.2s"},
                         **self.queue})

    def caller(self, server, seed):
        return DeliveryCaller(self, server, seed)

    def arrived(self):
        with self.provider.lock:
            return {effect.receipt: effect.json for effect in self.provider.effects.values()}

    def verify(self, client):
        """What was accepted has arrived, or is still there and known."""
        arrived = self.arrived()
        waiting = {message["id"] for message in pages(client, "/v1/queues/out/messages", "messages")}
        lost = set(self.accepted) - set(arrived) - waiting
        arrived = self.arrived()  # it may have left between the two looks
        lost -= set(arrived)
        assert not lost, f"accepted messages neither wait nor arrived: {sorted(lost)[:5]}"

    def verify_all_arrived(self):
        arrived = self.arrived()
        missing = set(self.accepted) - set(arrived)
        assert not missing, f"{len(missing)} accepted messages never arrived: {sorted(missing)[:5]}"
        for receipt, body in self.accepted.items():
            assert arrived[receipt] == body, f"{receipt} arrived as {arrived[receipt]}, was {body}"
        assert len(arrived) - len(self.accepted) <= self.unanswered, "more arrived than was asked for"
        self.verify_order()

    def verify_order(self):
        """Of one ordering key, effects come in the order of acceptance."""
        last = {}
        with self.provider.lock:
            effects = sorted(self.provider.effects.values(), key=lambda effect: effect.at_ns)
        for effect in effects:
            lane, turn = effect.json["lane"], effect.json["turn"]
            assert turn > last.get(lane, -1), f"lane {lane}: {turn} after {last[lane]}"
            last[lane] = turn


class DeliveryCaller(HttpCaller):
    def step(self):
        lane = self.rng.randrange(self.load.LANES)
        with self.load.lane_locks[lane]:  # so that the order of turns is the order of acceptance
            body = {"lane": lane, "turn": next(self.load.lane_serials[lane]),
                    "text": "y" * self.rng.choice((0, 100, 2000))}
            reply = self.ask(self.client.publish, "out", body, ordering_key=f"lane-{lane}")
            if reply is not None:
                assert reply.status == 202, reply
                self.load.accepted[reply.json["receipt"]] = body


# ---- running them ----

class Pressure(threading.Thread):
    """Callers of all loads, taken in turn, until halt(). `with Pressure(...)` halts and raises their faults."""

    def __init__(self, server, loads, rng, callers=6, pause=0.0):
        super().__init__(daemon=True)
        self.stopped, self.fault, self.pause = threading.Event(), None, pause
        self.threads = [
            threading.Thread(target=self.call, args=(load, load.caller(server, rng.getrandbits(60))), daemon=True)
            for load, _ in zip(itertools.cycle(loads), range(max(callers, len(loads))))]

    def call(self, load, caller):
        while not self.stopped.is_set() and self.fault is None:
            try:
                caller.step()
            except Unanswered as unanswered:
                if unanswered.sent:
                    load.count_unanswered()
            except Exception as fault:  # raised again by halt()
                self.fault = fault
            if self.pause:
                time.sleep(self.pause)
        caller.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.halt(raises=kind is None)

    def halt(self, raises=True):
        self.stopped.set()
        for thread in self.threads:
            thread.join(120)
            assert not thread.is_alive(), "a caller hangs"
        if raises and self.fault is not None:
            raise self.fault
