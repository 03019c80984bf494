"""A provider known by a name: two addresses of which one is dead, an address that changes, one that is gone for a while, servers that
keep silent."""
import os
import pathlib
import time

import pytest
from support.provider import Provider
from support.server import BINARY, free_port
from support.wait import until

BUILD = pathlib.Path(os.environ.get("SLUICE_BUILD", pathlib.Path(BINARY).parents[2]))
HERE, THERE = "127.0.0.1", "127.0.0.2"

pytestmark = pytest.mark.skipif(bool(os.environ.get("SLUICE_SANITIZED")), reason="a sanitizer wants to be loaded first")


class Names:
    def __init__(self, path):
        self.path, self.known = path, {}

    def say(self, name, *addresses):
        self.known[name] = addresses
        fresh = self.path.with_suffix(".new")
        fresh.write_text("".join(f"{n} {' '.join(a)}\n" for n, a in self.known.items()))
        fresh.rename(self.path)


@pytest.fixture
def names(tmp_path, monkeypatch):
    found = Names(tmp_path / "names")
    monkeypatch.setenv("LD_PRELOAD", str(BUILD / "test/support/libnames.so"))
    monkeypatch.setenv("NAMES_FILE", str(found.path))
    return found


@pytest.fixture
def serve():
    """Providers that keep no connection, so that each attempt has to find them. On ports that nobody else takes meanwhile."""
    running = []

    def start(address, port=None):
        port = port or free_port()
        running.append(Provider(lambda seen, times: (200, {"Connection": "close"}), address=(address, port)))
        return running[-1]
    yield start
    for provider in running:
        provider.stop()


def define(client, name, port, **queue):
    client.define("destinations", name, url=f"http://{name}.test:{port}/send", allowPrivateAddresses=True)
    client.define("queues", name, destination=name, **queue)


def publish(client, queue, count):
    for n in range(count):
        assert client.publish(queue, {"n": n}).status == 202


def test_of_two_addresses_one_is_dead(names, make_server, serve):
    """Which one is tried first is chance: with eight names, the dead one for some of them."""
    provider = serve(HERE)
    client, port = make_server().start().client, provider.server_address[1]
    for n in range(8):
        names.say(f"far-{n}.test", THERE, HERE)
        define(client, f"far-{n}", port, retryConfig={"maxAttempts": 1})
        publish(client, f"far-{n}", 3)
    until(lambda: len(provider.effects) == 24, 30, "all, each in its one attempt")


def test_a_name_that_moves_is_asked_for_again(names, make_server, serve):
    """Five attempts a second apart: with what is remembered for half a minute they would all be refused."""
    names.say("far.test", HERE)
    old = serve(HERE)
    client, port = make_server().start().client, old.server_address[1]
    define(client, "far", port, retryConfig={"maxAttempts": 5, "minBackoff": "1.1s", "maxBackoff": "1.1s"})
    publish(client, "far", 3)
    until(lambda: len(old.effects) == 3, 30, "all at the old address")
    new = serve(THERE, port)
    names.say("far.test", THERE)
    old.stop()
    publish(client, "far", 3)
    until(lambda: len(new.effects) == 3, 30, "all at the new address")
    assert client.queue("far")["stats"]["dead"] == 0
    assert len(old.effects) == 3


def test_one_that_is_gone_comes_back(names, make_server, serve):
    names.say("far.test", HERE)
    first = serve(HERE)
    client, port = make_server().start().client, first.server_address[1]
    define(client, "far", port, retryConfig={"minBackoff": "0.1s", "maxBackoff": "0.5s"})
    first.stop()
    publish(client, "far", 5)
    until(lambda: client.queue("far")["stats"]["attempts"] >= 10, 30, "attempts that find nobody")
    assert client.queue("far")["stats"]["dead"] == 0
    back = serve(HERE, port)
    until(lambda: len(back.effects) == 5, 30, "all")


def test_whose_servers_keep_silent_holds_nobody_up(names, make_server, serve):
    """A lookup that nobody waits for any more is left behind; so is one that is under way when the program ends."""
    names.say("far.test", "silent")
    near = serve(HERE)
    server = make_server().start()
    client = server.client
    client.define("destinations", "far", url=f"http://far.test:{near.server_address[1]}/far", allowPrivateAddresses=True,
                  connectTimeout="100ms")
    client.define("queues", "far", destination="far", retryConfig={"minBackoff": "50ms", "maxBackoff": "50ms"})
    client.define("destinations", "near", url=near.url, allowPrivateAddresses=True)
    client.define("queues", "near", destination="near")
    publish(client, "far", 1)
    until(lambda: client.queue("far")["stats"]["attempts"] >= 2, 30, "a first attempt that was given up")
    publish(client, "near", 5)
    until(lambda: len(near.effects) == 5, 30, "all that go elsewhere")
    names.say("far.test", HERE)
    until(lambda: len(near.effects) == 6, 30, "what waited for the name")
    names.say("far.test", "silent")
    client.define("destinations", "far", url=f"http://far.test:{near.server_address[1]}/again", allowPrivateAddresses=True)
    publish(client, "far", 1)
    until(lambda: client.get("/v1/destinations/far").json["stats"]["inFlight"] == 1, 30, "one that waits for its name")
    assert server.stop() == 0


def test_one_endpoint_whose_servers_keep_silent_is_not_the_others(names, make_server, serve):
    """Its turn comes when the silent one was asked for twice already, and must wait for its second."""
    names.say("far.test", "silent")
    names.say("near.test", HERE)
    near = serve(HERE)
    client, port = make_server().start().client, near.server_address[1]
    client.define("destinations", "both", url=f"http://near.test:{port}/", allowPrivateAddresses=True, connectTimeout="50ms",
                  rateLimits={"maxConcurrentDispatches": 1}, balancing={"policy": "weighted", "ejectAfterErrors": 0},
                  endpoints=[{"name": "far", "url": f"http://far.test:{port}/", "weight": 9},
                             {"name": "near", "url": f"http://near.test:{port}/", "weight": 1}])
    client.define("queues", "both", destination="both", retryConfig={"maxAttempts": 1})
    publish(client, "both", 20)
    until(lambda: client.queue("both")["stats"]["dead"] + len(near.effects) == 20, 30, "an end of each")
    assert len(near.effects) == 2


def test_silent_names_do_not_pile_up(names, make_server):
    """Each lookup is a thread: fifty attempts, of which each was given up, are no fifty lookups."""
    names.say("far.test", "silent")
    server = make_server().start()
    client = server.client
    client.define("destinations", "far", url="http://far.test/", allowPrivateAddresses=True, connectTimeout="20ms",
                  rateLimits={"maxConcurrentDispatches": 1}, retryBudget={"percent": 100})
    client.define("queues", "far", destination="far", retryConfig={"backoffs": ["1ms"], "maxAttempts": 50})
    threads = len(os.listdir(f"/proc/{server.process.pid}/task"))
    begun = time.monotonic()
    publish(client, "far", 1)
    until(lambda: client.queue("far")["stats"]["dead"] == 1, 60, "its fifty attempts")
    more = len(os.listdir(f"/proc/{server.process.pid}/task")) - threads
    assert 1 <= more <= 2 + (time.monotonic() - begun), "one at first, then one a second"
