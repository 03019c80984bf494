"""Dispatch deadlines and times of arrival, with the real program."""


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
    client.post("/v1/destinations/far:pause")
    assert "eta" not in client.get(f"/v1/receipts/{last['receipt']}").json
