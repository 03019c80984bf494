"""Loads of operators, beside those of rig/loads.py and with the same interface: messages are edited and moved, one by one and by jobs,
and policies come and go."""
import itertools
import random
import time

from support.wait import until

from rig.loads import HttpCaller, Load, Unanswered, pages

QUEUES = ("desk", "shelf")


class ToolLoad(Load):
    """Messages that operators push to and fro between two paused queues, edit and throw away. Each is in one of the two, once, as it was
    last edited; only those of the group that is thrown away may be gone."""
    GROUPS = 6
    DOOMED = "doomed"
    KEPT = 25       # messages that a caller edits and moves
    LOOKED_AT = 60

    def __init__(self):
        super().__init__()
        self.bodies, self.doomed = {}, set()  # receipt -> what it may say
        self.jobs = 0

    def more_figures(self):
        return {"jobs": self.jobs}

    def define(self, client):
        for queue in QUEUES:
            client.define("queues", queue, paused=True)

    def caller(self, server, seed):
        return ToolCaller(self, server, seed)

    @staticmethod
    def running(client):
        return [job["id"] for queue in QUEUES for job in client.get(f"/v1/queues/{queue}/jobs?page_size=1000").json["jobs"]
                if job["status"] == "running"]

    def verify(self, client):
        until(lambda: not self.running(client), 60, "the end of all jobs")
        lists = {queue: [message["id"] for message in pages(client, f"/v1/queues/{queue}/messages", "messages")]
                 for queue in QUEUES}
        there = [receipt for queue in QUEUES for receipt in lists[queue]]
        twice = len(there) - len(set(there))
        assert twice == 0, f"{twice} messages are there twice"
        lost = set(self.bodies) - set(there) - self.doomed
        assert not lost, f"{len(lost)} messages are gone: {sorted(lost)[:5]}"
        assert len(set(there) - set(self.bodies)) <= self.unanswered, "messages are there that nobody published"
        for queue in QUEUES:
            known = [receipt for receipt in lists[queue] if receipt in self.bodies]
            for receipt in random.Random(len(known)).sample(known, min(len(known), self.LOOKED_AT // 2)):
                said = client.get(f"/v1/queues/{queue}/messages/{receipt}?view=body").json["says"]
                assert said in self.bodies[receipt], f"{receipt} says {said}, not {self.bodies[receipt]}"


class ToolCaller(HttpCaller):
    def __init__(self, load, server, seed):
        super().__init__(load, server, seed)
        self.mine, self.words = [], itertools.count()

    def step(self):
        act = self.rng.choices((self.publish, self.edit, self.move, self.job), (6, 4, 4, 2))[0]
        act(self.rng.choice(QUEUES))

    def publish(self, queue):
        group = self.rng.choice([*range(self.load.GROUPS), self.load.DOOMED])
        says = self.load.next_name()
        reply = self.ask(self.client.publish, queue, {"group": group, "says": says, "text": "t" * self.rng.choice((0, 900))})
        if reply is None:
            return
        assert reply.status == 202, reply
        receipt = reply.json["receipt"]
        if group == self.load.DOOMED:
            self.load.doomed.add(receipt)
        else:
            self.mine = [*self.mine[-self.load.KEPT:], (receipt, group)]
        self.load.bodies[receipt] = {says}

    def edit(self, queue):
        """Where it is not, as a job may have moved it meanwhile, nothing happens."""
        if not self.mine:
            return
        (receipt, group), says = self.rng.choice(self.mine), self.load.next_name()
        self.load.bodies[receipt] = self.load.bodies[receipt] | {says}
        reply = self.ask(self.client.put, f"/v1/queues/{queue}/messages/{receipt}", {"group": group, "says": says})
        if reply is not None and reply.status == 200:
            self.load.bodies[receipt] = {says}
        else:
            assert reply is None or reply.status == 404, reply
            self.load.bodies[receipt] = self.load.bodies[receipt] - {says}

    def move(self, queue):
        if self.mine:
            other = QUEUES[queue == QUEUES[0]]
            reply = self.ask(self.client.post, f"/v1/queues/{queue}/messages/{self.rng.choice(self.mine)[0]}:move", {"to": other})
            assert reply is None or reply.status in (200, 404), reply

    def job(self, queue):
        group = self.rng.choice([*range(self.load.GROUPS), self.load.DOOMED])
        asked = {"filter": {"state": "ready", "pointer": "/group", "equals": str(group)},
                 **({"action": "discard", "reason": "chaos"} if group == self.load.DOOMED else
                    {"action": "move", "to": QUEUES[queue == QUEUES[0]]}),
                 **self.rng.choice(({}, {"perSecond": self.rng.choice((50, 2000))}))}
        reply = self.ask(self.client.post, f"/v1/queues/{queue}/jobs", asked)
        assert reply is None or reply.status == 202 or (reply.status, reply.problem) == (429, "limit"), reply
        self.load.jobs += reply is not None and reply.status == 202


class PolicyLoad(Load):
    """Policies by the management API: what was answered is in force, whatever happens afterwards."""
    NAMES = 4  # of each caller

    def __init__(self):
        super().__init__()
        self.known, self.callers = {}, itertools.count()  # name -> what max-length may be; None: there is none

    def define(self, client):
        """There is nothing that policies need."""

    def caller(self, server, seed):
        return PolicyCaller(self, server, seed)

    def verify(self, client):
        there = {policy["name"]: policy["definition"]["max-length"] for policy in client.get("/api/policies/%2F").json}
        for name, may_be in self.known.items():
            assert there.get(name) in may_be, f"policy {name}: {there.get(name)}, not {may_be}"
        assert set(there) <= set(self.known), "policies that nobody made"


class PolicyCaller(HttpCaller):
    def __init__(self, load, server, seed):
        super().__init__(load, server, seed)
        self.name, self.server = f"p{next(load.callers)}", server
        self.unsure = {}  # name -> the start of the server at which nobody answered: it may come late

    def step(self):
        name = f"{self.name}-{self.rng.randrange(self.load.NAMES)}"
        time.sleep(0.002)
        if self.unsure.get(name) == self.server.starts:
            return
        length = self.rng.choice((None, *range(1000, 1010)))
        before = self.load.known.get(name, {None})
        self.load.known[name] = before | {length}
        path = f"/api/policies/%2F/{name}"
        try:
            reply = self.ask(self.client.delete, path) if length is None else self.ask(
                self.client.put, path, {"pattern": "^nothing$", "definition": {"max-length": length}})
        except Unanswered as unanswered:
            if unanswered.sent:
                self.unsure[name] = self.server.starts
            else:
                self.load.known[name] = before
            raise
        assert reply is None or reply.status in (201, 204, 404), reply
        self.load.known[name] = before if reply is None else {length}
