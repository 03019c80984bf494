"""Dispatch deadlines and times of arrival, with the real program."""
import datetime
import time

from support.wait import until


def test_a_deadline_is_refused_when_it_cannot_be_met(client, make_provider):
    client.define("destinations", "far", url=make_provider().url, allowPrivateAddresses=True,
                  rateLimits=[{"maxDispatches": 1, "per": "30s"}])
    client.define("queues", "mail", destination="far")
    replies = [client.publish("mail", {"n": n}) for n in range(20)]
    late = client.publish("mail", {}, dispatch_deadline="5s")
    assert late.status == 422 and late.json["type"].endswith("deadline-unreachable"), late
    assert client.publish("mail", {}, dispatch_deadline="1h").status == 202
    assert client.publish("mail", {}, dispatch_deadline="soon").status == 400
    last = replies[-1].json
    for path in (f"/v1/receipts/{last['receipt']}", f"/v1/queues/mail/messages/{last['receipt']}"):
        assert client.get(path).json["eta"] > last["acceptedAt"], path
    paths = (f"/v1/receipts/{last['receipt']}", f"/v1/queues/mail/messages/{last['receipt']}")
    for act, undo, answer in (("destinations/far:pause", "destinations/far:resume", "destination-resumed"),
                              ("queues/mail:pause", "queues/mail:resume", "queue-resumed"),
                              ("destinations/far:open", "destinations/far:close", "breaker-closed")):
        assert client.post(f"/v1/{act}").status == 200
        for path in paths:
            told = client.get(path).json
            assert "eta" not in told and told["waitsFor"] == answer, (path, told)
        assert client.post(f"/v1/{undo}").status == 200
        told = client.get(paths[0]).json
        assert "eta" in told and "waitsFor" not in told, told


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def ready(client):
    return client.queue("mail")["stats"]["ready"]


def look(client, receipt):
    """How long it is said to take, and how many messages were ready before and after the question was asked."""
    before, asked = ready(client), time.time()
    eta = seconds(client.get(f"/v1/receipts/{receipt}").json["eta"])
    told = time.time()
    return eta - told, eta - asked, before, ready(client)


def test_what_is_foretold_is_what_is_left(client, make_provider):
    """Asked again and again while the backlog shrinks: the time it says, in messages at the destination's pace, is what there is."""
    rate, count = 10, 100
    provider = make_provider()
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True,
                  rateLimits={"maxDispatchesPerSecond": rate, "maxBurstSize": 1})
    client.define("queues", "mail", destination="far", paused=True)
    last = [client.publish("mail", {"n": n}).json["receipt"] for n in range(count)][-1]
    client.post("/v1/queues/mail:resume")
    looks = []
    while ready(client) > 20:
        looks.append(look(client, last))
        time.sleep(0.1)
    assert len(looks) >= 3
    for least, most, before, after in looks:
        assert least <= before / rate * 1.1 + 0.3 and most >= after / rate * 0.9 - 0.3, (least, most, before, after)
    until(lambda: len(provider.seen) == count, 30, "all")


def test_what_asks_for_time_is_counted(client, make_provider):
    """Behind the time that the provider asked for, the backlog still has to leave."""
    provider = make_provider(lambda seen, times: (503, {"Retry-After": "3600"}))
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True,
                  rateLimits=[{"maxDispatches": 1, "per": "30m"}])
    client.define("queues", "mail", destination="far")
    receipts = [client.publish("mail", {"n": n}).json["receipt"] for n in range(5)]
    until(lambda: "closedUntil" in client.get("/v1/destinations/far").json["stats"], 10, "the provider's answer")
    least, most, _, _ = look(client, receipts[-1])
    assert 3600 + 3 * 1800 - 60 < most and least < 3600 + 4 * 1800 + 60, (least, most)


def test_an_open_breaker_is_counted(client, make_provider):
    """What waits behind it is foretold for when it probes, and what cannot wait so long is refused."""
    provider = make_provider(lambda seen, times: 503)
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True,
                  circuitBreaker={"windowCalls": 5, "minimumCalls": 5, "probes": 1, "openTime": "1h", "maxOpenTime": "1h"})
    client.define("queues", "mail", destination="far")
    receipts = [client.publish("mail", {"n": n}).json["receipt"] for n in range(5)]
    until(lambda: client.get("/v1/destinations/far").json["stats"]["breaker"]["state"] == "open", 10, "it opens")
    ends = client.get("/v1/destinations/far").json["stats"]["breaker"]["openUntil"]
    late = client.publish("mail", {}).json
    assert late["eta"] >= ends and seconds(late["eta"]) < seconds(ends) + 60, (late, ends)
    for receipt in receipts:
        assert client.get(f"/v1/receipts/{receipt}").json["eta"] >= ends
    refused = client.publish("mail", {}, dispatch_deadline="50m")
    assert refused.status == 422 and refused.json["type"].endswith("deadline-unreachable"), refused
    assert client.publish("mail", {}, dispatch_deadline="2h").status == 202


def test_a_message_behind_its_key_says_so(client, make_provider):
    """One attempt of a key after the other: the last leaves much later than the third, one of another key at once."""
    provider = make_provider(delay=3)
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True, timeout="60s")
    client.define("queues", "mail", destination="far")
    client.publish("mail", {})
    until(lambda: client.queue("mail")["stats"]["completed"] == 1, 10, "one end, to learn from")
    told = [client.publish("mail", {"n": n}, ordering_key="k").json for n in range(21)]
    waits = [seconds(one["eta"]) - seconds(one["acceptedAt"]) for one in told]
    other = client.publish("mail", {}, ordering_key="other").json
    assert waits[20] > 5 * waits[2] > 0 and seconds(other["eta"]) - seconds(other["acceptedAt"]) < waits[2] / 2, waits
