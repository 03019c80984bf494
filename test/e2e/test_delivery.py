"""The way out, seen from the provider: headers, retries, dead letters, order, pauses, a provider that asks for time."""
import threading
import time

from support.wait import until


def define(client, provider, queue=None, **destination):
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True, **destination)
    client.define("queues", "mail", destination="far", **(queue or {}))


def stats(client):
    return client.queue("mail")["stats"]


def test_what_the_provider_is_told(client, make_provider):
    provider = make_provider()
    define(client, provider, headers={"X-Api-Key": "open sesame"})
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    reply = client.request("POST", "/v1/queues/mail/messages", b"<letter/>",
                           {"Content-Type": "application/xml", "traceparent": trace, "Sluice-Forward-X-Tenant": "7"})
    assert reply.status == 202, reply
    until(lambda: provider.seen, 10, "the message")
    seen = provider.seen[0]
    assert seen.body == b"<letter/>" and seen.headers["Content-Type"] == "application/xml"
    assert seen.receipt == reply.json["receipt"] and len(seen.key) == 17 + 1 + 16
    assert seen.headers["X-Api-Key"] == "open sesame" and seen.headers["X-Tenant"] == "7"
    assert seen.headers["traceparent"].split("-")[1] == trace.split("-")[1]
    assert (seen.headers["Sluice-Queue"], seen.headers["Sluice-Attempt"]) == ("mail", "1")
    until(lambda: stats(client)["completed"] == 1, 10, "the end")
    assert client.get(f"/v1/receipts/{reply.json['receipt']}").json["state"] == "done"


def test_one_sluice_sends_to_another(make_server):
    """What a request says of its attempt is no wish for the message that it becomes there."""
    near, far = make_server(), make_server()
    far.start()
    near.start()
    far.client.define("queues", "in")
    far.client.define("stocks", "units", total=1)
    far.client.define("campaigns", "first", stock="units", memberPointer="/n")
    for path in ("/v1/queues/in/messages", "/v1/campaigns/first/entries"):
        near.client.define("destinations", "far", url=f"http://127.0.0.1:{far.client.port}{path}", allowPrivateAddresses=True)
        near.client.define("queues", "mail", destination="far", retryConfig={"maxAttempts": 1})
        receipt = near.client.publish("mail", {"n": 1}).json["receipt"]
        until(lambda: near.client.get(f"/v1/receipts/{receipt}").json["state"] in ("done", "dead"), 10, "the end")
        assert near.client.get(f"/v1/receipts/{receipt}").json["state"] == "done"
    assert far.client.queue("in")["stats"]["ready"] == 1


def test_retry_with_the_same_key(client, make_provider):
    provider = make_provider(lambda seen, times: 503 if times < 2 else 200)
    define(client, provider, queue={"retryConfig": {"minBackoff": "0.01s", "maxBackoff": "0.1s"}})
    receipt = client.publish("mail", {"n": 1}).json["receipt"]
    until(lambda: provider.effects, 10, "success")
    assert [seen.receipt for seen in provider.seen] == [receipt] * 3
    assert len({seen.key for seen in provider.seen}) == 1
    assert [seen.headers["Sluice-Attempt"] for seen in provider.seen] == ["1", "2", "3"]


def test_refused_for_good_is_dead_with_its_reason_and_can_be_redriven(client, make_provider):
    accepting = threading.Event()
    provider = make_provider(lambda seen, times: 200 if accepting.is_set() else 422)
    define(client, provider)
    receipt = client.publish("mail", {"n": 1}).json["receipt"]
    until(lambda: stats(client)["dead"] == 1, 10, "a dead letter")
    dead = client.get("/v1/queues/mail/messages?filter=dead").json["messages"]
    assert [(m["id"], m["deadReason"], m["lastStatus"]) for m in dead] == [(receipt, "refused", 422)]
    assert len(provider.seen) == 1, "not tried again"
    accepting.set()
    assert client.post("/v1/queues/mail:redrive").json["redriven"] == 1
    until(lambda: provider.effects, 10, "success after the redrive")


def test_exhausted_attempts(client, make_provider):
    provider = make_provider(lambda seen, times: 500)
    define(client, provider, queue={"retryConfig": {"maxAttempts": 3, "minBackoff": "0.01s", "maxBackoff": "0.05s"}})
    client.publish("mail", {"n": 1})
    until(lambda: stats(client)["dead"] == 1, 10, "a dead letter")
    assert len(provider.seen) == 3
    dead = client.get("/v1/queues/mail/messages?filter=dead").json["messages"][0]
    assert (dead["deadReason"], dead["attempts"]) == ("exhausted", 3)


def test_retry_after_closes_the_destination(client, make_provider):
    provider = make_provider(lambda seen, times: (429, {"Retry-After": "1"}) if times == 0 and seen.json["n"] == 0 else 200)
    define(client, provider, rateLimits={"maxConcurrentDispatches": 1})
    for n in range(5):
        client.publish("mail", {"n": n})
    until(lambda: len(provider.effects) == 5, 15, "all sent")
    first, second = sorted(seen.at_ns for seen in provider.seen)[:2]
    assert second - first >= 0.9e9, "nothing was sent while the provider asked for time"


def test_order_within_a_key_and_a_failing_key_blocks_nobody(client, make_provider):
    stuck = threading.Event()
    provider = make_provider(lambda seen, times: 503 if seen.json["key"] == "bad" and not stuck.is_set() else 200,
                             delay=0.005)
    define(client, provider, queue={"retryConfig": {"minBackoff": "0.05s", "maxBackoff": "0.1s"}})
    for n in range(60):
        key = ("bad", "a", "b", "c")[n % 4]
        assert client.publish("mail", {"key": key, "n": n}, ordering_key=key).status == 202
    until(lambda: len(provider.effects) == 45, 15, "the other keys")
    stuck.set()
    until(lambda: len(provider.effects) == 60, 15, "all")
    sent = [seen.json for seen in sorted(provider.effects.values(), key=lambda seen: seen.at_ns)]
    for key in ("bad", "a", "b", "c"):
        numbers = [body["n"] for body in sent if body["key"] == key]
        assert numbers == sorted(numbers), key


def test_what_is_scheduled_holds_its_key_not_before_its_time(client, make_provider):
    provider = make_provider(lambda seen, times: 503 if seen.json["n"] == "fails" and times == 0 else 200)
    define(client, provider, queue={"retryConfig": {"minBackoff": "0.2s", "maxBackoff": "0.2s"}, "paused": True})
    client.publish("mail", {"n": "next year"}, ordering_key="a", delay="31536000s")
    for n in ("first", "fails", "behind it"):
        client.publish("mail", {"n": n}, ordering_key="a")
    client.publish("mail", {"n": "other"}, ordering_key="b")
    client.post("/v1/queues/mail:resume")
    until(lambda: len(provider.effects) == 4, 10, "all but that of next year")
    sent = [seen.json["n"] for seen in provider.seen]
    assert [n for n in sent if n != "other"] == ["first", "fails", "fails", "behind it"]
    assert stats(client)["delayed"] == 1


def test_delay_priority_and_time_to_live(client, make_provider):
    provider = make_provider()
    define(client, provider, queue={"paused": True}, rateLimits={"maxConcurrentDispatches": 1})
    client.publish("mail", {"n": "low"}, priority=1)
    client.publish("mail", {"n": "high"}, priority=9)
    published = time.monotonic()
    client.publish("mail", {"n": "late"}, delay="1s")
    client.publish("mail", {"n": "gone"}, ttl="0.1s")
    until(lambda: stats(client)["dead"] == 1, 10, "the end of a short life")
    client.post("/v1/queues/mail:resume")
    until(lambda: len(provider.effects) == 3, 10, "the other three")
    assert [seen.json["n"] for seen in provider.seen] == ["high", "low", "late"]
    assert provider.seen[2].at_ns / 1e9 - published >= 0.99


def test_pause_and_purge(client, make_provider):
    provider = make_provider()
    define(client, provider)
    assert client.post("/v1/queues/mail:pause").status == 200
    for n in range(10):
        client.publish("mail", {"n": n})
    assert client.post("/v1/queues/mail:purge").json["purged"] == 10
    client.publish("mail", {"n": 10})
    time.sleep(0.1)
    assert provider.seen == []
    client.post("/v1/queues/mail:resume")
    until(lambda: provider.effects, 10, "the one that is left")


def test_no_redirect_is_followed(client, make_provider):
    inside = make_provider()
    outside = make_provider(lambda seen, times: (302, {"Location": inside.url}))
    define(client, outside)
    client.publish("mail", {"n": 1})
    until(lambda: stats(client)["dead"] == 1, 10, "a dead letter")
    assert inside.seen == []


def test_unknown_outcome_after_a_kill_is_sent_again(server, make_provider):
    """The provider had answered nothing when we died: the same key comes again, and says that it is another attempt."""
    release = threading.Event()

    def answer(seen, times):
        if times == 0:
            release.wait(60)
        return 200

    provider = make_provider(answer)
    client = server.client
    define(client, provider, timeout="60s")
    client.publish("mail", {"n": 1})
    until(lambda: provider.seen, 10, "the first attempt")
    server.kill()
    release.set()
    server.start()
    until(lambda: len(provider.seen) == 2, 15, "the second attempt")
    assert provider.seen[0].key == provider.seen[1].key
    assert int(provider.seen[1].headers["Sluice-Attempt"]) > int(provider.seen[0].headers["Sluice-Attempt"])
    until(lambda: stats(client)["completed"] == 1, 10, "the end")
