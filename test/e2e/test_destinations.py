"""A destination's guards, with the real program: several limits, breaker, endpoints and their checks, failover, 410."""
import re
import ssl
import time

from support import server as program
from support.certificates import Authority
from support.example import redefine
from support.provider import Provider
from support.wait import until


def define(client, provider=None, queue=None, name="far", **destination):
    if provider is not None:
        destination["url"] = provider.url
    client.define("destinations", name, allowPrivateAddresses=True, **destination)
    if queue is not None:
        client.define("queues", "mail", destination=name, **queue)


def publish(client, count, first=0):
    for n in range(first, first + count):
        assert client.publish("mail", {"n": n}).status == 202


def balance(client, **balancing):
    shown = client.get("/v1/destinations/far").json
    redefine(client, "destinations", "far", balancing={**shown["balancing"], **balancing})


def stats(client, name="far"):
    return client.get(f"/v1/destinations/{name}").json["stats"]


QUICK = {"retryConfig": {"minBackoff": "0.01s", "maxBackoff": "0.02s"}}


def test_two_limits_hold_at_once(client, make_provider):
    provider = make_provider()
    define(client, provider, {}, rateLimits=[{"maxDispatches": 50, "per": "1s", "mode": "strict"},
                                             {"maxDispatches": 80, "per": "1h", "mode": "strict", "maxBurstSize": 80},
                                             {"maxConcurrentDispatches": 8}])
    publish(client, 120)
    until(lambda: len(provider.seen) == 80, 15, "what the hour allows")
    time.sleep(0.5)
    assert len(provider.seen) == 80
    assert provider.most_in_any(1.0) <= 50
    limits = stats(client)["limits"]
    assert [(one["maxDispatches"], one["per"]) for one in limits[:2]] == [(50, "1s"), (80, "3600s")], limits
    assert limits[1]["left"] == 0
    assert [(one["maxDispatches"], one["maxConcurrentDispatches"]) for one in limits] == [(50, 0), (80, 0), (0, 8)], limits
    shown = client.get("/v1/destinations/far").json
    for member in ("stats",):
        shown.pop(member)
    assert client.request("PUT", "/v1/destinations/far", shown).status == 200, "what GET shows can be PUT"


def test_a_burst_is_shown_as_it_was_asked_for(make_server):
    """What GET shows can be PUT and means the same, also where the burst asked for is the one that it would have anyway."""
    server = make_server().start()
    client = server.client
    shapes = {"ours": {}, "same": {"maxBurstSize": 8}, "other": {"maxBurstSize": 3}}
    for name, limits in shapes.items():
        client.define("destinations", name, url="http://127.0.0.1:9/",
                      rateLimits=[{"maxDispatches": 500, **limits}, {"maxDispatches": 20000, "per": "1h", "mode": "strict"}])
        client.define("queues", name, rateLimits={"maxDispatchesPerSecond": 500, **limits})
    for again in range(2):
        for name, limits in shapes.items():
            shown = client.get(f"/v1/destinations/{name}").json
            held = shown.pop("stats")["limits"]
            asked = limits.get("maxBurstSize", 0)
            assert [one["maxBurstSize"] for one in shown["rateLimits"]] == [asked, 0], shown
            assert [one["burst"] for one in held] == [asked or 8, 2000], held
            queue = client.queue(name)
            queue.pop("stats")
            assert queue["rateLimits"]["maxBurstSize"] == asked
            for kind, definition in (("destinations", shown), ("queues", queue)):
                assert client.request("PUT", f"/v1/{kind}/{name}", definition).status == 200
        server.kill()
        server.start()


def test_a_limit_that_changes_takes_effect_at_once_and_without_a_burst(client, make_provider):
    """At the first limit the rest would take a quarter of an hour; with all at once that was saved up by then it would take no time."""
    provider = make_provider()
    define(client, provider, {}, rateLimits=[{"maxDispatches": 1, "per": "2s"}])
    publish(client, 400)
    until(lambda: len(provider.seen) >= 1, what="what the first limit allows")
    changed = time.monotonic_ns()
    define(client, provider, rateLimits={"maxDispatchesPerSecond": 200})
    until(lambda: len(provider.seen) == 400, what="all at the new rate")
    times = sorted(seen.at_ns - changed for seen in provider.seen if seen.at_ns > changed)
    assert len(times) > 300 and all(at >= (n - 8) * 5e6 for n, at in enumerate(times)), "none before its turn"


def test_breaker_opens_loses_nothing_and_closes(server, make_provider):
    well = []
    provider = make_provider(lambda seen, times: 200 if well else 500)
    client = server.client
    define(client, provider, QUICK, retryBudget={"percent": 100},
           circuitBreaker={"windowCalls": 10, "minimumCalls": 10, "probes": 2, "openTime": "0.7s", "maxOpenTime": "1.4s"})
    begun = time.monotonic()
    publish(client, 20)
    until(lambda: stats(client)["breaker"]["state"] == "open", 10, "the breaker")
    time.sleep(0.1)
    assert stats(client)["attempts"] <= 10 + 20 + 2 * (time.monotonic() - begun) / 0.7, "those that were under way, and probes"
    server.restart()
    assert stats(client)["breaker"]["state"] in ("open", "half-open"), "it survives a restart"
    well.append(True)
    until(lambda: len(provider.effects) == 20, 15, "all of them in the end")
    until(lambda: stats(client)["breaker"]["state"] == "closed", 5, "closed again")
    until(lambda: client.queue("mail")["stats"]["completed"] == 20, 15, "the last answers")
    assert client.queue("mail")["stats"]["dead"] == 0


def test_breaker_by_hand(client, make_provider):
    provider = make_provider()
    define(client, provider, {})
    assert client.post("/v1/destinations/far:open").status == 200
    publish(client, 5)
    time.sleep(0.2)
    assert provider.seen == [] and stats(client)["breaker"]["state"] == "forced-open"
    assert client.post("/v1/destinations/far:close").status == 200
    until(lambda: len(provider.effects) == 5, 5, "all")


def test_gone_pauses_and_says_why(client, make_provider):
    gone = [True]
    provider = make_provider(lambda seen, times: 410 if gone else 200)
    define(client, provider, {}, rateLimits={"maxConcurrentDispatches": 1})
    publish(client, 3)
    until(lambda: stats(client)["paused"], 5, "the pause")
    assert stats(client)["pausedReason"] == "gone" and len(provider.seen) == 1
    gone.clear()
    client.post("/v1/destinations/far:resume")
    until(lambda: len(provider.effects) == 3, 5, "nothing was lost")


def test_endpoints_by_weight_ejection_and_return(client, make_provider):
    bad = []
    a, b, c = make_provider(), make_provider(lambda seen, times: 503 if bad else 200), make_provider()
    define(client, None, QUICK, retryBudget={"percent": 100}, rateLimits={"maxConcurrentDispatches": 4},
           endpoints=[{"name": "a", "url": a.url, "weight": 3}, {"name": "b", "url": b.url}, {"name": "c", "url": c.url}],
           balancing={"policy": "weighted", "ejectAfterErrors": 3, "ejectFor": "1h"})
    publish(client, 100)
    until(lambda: sum(len(p.effects) for p in (a, b, c)) == 100, 10, "all")
    assert (len(a.seen), len(b.seen), len(c.seen)) == (60, 20, 20)
    bad.append(True)
    publish(client, 60, 100)
    until(lambda: sum(len(p.effects) for p in (a, b, c)) == 160, 10, "all, without b")
    states = {e["name"]: e["state"] for e in stats(client)["endpoints"]}
    assert states == {"a": "in", "b": "ejected", "c": "in"}, states
    assert len(b.seen) <= 20 + 6, "three in a row, and what was under way"
    balance(client, ejectFor="200ms")
    assert client.post("/v1/destinations/far/endpoints/b:return").status == 200
    before = len(b.seen)
    publish(client, 30, 160)
    until(lambda: sum(len(p.effects) for p in (a, b, c)) == 190 and len(b.seen) >= before + 3, 10, "ejected once more")
    bad.clear()
    until(lambda: stats(client)["endpoints"][1]["state"] == "in", 5, "its return by itself")
    assert client.post("/v1/destinations/far/endpoints/a:eject").status == 200
    before, before_b = len(a.seen), len(b.effects)
    publish(client, 20, 190)
    until(lambda: sum(len(p.effects) for p in (a, b, c)) == 210, 10, "all, without a")
    assert len(a.seen) == before and len(b.effects) >= before_b + 5
    assert client.post("/v1/destinations/far/endpoints/a:return").status == 200
    assert client.post("/v1/destinations/far/endpoints/nobody:return").status == 404


def test_health_checks(client, make_provider):
    a, b = make_provider(), make_provider()
    b.health = 500
    define(client, None, {}, endpoints=[{"name": "a", "url": a.url}, {"name": "b", "url": b.url}],
           healthCheck={"path": "/health", "interval": "2s", "timeout": "2s", "fall": 2, "rise": 2})
    until(lambda: stats(client)["endpoints"][1]["state"] == "down", 5, "b down")
    publish(client, 20)
    until(lambda: len(a.effects) == 20, 5, "all at a")
    assert b.seen == [] and a.checks > 0
    b.health = 200
    until(lambda: stats(client)["endpoints"][1]["state"] == "in", 5, "b up")
    publish(client, 20, 20)
    until(lambda: len(a.effects) + len(b.effects) == 40, 5, "all")
    assert len(b.seen) == 10


def test_a_key_stays_with_its_endpoint(client, make_provider):
    providers = [make_provider() for _ in range(3)]
    define(client, None, {}, endpoints=[{"name": f"e{i}", "url": p.url} for i, p in enumerate(providers)],
           balancing={"policy": "consistentHash", "key": "orderingKey"})
    for n in range(90):
        client.publish("mail", {"key": n % 30}, ordering_key=str(n % 30))
    until(lambda: sum(len(p.effects) for p in providers) == 90, 10, "all")
    keys = [{seen.json["key"] for seen in p.seen} for p in providers]
    assert sum(len(k) for k in keys) == 30, "no key at two endpoints"
    assert all(keys), "each endpoint has some"


def test_failover_to_the_second_provider_and_back(client, make_provider):
    well = []
    first = make_provider(lambda seen, times: 200 if well else 503)
    second = make_provider()
    client.define("queues", "alerts")
    define(client, second, name="spare")
    define(client, first, QUICK, retryBudget={"percent": 100}, rateLimits={"maxDispatchesPerSecond": 100},
           failover={"destination": "spare", "queue": "alerts", "failures": 10, "within": "60s", "evaluateEvery": "0.2s",
                     "pending": "0.4s", "returnAfter": "1s", "probes": 2})
    publish(client, 100)
    until(lambda: stats(client)["health"] == "critical", 10, "critical")
    until(lambda: len(second.effects) == 100, 10, "all by the second")
    well.append(True)
    count = 100
    while stats(client)["health"] != "healthy":  # probes are messages, once the time has come
        publish(client, 1, count)
        count += 1
        time.sleep(0.02)
    until(lambda: len(first.effects) + len(second.effects) == count, 10, "all")
    assert first.effects
    told = []
    for m in client.get("/v1/queues/alerts/messages").json["messages"]:
        told.append(client.get(f"/v1/queues/alerts/messages/{m['id']}?view=full").json["body"])
    steps = [(t["from"], t["to"], t["alert"]) for t in told]
    assert steps == [("healthy", "caution", False), ("caution", "critical", True), ("critical", "healthy", True)], told


def test_failover_by_hand(client, make_provider):
    first, second = make_provider(), make_provider()
    define(client, second, name="spare")
    define(client, first, {}, failover={"destination": "spare"})
    assert client.post("/v1/destinations/far:failover").status == 200
    publish(client, 5)
    until(lambda: len(second.effects) == 5, 5, "by the second")
    client.post("/v1/destinations/far:return")
    publish(client, 5, 5)
    until(lambda: len(first.effects) == 5, 5, "by the first")


def test_failover_to_a_provider_that_is_not_there(client, make_provider):
    """By hand it is refused; by the rule people are told who goes on sending."""
    first = make_provider(lambda seen, times: 503)
    client.define("queues", "alerts")
    define(client, first, QUICK, retryBudget={"percent": 100},
           failover={"destination": "sparre", "queue": "alerts", "failures": 1, "within": "60s", "evaluateEvery": "0.1s",
                     "pending": "0.1s"})
    refused = client.post("/v1/destinations/far:failover")
    assert refused.status == 409 and b"names no destination that exists" in refused.body, refused
    assert stats(client)["health"] == "healthy"
    assert client.define("destinations", "alone", url=first.url)
    assert client.post("/v1/destinations/alone:failover").status == 409, "nothing would take over there either"
    publish(client, 10)
    until(lambda: stats(client)["health"] == "critical", 10, "critical")
    messages = client.get("/v1/queues/alerts/messages").json["messages"]
    last = client.get(f"/v1/queues/alerts/messages/{messages[-1]['id']}?view=full").json["body"]
    assert (last["to"], last["sendsBy"]) == ("critical", "far"), last


def test_by_the_command_line(server):
    """What a person does in an emergency, where there is nothing but a terminal."""
    client = server.client
    ends = [{"name": name, "url": f"http://10.0.0.{n}/"} for n, name in enumerate("ab")]
    client.define("destinations", "second", url="http://10.0.0.9/")
    client.put("/v1/destinations/far", {"endpoints": ends, "circuitBreaker": {"windowCalls": 20}, "failover": {"destination": "second"}})
    steps = {("open", "far"): ("breaker", "forced-open"), ("close", "far"): ("breaker", "closed"), ("failover", "far"): ("health", "critical"),
             ("return", "far"): ("health", "healthy"), ("eject", "far", "b"): ("b", "out"), ("restore", "far", "b"): ("b", "in")}
    for words, (where, expected) in steps.items():
        done = program.run("--url", f"http://127.0.0.1:{server.port}", "destination", *words)
        assert done.returncode == 0, done.stderr
        shown = stats(client)
        seen = {"breaker": shown["breaker"]["state"], "health": shown["health"], **{e["name"]: e["state"] for e in shown["endpoints"]}}
        assert seen[where] == expected, (words, shown)
    unknown = program.run("--url", f"http://127.0.0.1:{server.port}", "destination", "eject", "far", "c")
    assert unknown.returncode == 1 and "no such endpoint" in unknown.stderr, unknown


def test_retries_are_kept_within_their_budget(client, make_provider):
    provider = make_provider(lambda seen, times: 500 if seen.json["n"] % 2 else 200)
    define(client, provider, QUICK, rateLimits={"maxDispatchesPerSecond": 400},
           retryBudget={"percent": 20, "minPerSecond": 1, "window": "2s"})
    begun = time.monotonic()
    publish(client, 600)
    until(lambda: len(provider.effects) == 300, 20, "all that can succeed")
    with provider.lock:
        first, again = len(provider.counts), len(provider.seen) - len(provider.counts)
    took = time.monotonic() - begun
    assert again <= 0.25 * len(provider.seen) + 4 + took, (first, again, took)
    assert stats(client)["deferredRetries"] > 0
    assert client.queue("mail")["stats"]["dead"] == 0, "what waits is not lost"


# ---- why an attempt failed ----

class SecureProvider(Provider):
    """Answers 200 over TLS, to whoever trusts it."""

    def __init__(self, certificate, key):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        super().__init__()

    def get_request(self):
        connection, address = super().get_request()
        return self.context.wrap_socket(connection, server_side=True), address


def test_a_broken_trust_is_told_in_words(server, tmp_path):
    """Error and, where an answer would stand, what was wrong with the certificate: else nobody can mend it."""
    authority, stranger = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    cases = {"expired": (authority, {"dates": ("20240102030405Z", "20250102030405Z")}, "certificate has expired"),
             "unknown": (stranger, {}, "unable to get local issuer certificate"),
             "renamed": (authority, {"names": "DNS:elsewhere.example"}, "does not match|alternative certificate subject name")}
    providers = []
    for name, (signer, how, words) in cases.items():
        providers.append(SecureProvider(*signer.sign(name, **how)))
        server.client.define("destinations", name, url=providers[-1].url.replace("http://", "https://"), allowPrivateAddresses=True,
                             caFile=str(authority.certificate))
        server.client.define("queues", name, destination=name, retryConfig={"maxAttempts": 1})
        receipt = server.client.publish(name, {"n": 1}).json["receipt"]
        until(lambda: server.client.queue(name)["stats"]["dead"] == 1, what="the only attempt")
        said = server.client.get(f"/v1/receipts/{receipt}").json
        assert (said["state"], said["deadReason"], said["lastError"]) == ("dead", "exhausted", "tls"), said
        message = server.client.get(f"/v1/queues/{name}/messages/{receipt}").json
        assert said["changedAt"] == message["changedAt"] > message["acceptedAt"], (said, message)
        attempt = next(one for one in message["history"] if "error" in one)
        assert attempt["error"] == "tls" and re.search(words, attempt["response"]) and len(attempt["response"]) <= 256, attempt
    for provider in providers:
        provider.stop()
