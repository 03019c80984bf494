"""A5, orders held until the market opens, by examples/market-open with its minutes made seconds: none leaves early, the pace
is chosen for the run, the first broker's failures move it to CAUTION and CRITICAL, the second takes over within its own limit,
the first returns; only CRITICAL and the return are for people; each order is executed once."""
import datetime
import time

from support.crowd import in_parallel
from support.example import redefine
from support.wait import until

ORDERS, TPS, SECOND_TPS = 600, 150, 200
SCALED = {"within: 1m ": "within: 3s ", "evaluateEvery: 30s": "evaluateEvery: 0.2s", "pending: 3m ": "pending: 0.6s ",
          "returnAfter: 5m ": "returnAfter: 0.8s ", "failures: 100 ": "failures: 30 ", "minBackoff: 500ms": "minBackoff: 50ms",
          "maxBackoff: 30s": "maxBackoff: 300ms"}


def publish_all(client, opens):
    moment = opens.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    replies = in_parallel(lambda n: client.publish("orders", {"order": n}, schedule_time=moment), range(ORDERS), threads=8)
    assert {reply.status for reply in replies} == {202}


def health(client):
    return client.get("/v1/destinations/broker").json["stats"]["health"]


def told(client):
    """What the status queue holds: (from, to, alert), in order."""
    steps = []
    for message in client.get("/v1/queues/provider-status/messages").json["messages"]:
        body = client.get(f"/v1/queues/provider-status/messages/{message['id']}?view=full").json["body"]
        steps.append((body["from"], body["to"], body["alert"]))
    return steps


def test_opening_with_a_broker_that_fails(make_example, make_provider):
    well = []
    first = make_provider(lambda seen, times: 200 if well else 503)
    second = make_provider()
    server = make_example("market-open", {"http://127.0.0.1:8090/orders": first.url,
                                          "http://127.0.0.1:8091/orders": second.url, **SCALED}).start()
    client = server.client
    opens = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    offset_ns = time.monotonic_ns() - time.time_ns()
    publish_all(client, opens)
    assert client.queue("orders")["stats"]["delayed"] == ORDERS
    server.restart()  # held orders stay held
    assert client.queue("orders")["stats"]["delayed"] == ORDERS
    redefine(client, "destinations", "broker",
             rateLimits={"maxDispatchesPerSecond": TPS, "mode": "strict", "maxConcurrentDispatches": 64})

    until(lambda: health(client) == "caution", 10, "CAUTION")
    caution = time.monotonic()
    assert not second.seen, "CAUTION changes nothing yet"
    until(lambda: health(client) == "critical", 10, "CRITICAL")
    pending = time.monotonic() - caution
    until(lambda: len(second.seen) >= 100, 5, "the second broker at work")
    well.append(True)
    until(lambda: health(client) == "healthy", 10, "the return")
    until(lambda: len(first.effects) + len(second.effects) >= ORDERS, 10, "all orders")
    until(lambda: client.queue("orders")["stats"]["completed"] == ORDERS, 5, "all settled")

    earliest = min(seen.at_ns for seen in first.seen + second.seen)
    late_ms = (earliest - offset_ns - opens.timestamp() * 1e9) / 1e6
    print(f"\nA5: {ORDERS} held, the first left {late_ms:.1f} ms after the opening; {len(first.effects)} by the first broker "
          f"(at most {first.most_in_any(1.0)} in any second of {TPS}), {len(second.effects)} by the second (at most "
          f"{second.most_in_any(1.0)} of {SECOND_TPS}); CRITICAL {pending:.2f} s after CAUTION; told {told(client)}")
    assert -1 <= late_ms <= 100, "none before the opening, and at once then"
    assert first.most_in_any(1.0) <= TPS and second.most_in_any(1.0) <= SECOND_TPS
    assert 0.5 <= pending <= 1.2
    assert first.effects and not set(first.effects) & set(second.effects)
    assert {seen.json["order"] for seen in [*first.effects.values(), *second.effects.values()]} == set(range(ORDERS))
    assert told(client) == [("healthy", "caution", False), ("caution", "critical", True), ("critical", "healthy", True)]


def test_the_pace_is_chosen_for_the_run(make_example, make_provider):
    first = make_provider()
    client = make_example("market-open", {"http://127.0.0.1:8090/orders": first.url}).start().client
    redefine(client, "destinations", "broker",
             rateLimits={"maxDispatchesPerSecond": 300, "mode": "strict", "maxConcurrentDispatches": 64})
    opens = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1.5)
    publish_all(client, opens)
    until(lambda: len(first.effects) == ORDERS, 15, "all orders")
    took = (max(seen.at_ns for seen in first.seen) - min(seen.at_ns for seen in first.seen)) / 1e9
    print(f"\nA5: {ORDERS} orders at 300 TPS took {took:.2f} s, at most {first.most_in_any(1.0)} in any second")
    assert first.most_in_any(1.0) <= 300
    assert 0.9 <= took <= 2.4
