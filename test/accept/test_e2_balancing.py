"""E2, load balancing, by examples/balancing: how each policy distributes over three endpoints, of which one is slow; keys that
keep their endpoint; health checks, ejection and return."""
import pytest
from support.example import redefine
from support.wait import until

COUNT = 240
QUICK = {"ejectAfterErrors: 5 ": "ejectAfterErrors: 3 ", "ejectFor: 30s": "ejectFor: 1h", "interval: 5s": "interval: 1s",
         "timeout: 10s": "timeout: 60s", "minBackoff: 100ms": "minBackoff: 10ms", "maxBackoff: 10s": "maxBackoff: 50ms"}


class Service:
    """The example with its three machines; c answers after slow_s."""

    def __init__(self, make_example, make_provider, slow_s=0.0):
        self.bad = set()
        self.machines = [make_provider(lambda seen, times, name=name: 503 if name in self.bad else 200,
                                       delay=slow_s if name == "c" else 0.002) for name in "abc"]
        addresses = {f"http://127.0.0.1:809{n + 1}/work": machine.url for n, machine in enumerate(self.machines)}
        self.client = make_example("balancing", {**addresses, **QUICK}).start().client
        self.published = 0

    def balance(self, **fields):
        shown = self.client.get("/v1/destinations/service").json["balancing"]
        redefine(self.client, "destinations", "service", balancing={**shown, **fields})

    def send(self, count, key=lambda n: None, tenants=False):
        """What each machine newly saw when all arrived."""
        before = [len(machine.seen) for machine in self.machines]
        for n in range(count):
            options = {"forward_x_user": key(n)} if tenants else {"ordering_key": key(n)} if key(n) is not None else {}
            assert self.client.publish("jobs", {"job": n, "key": key(n)}, **options).status == 202
        self.published += count
        until(lambda: sum(len(machine.effects) for machine in self.machines) == self.published, 10, "all")
        return [len(machine.seen) - seen for machine, seen in zip(self.machines, before)]

    def states(self):
        stats = self.client.get("/v1/destinations/service").json["stats"]
        return "".join({"in": "i", "ejected": "e", "down": "d", "out": "o"}.get(one["state"], "?") for one in stats["endpoints"])

    def keys(self):
        return [{seen.json["key"] for seen in machine.seen} for machine in self.machines]


def test_shares_that_are_exact(make_example, make_provider):
    service = Service(make_example, make_provider)
    weighted = service.send(COUNT)
    service.balance(policy="roundRobin")
    turns = service.send(COUNT)
    print(f"\nE2 of {COUNT} with weights 2 1 1: weighted {weighted}, roundRobin {turns}")
    assert weighted == [COUNT // 2, COUNT // 4, COUNT // 4]
    assert turns == [COUNT // 3] * 3


@pytest.mark.parametrize("policy, most", [("dynamicWeighted", 0.20), ("leastConnections", 0.20),
                                          ("leastResponseTime", 0.10), ("powerOfTwo", 0.30)])
def test_a_slow_machine_gets_less(make_example, make_provider, policy, most):
    """c takes 500 ms, the others 2 ms. Its even share would be a quarter by weight, a third without."""
    service = Service(make_example, make_provider, slow_s=0.5)
    service.balance(policy=policy)
    service.send(40)  # to learn from

    def as_promised(shares):
        print(f"\nE2 of {COUNT}, c slow: {policy} {shares}")
        return shares[2] <= most * COUNT and min(shares[:2]) >= COUNT // 8

    # Where the machine below all of this stood still for a moment, another one was slow: then the next ones have to show it.
    assert any(as_promised(service.send(COUNT)) for _ in range(5))


def test_keys_keep_their_endpoint_and_few_move(make_example, make_provider):
    service = Service(make_example, make_provider)
    service.balance(policy="consistentHash")
    service.send(COUNT, key=lambda n: f"k{n % 60}")
    before = service.keys()
    assert sum(map(len, before)) == 60 and all(before), "no key at two endpoints, none without keys"
    assert service.client.post("/v1/destinations/service/endpoints/b:eject").status == 200
    service.send(COUNT, key=lambda n: f"k{n % 60}")
    a, b, c = service.keys()
    moved = len(a - before[0]) + len(c - before[2])
    print(f"\nE2 consistentHash with weights 2 1 1: {list(map(len, before))} of 60 keys; b out: {moved} moved")
    assert b == before[1] and moved == len(b), "only the keys of the one that left moved"


def test_a_header_of_the_message_chooses(make_example, make_provider):
    """By consistent hash, and pinned where each happened to be first."""
    service = Service(make_example, make_provider)
    redefine(service.client, "queues", "jobs", fairness={"header": "X-User"})
    service.balance(policy="consistentHash", key="tenant")
    service.send(COUNT, key=lambda n: f"u{n % 61}", tenants=True)  # as below: turns would not do
    before = service.keys()
    assert sum(map(len, before)) == 61 and all(before), "no user at two endpoints"
    service.balance(policy="roundRobin", key="tenant", pinFor="30s")
    service.send(124, key=lambda n: f"s{n % 31}", tenants=True)
    print(f"\nE2 by a header: {list(map(len, before))} of 61 users, pinned {[len(k) - len(b) for k, b in zip(service.keys(), before)]} of 31")
    assert sum(map(len, service.keys())) == 61 + 31


def test_a_session_is_pinned_under_any_policy(make_example, make_provider):
    service = Service(make_example, make_provider)
    service.balance(policy="roundRobin", pinFor="30s")
    shares = service.send(124, key=lambda n: f"s{n % 31}")  # turns alone would not bring them back to the same of three
    print(f"\nE2 pinned sessions: {list(map(len, service.keys()))} of 31, {shares} attempts")
    assert sum(map(len, service.keys())) == 31 and all(service.keys())


def test_ejection_health_check_and_return(make_example, make_provider):
    service = Service(make_example, make_provider)
    service.bad.add("b")
    ejecting = service.send(60)
    assert service.states()[1] == "e" and ejecting[1] <= 3 + 8, "three in a row, and what was under way"
    service.balance(ejectFor="200ms")
    assert service.client.post("/v1/destinations/service/endpoints/b:return").status == 200
    seen = len(service.machines[1].seen)
    service.send(30)
    assert len(service.machines[1].seen) >= seen + 3, "ejected once more"
    service.bad.clear()
    until(lambda: service.states() == "iii", 5, "its return")
    service.machines[2].health = 500
    until(lambda: service.states() == "iid", 5, "c down by its checks")
    without = service.send(60)
    assert without[2] == 0
    service.machines[2].health = 200
    until(lambda: service.states() == "iii", 5, "c up again")
    again = service.send(60)
    print(f"\nE2 of 60: while b fails {ejecting}, while c is down {without}, all back {again}")
    assert again[1] >= 10 and again[2] >= 10
