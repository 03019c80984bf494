"""Loads of administrators: definitions are imported again and again, passwords change, all dead letters are redriven. Each is many records or
a slow one, so that there is something to be in the middle of. The interface is that of rig/loads.py."""
import base64
import itertools
import time

from rig.loads import HttpCaller, Load, Unanswered, pages


class RulesLoad(Load):
    """Each caller rules over what bears its name; names are used again, so that there are few."""

    def __init__(self):
        super().__init__()
        self.names, self.free = itertools.count(), []
        self.unsure = {}  # name -> the start of the server at which nobody answered: until the next it may come late

    def define(self, client):
        """Callers make what they need."""


class RulesCaller(HttpCaller):
    def __init__(self, load, server, seed):
        super().__init__(load, server, seed)
        self.server = server
        with load.lock:
            self.name = load.free.pop() if load.free else f"a{next(load.names)}"

    def close(self):
        super().close()
        with self.load.lock:
            self.load.free.append(self.name)

    def may_speak(self):
        return self.load.unsure.get(self.name) != self.server.starts

    def say(self, call, *arguments):
        """The answer, after which only this holds; None, or Unanswered: this or what did before, of many things some of each."""
        try:
            reply = self.ask(call, *arguments)
        except Unanswered as unanswered:
            if unanswered.sent:
                self.load.unsure[self.name] = self.server.starts
            raise
        assert reply is None or reply.status in (200, 201, 204), reply
        return reply


class ImportLoad(RulesLoad):
    """Files of definitions, one virtual host for each caller. An import that was answered holds as a whole; one that was not may hold in
    part, each of its things as before or as in the file; the same file again makes it whole."""
    QUEUES = [f"q{n}" for n in range(8)]
    POLICIES = [f"p{n}" for n in range(4)]
    PAUSE_S = 0.02

    def __init__(self):
        super().__init__()
        self.lengths, self.whole = {}, set()  # (caller, policy) -> what may hold; who was answered once

    def caller(self, server, seed):
        return ImportCaller(self, server, seed)

    def file(self, name, length):
        return {"vhosts": [{"name": name}],
                "queues": [{"name": q, "vhost": name, "durable": True, "auto_delete": False, "arguments": {}} for q in self.QUEUES],
                "exchanges": [{"name": "e", "vhost": name, "type": "topic", "durable": True, "auto_delete": False,
                               "internal": False, "arguments": {}}],
                "bindings": [{"source": "e", "vhost": name, "destination": q, "destination_type": "queue", "routing_key": f"{q}.#",
                              "arguments": {}} for q in self.QUEUES],
                "policies": [{"name": p, "vhost": name, "pattern": f"^{q}$", "apply-to": "queues", "priority": 0,
                              "definition": {"max-length": length}} for p, q in zip(self.POLICIES, self.QUEUES)]}

    def verify(self, client):
        for name in self.whole:
            there = client.get(f"/api/definitions/{name}").json
            assert {queue["name"] for queue in there["queues"]} == set(self.QUEUES), f"{name}: {there['queues']}"
            assert {binding["destination"] for binding in there["bindings"]} == set(self.QUEUES), f"{name}: {there['bindings']}"
        for (name, policy), may_be in self.lengths.items():
            reply = client.get(f"/api/policies/{name}/{policy}")
            found = reply.json["definition"]["max-length"] if reply.status == 200 else None
            assert found in may_be, f"policy {policy} of {name} is {found}, not {may_be}"


class ImportCaller(RulesCaller):
    def step(self):
        time.sleep(self.load.PAUSE_S)
        if not self.may_speak():
            return
        length = self.rng.randrange(1, 10**6)
        keys = [(self.name, policy) for policy in self.load.POLICIES]
        before = {key: self.load.lengths.get(key, {None}) for key in keys}
        self.load.lengths.update({key: before[key] | {length} for key in keys})
        reply = self.say(self.client.post, "/api/definitions", self.load.file(self.name, length))
        if reply is not None and not reply.body.strip(b" []\r\n"):
            self.load.lengths.update({key: {length} for key in keys})
            self.load.whole.add(self.name)


class PasswordLoad(RulesLoad):
    """Users whose passwords change: one lets in, and it is the one that was answered last."""
    PAUSE_S = 0.05  # a hash is made to be slow

    def __init__(self):
        super().__init__()
        self.may_be, self.former = {}, {}

    def caller(self, server, seed):
        return PasswordCaller(self, server, seed)

    @staticmethod
    def lets_in(client, name, password):
        credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
        return client.get("/api/whoami", Authorization=f"Basic {credentials}").status == 200

    def verify(self, client):
        for name, may_be in self.may_be.items():
            good = [password for password in may_be - {None} if self.lets_in(client, name, password)]
            assert len(good) == 1 or (None in may_be and not good), f"{len(good)} of {len(may_be)} passwords let {name} in"
            old = self.former.get(name)
            assert old is None or old in may_be or not self.lets_in(client, name, old), f"a password of before lets {name} in"


class PasswordCaller(RulesCaller):
    def step(self):
        time.sleep(self.load.PAUSE_S)
        if not self.may_speak():
            return
        before, password = self.load.may_be.get(self.name, {None}), self.load.next_name()
        self.load.may_be[self.name] = before | {password}
        reply = self.say(self.client.put, f"/api/users/{self.name}", {"password": password, "tags": "monitoring"})
        if reply is not None:
            self.load.may_be[self.name] = {password}
            self.load.former[self.name] = next(iter(before))


class RedriveLoad(Load):
    """Messages that die of age again and again, and are redriven all at once: each is there, once, dead or not."""
    QUEUE = "graves"

    def __init__(self):
        super().__init__()
        self.receipts, self.redriven = set(), 0

    def more_figures(self):
        return {"redriven": self.redriven}

    def define(self, client):
        client.define("queues", self.QUEUE, paused=True, messageTtl="0.05s", deadLetters=True)

    def caller(self, server, seed):
        return RedriveCaller(self, server, seed)

    def verify(self, client):
        path, there = f"/v1/queues/{self.QUEUE}", set()
        for state in ("ready", "dead"):  # in this order: meanwhile some die
            there |= {m["id"] for m in pages(client, f"{path}/messages", "messages", f"&state={state}")}
        lost = self.receipts - there
        assert not lost, f"{len(lost)} dead letters are gone: {sorted(lost)[:5]}"
        assert len(there - self.receipts) <= self.unanswered, "messages are there that nobody published"
        stats = client.queue(self.QUEUE)["stats"]
        assert stats["ready"] + stats["dead"] == len(there), f"{len(there)} are listed: {stats}"


class RedriveCaller(HttpCaller):
    def step(self):
        if self.rng.random() < 0.9:
            reply = self.ask(self.client.publish, self.load.QUEUE, {"text": "g" * self.rng.choice((10, 700))})
            if reply is not None:
                assert reply.status == 202, reply
                self.load.receipts.add(reply.json["receipt"])
            return
        reply = self.ask(self.client.post, f"/v1/queues/{self.load.QUEUE}:redrive")
        assert reply is None or reply.status == 200, reply
        self.load.redriven += reply.json["redriven"] if reply is not None else 0
