"""Waiting for an outside confirmation, with the real program and a provider that answers 202 and calls back; kill -9 in each phase."""
import http.client
import random
import threading
import time

from support.wait import until

SECRET = "sixteen bytes or more"


def far(client, provider, **confirmation):
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True, timeout="60s",
                  confirmation={"statuses": "202", "deadline": "1h", "secret": SECRET, **confirmation})
    client.define("queues", "told")
    client.define("queues", "undo")
    client.define("queues", "q", destination="far", onSuccess={"queue": "told"}, onFailure={"queue": "undo"},
                  retryConfig={"minBackoff": "10ms", "maxBackoff": "50ms", "maxAttempts": 50})


def publish(client, n=1):
    reply = client.post("/v1/queues/q/messages", {"n": n})
    assert reply.status == 202, reply
    return reply.json["receipt"]


def state(client, receipt):
    return client.get(f"/v1/receipts/{receipt}").json["state"]


def test_told_by_a_token_holder(client, make_provider):
    provider = make_provider(answer=lambda seen, times: 202)
    far(client, provider)
    receipt = publish(client)
    until(lambda: state(client, receipt) == "confirming", 10, "the answer 202")
    shown = client.get(f"/v1/receipts/{receipt}").json
    assert "confirmBy" in shown and client.get("/v1/queues/q").json["stats"]["confirming"] == 1
    listed = client.get("/v1/queues/q/messages?filter=confirming").json["messages"]
    assert [m["id"] for m in listed] == [receipt]
    path = f"/v1/receipts/{receipt}/confirmation"
    assert client.post(path, {"outcome": "perhaps"}).status == 400
    assert client.post(path, {"outcome": "failed", "note": "x" * 256}).status == 400
    assert client.delete(f"/v1/queues/q/messages/{receipt}").status == 409
    told = client.post(path, {"outcome": "succeeded", "note": "booked as 17"})
    assert told.status == 200 and told.json == {"receipt": receipt, "outcome": "succeeded"}, told
    assert client.post(path, {"outcome": "succeeded"}).status == 200
    assert client.post(path, {"outcome": "failed"}).status == 409
    shown = client.get(f"/v1/receipts/{receipt}").json
    assert (shown["state"], shown["confirmation"]) == ("done", "succeeded")
    (message,) = client.get("/v1/queues/told/messages").json["messages"]
    outcome = client.get(f"/v1/queues/told/messages/{message['id']}?view=full").json["body"]
    assert outcome["outcome"] == "done" and outcome["response"] == "booked as 17", outcome
    assert client.get("/v1/destinations/far").json["confirmation"]["secret"] is None


def test_the_provider_calls_back_by_the_path_that_it_got(client, make_provider):
    provider = make_provider(answer=lambda seen, times: 202)
    far(client, provider)
    receipt = publish(client)
    until(lambda: state(client, receipt) == "confirming", 10, "the answer 202")
    path = provider.seen[0].headers["Sluice-Confirmation"]
    assert path.startswith(f"/v1/receipts/{receipt}/confirmation/")
    forged = path[:-1] + ("0" if path[-1] != "0" else "1")
    assert client.post(forged, {"outcome": "succeeded"}).status == 404
    assert client.post(path, {"outcome": "failed", "note": "no such account"}).status == 200
    assert client.post(path, {"outcome": "failed"}).status == 200
    dead = client.get(f"/v1/receipts/{receipt}").json
    assert (dead["state"], dead["deadReason"]) == ("dead", "refused")
    assert client.get("/v1/queues/undo").json["stats"]["ready"] == 1


def test_a_callback_before_the_answer_is_kept(make_server, make_provider):
    """The provider is quicker with its callback than with its answer; the program is killed in between."""
    answered = threading.Event()

    def answer(seen, times):
        answered.wait(60)
        return 202

    provider = make_provider(answer=answer)
    server = make_server().start()
    far(server.client, provider)
    receipt = publish(server.client)
    until(lambda: provider.seen, 10, "the attempt")
    path = provider.seen[0].headers["Sluice-Confirmation"]
    assert server.client.post(path, {"outcome": "succeeded"}).status == 200
    assert state(server.client, receipt) == "in-flight"
    server.kill()
    server.start()
    until(lambda: state(server.client, receipt) == "done", 10, "the end")
    answered.set()
    time.sleep(0.2)
    assert len(provider.seen) == 1  # nobody was asked twice
    assert server.client.get("/v1/queues/told").json["stats"]["ready"] == 1


def test_the_deadline(client, make_provider):
    provider = make_provider(answer=lambda seen, times: 202)
    far(client, provider, deadline="200ms", onDeadline="dead")
    receipt = publish(client)
    until(lambda: state(client, receipt) == "dead", 10, "the deadline")
    assert client.get(f"/v1/receipts/{receipt}").json["deadReason"] == "unconfirmed"
    far(client, provider, deadline="200ms", onDeadline="retry")
    receipt = publish(client)
    until(lambda: sum(seen.receipt == receipt for seen in provider.seen) >= 2, 10, "the second attempt")


def test_each_message_ends_once_over_kills(make_server, make_provider):
    """A provider that books what it is sent by its key and calls back, early and late and twice, while the server is killed.
    In the end each message has ended as the provider's ledger says, and was told of once."""
    ledger, lock = {}, threading.Lock()
    calls = []

    def answer(seen, times):
        with lock:
            outcome = ledger.setdefault(seen.receipt, "failed" if seen.json["n"] % 5 == 0 else "succeeded")
            calls.append((time.monotonic() + random.random() * 0.3, seen.headers["Sluice-Confirmation"], outcome))
        if seen.json["n"] % 3 == 0:
            time.sleep(0.2)
        return 202

    provider = make_provider(answer=answer)
    server = make_server().start()
    far(server.client, provider)
    receipts, done = {}, threading.Event()

    def call_back():
        while not done.is_set() or calls:
            with lock:
                due = [c for c in calls if c[0] <= time.monotonic()]
                for call in due:
                    calls.remove(call)
            for at, path, outcome in due:
                try:
                    reply = server.client.post(path, {"outcome": outcome})
                    assert reply.status in (200, 503), reply
                    again = reply.status == 503
                except (OSError, http.client.HTTPException):
                    server.client.close()
                    again = True
                if again:
                    with lock:
                        calls.append((time.monotonic() + 0.1, path, outcome))
            time.sleep(0.01)

    caller = threading.Thread(target=call_back)
    caller.start()
    for round_ in range(6):
        for n in range(15):
            receipts[publish(server.client, round_ * 15 + n)] = round_ * 15 + n
        time.sleep(0.15 + 0.1 * round_)
        server.kill()
        server.start()
    until(lambda: all(state(server.client, r) in ("done", "dead") for r in receipts), 60, "all ends")
    done.set()
    caller.join()
    for receipt, n in receipts.items():
        assert state(server.client, receipt) == ("dead" if n % 5 == 0 else "done"), (receipt, n)
    told = server.client.get("/v1/queues/told").json["stats"]["ready"]
    undone = server.client.get("/v1/queues/undo").json["stats"]["ready"]
    assert (told, undone) == (sum(n % 5 != 0 for n in receipts.values()), sum(n % 5 == 0 for n in receipts.values()))
