"""Several messages in one request, with the real program: full, by time, split results, retries of what failed, kill -9 with a ledger."""
import json
import time

from support.provider import Handler, Provider
from support.wait import until


class Arrays(Provider):
    """`judge(item, times)` gives the status of one item; answers with a list of results, or with one status for all."""

    def __init__(self, judge=lambda item, times: 200, results=True, delay=0.0):
        self.judge, self.results = judge, results
        self.items, self.item_counts, self.booked = [], {}, {}
        super().__init__(delay=delay)
        self.RequestHandlerClass = ArraysHandler


class ArraysHandler(Handler):
    def do_POST(self):
        provider, at_ns = self.server, time.monotonic_ns()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lines = self.headers["Content-Type"] == "application/x-ndjson"
        items = [json.loads(line) for line in body.splitlines()] if lines else json.loads(body)
        results = []
        with provider.lock:
            provider.items.append((self.headers["Idempotency-Key"], items, at_ns))
            for item in items:
                times = provider.item_counts[item["id"]] = provider.item_counts.get(item["id"], -1) + 1
                status = provider.judge(item, times)
                if status == 200:
                    provider.booked.setdefault(item["id"], self.headers["Idempotency-Key"])
                results.append({"id": item["id"], "status": status})
        if provider.delay:
            time.sleep(provider.delay)
        status = 200 if provider.results else max(r["status"] for r in results)
        text = json.dumps({"results": results[::-1]} if provider.results == "id" else {"results": results}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def far(client, provider, batch, attempts=4, **destination):
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True, batch=batch, timeout="60s",
                  **destination)
    client.define("queues", "q", destination="far",
                  retryConfig={"minBackoff": "10ms", "maxBackoff": "50ms", "maxAttempts": attempts})


def publish(client, n, **headers):
    reply = client.post("/v1/queues/q/messages", {"id": n}, **headers)
    assert reply.status == 202, reply
    return reply.json["receipt"]


def stats(client):
    return client.get("/v1/queues/q").json["stats"]


SPLIT = {"split": True, "pointer": "/results"}


def test_a_burst_goes_in_few_requests(client):
    provider = Arrays()
    try:
        far(client, provider, {"maxMessages": 10, "maxWait": "10s", "results": SPLIT},
            rateLimits={"maxConcurrentDispatches": 1})  # else their order on the way is anybody's
        client.post("/v1/queues/q:pause")
        for n in range(30):
            publish(client, n)
        client.post("/v1/queues/q:resume")
        until(lambda: stats(client)["completed"] == 30, 10, "thirty ends")
        assert [len(items) for _, items, _ in provider.items] == [10, 10, 10]
        assert [i["id"] for _, items, _ in provider.items for i in items] == list(range(30))
        assert client.get("/v1/destinations/far").json["stats"]["attempts"] == 30
    finally:
        provider.stop()


def test_what_is_not_full_goes_in_time(client):
    provider = Arrays()
    try:
        far(client, provider, {"maxMessages": 100, "maxWait": "300ms", "format": "ndjson", "results": SPLIT})
        client.post("/v1/queues/q:pause")
        begun = time.monotonic()
        for n in range(5):
            publish(client, n)
        client.post("/v1/queues/q:resume")
        until(lambda: stats(client)["completed"] == 5, 10, "five ends")
        assert time.monotonic() - begun >= 0.3
        assert [len(items) for _, items, _ in provider.items] == [5]
    finally:
        provider.stop()


def test_only_what_failed_comes_again(client):
    judge = {3: lambda times: 503 if times < 2 else 200, 5: lambda times: 422}
    for by in ("index", "id"):
        provider = Arrays(lambda item, times: judge.get(item["id"], lambda times: 200)(times), results=by)
        try:
            far(client, provider, {"maxMessages": 8, "maxWait": "50ms", "results": {**SPLIT, "by": by}},
                retryBudget={"percent": 100})
            before = stats(client)
            receipts = [publish(client, n) for n in range(8)]
            until(lambda: client.get(f"/v1/receipts/{receipts[3]}").json["state"] == "done", 10, "the retries")
            until(lambda: stats(client)["completed"] - before["completed"] == 7, 10, "seven ends")
            assert provider.item_counts == {n: 2 if n == 3 else 0 for n in range(8)}
            dead = client.get(f"/v1/receipts/{receipts[5]}").json
            assert (dead["state"], dead["deadReason"], dead["lastStatus"]) == ("dead", "refused", 422)
        finally:
            provider.stop()


def test_messages_of_one_id_have_results_of_their_own(client):
    """Two changes of one order in a request: the first was done, the second failed."""
    provider = Arrays(lambda item, times: 503 if times == 1 else 200)
    try:
        far(client, provider, {"maxMessages": 2, "maxWait": "10s", "results": {**SPLIT, "by": "id"}},
            retryBudget={"percent": 100})
        receipts = [publish(client, 1) for _ in range(2)]
        until(lambda: client.get(f"/v1/receipts/{receipts[0]}").json["state"] == "done", 10, "the first")
        assert client.get(f"/v1/receipts/{receipts[1]}").json["attempts"] == 1
        assert client.get(f"/v1/receipts/{receipts[1]}").json["state"] != "done"
        publish(client, 2)
        until(lambda: stats(client)["completed"] == 3, 10, "the second, with another")
        assert provider.item_counts == {1: 2, 2: 0}
    finally:
        provider.stop()


def test_whatever_is_json_goes(client):
    """Numbers that we have no room for, and the NUL that C's texts have none for."""
    provider = Arrays(results="id")
    try:
        far(client, provider, {"maxMessages": 4, "maxWait": "50ms", "results": {**SPLIT, "by": "id"}})
        before = stats(client)["completed"]
        for body in ['{"id": 7, "big": 123456789012345678901234567890}', '{"id": "7x", "nul": "\\u0000"}']:
            assert client.post("/v1/queues/q/messages", body).status == 202
        until(lambda: stats(client)["completed"] - before == 2, 10, "two ends")
        assert provider.item_counts == {7: 0, "7x": 0}
    finally:
        provider.stop()


def test_without_results_all_share_the_status(client):
    provider = Arrays(lambda item, times: 500 if times == 0 else 200, results=False)
    try:
        far(client, provider, {"maxMessages": 4, "maxWait": "50ms"}, retryBudget={"percent": 100})
        client.post("/v1/queues/q:pause")
        for n in range(4):
            publish(client, n)
        client.post("/v1/queues/q:resume")
        until(lambda: stats(client)["completed"] == 4, 10, "four ends")
        assert set(provider.item_counts.values()) == {1}
    finally:
        provider.stop()


def test_one_token_a_request_and_keys_hold(client):
    provider = Arrays()
    try:
        far(client, provider, {"maxMessages": 5, "maxWait": "0s", "results": SPLIT},
            rateLimits={"maxDispatchesPerSecond": 10, "maxBurstSize": 1})
        client.post("/v1/queues/q:pause")
        for n in range(40):
            publish(client, n, **{"Sluice-Ordering-Key": f"k{n % 8}"})
        begun = time.monotonic_ns()
        client.post("/v1/queues/q:resume")
        until(lambda: stats(client)["completed"] == 40, 20, "forty ends")
        times = sorted(at for _, _, at in provider.items)
        assert all(at - begun > n * 100e6 - 5e6 for n, at in enumerate(times)), "requests are paced"
        assert max(len(items) for _, items, _ in provider.items) == 5
        for _, items, _ in provider.items:
            keys = [i["id"] % 8 for i in items]
            assert len(keys) == len(set(keys)), "two of one key in a request"
        order = [i["id"] for _, items, _ in provider.items for i in items]
        for key in range(8):
            assert [n for n in order if n % 8 == key] == sorted(n for n in order if n % 8 == key)
    finally:
        provider.stop()


def test_what_is_no_json_ends_by_itself(client):
    provider = Arrays()
    try:
        far(client, provider, {"maxMessages": 3, "maxWait": "50ms", "results": SPLIT})
        client.post("/v1/queues/q:pause")
        bad = client.request("POST", "/v1/queues/q/messages", b"no json", {"Content-Type": "text/plain"}).json["receipt"]
        good = [publish(client, n) for n in range(2)]
        client.post("/v1/queues/q:resume")
        until(lambda: stats(client)["completed"] == 2, 10, "two ends")
        assert client.get(f"/v1/receipts/{bad}").json["state"] == "dead"
        assert [len(items) for _, items, _ in provider.items] == [2] and len(good) == 2
        assert client.put("/v1/destinations/far", {"url": provider.url + "/{receipt}", "allowPrivateAddresses": True,
                                                   "batch": {"maxMessages": 3}}).status == 400
    finally:
        provider.stop()


def test_the_place_is_kept_until_the_request_is_over(client):
    """Although its first message ends before: it is no JSON, and not even in it."""
    provider = Arrays(delay=0.2)
    try:
        far(client, provider, {"maxMessages": 2, "maxWait": "0s", "results": SPLIT}, rateLimits={"maxConcurrentDispatches": 1})
        client.post("/v1/queues/q:pause")
        for n in range(6):
            client.request("POST", "/v1/queues/q/messages", b"no json", {"Content-Type": "text/plain"})
            publish(client, n)
        client.post("/v1/queues/q:resume")
        until(lambda: stats(client)["completed"] == 6 and stats(client)["dead"] == 6, 10, "twelve ends")
        times = sorted(at for _, _, at in provider.items)
        assert len(times) == 6
        assert all(b - a >= 0.2e9 for a, b in zip(times, times[1:])), "one at a time"
    finally:
        provider.stop()


def test_the_breaker_hears_of_requests(client):
    """A first message that fails is its own matter; a request all of whose results are failures is the far side's."""
    provider = Arrays(lambda item, times: 503 if item["id"] < 10 or item["id"] % 5 == 0 else 200)
    try:
        far(client, provider, {"maxMessages": 5, "maxWait": "60s", "results": SPLIT}, retryBudget={"percent": 100},
            circuitBreaker={"windowCalls": 50, "minimumCalls": 50})
        client.define("queues", "q", destination="far", retryConfig={"maxAttempts": 1}, paused=True)
        for n in range(20):
            publish(client, n)
        client.post("/v1/queues/q:resume")
        until(lambda: stats(client)["completed"] == 8 and stats(client)["dead"] == 12, 10, "twenty ends")
        breaker = client.get("/v1/destinations/far").json["stats"]["breaker"]
        assert (breaker["calls"], breaker["failed"]) == (4, 2), breaker
    finally:
        provider.stop()


def test_nothing_is_lost_over_kills(make_server):
    """The provider's ledger, by id of the item, has each message; what came twice came because its outcome was unknown."""
    provider = Arrays(lambda item, times: 503 if item["id"] % 7 == 0 and times == 0 else 200, delay=0.05)
    server = make_server().start()
    try:
        far(server.client, provider, {"maxMessages": 10, "maxWait": "20ms", "results": SPLIT}, attempts=50,
            retryBudget={"percent": 100})  # each kill may cost an attempt
        sent = 0
        for round_ in range(6):
            for _ in range(25):
                publish(server.client, sent)
                sent += 1
            time.sleep(0.02 * round_)
            server.kill()
            server.start()
        until(lambda: len(provider.booked) == sent, 60, "all are booked")
        until(lambda: stats(server.client)["ready"] + stats(server.client)["inFlight"] + stats(server.client)["delayed"] == 0,
              30, "all ends")
        assert stats(server.client)["dead"] == 0
        assert any(len(items) > 1 for _, items, _ in provider.items)
    finally:
        provider.stop()
