"""What a queue tells of the ends of its messages, with the real program: a callback, and a compensation."""
from support.wait import until


def test_the_end_of_a_message_goes_where_it_is_wanted(client, make_provider):
    provider = make_provider(answer=lambda seen, times: 422 if b"bad" in seen.body else 200)
    listener = make_provider()
    for name, url in (("far", provider.url), ("near", listener.url)):
        client.define("destinations", name, url=url, allowPrivateAddresses=True)
    client.define("queues", "undo", destination="near")
    client.define("queues", "told", destination="near")
    client.define("queues", "orders", destination="far", onSuccess={"queue": "told"}, onFailure={"queue": "undo"})
    good = client.publish("orders", {"n": 1}, ordering_key="k-1").json["receipt"]
    bad = client.publish("orders", {"n": "bad"}).json["receipt"]
    until(lambda: len(listener.seen) == 2, 10, "both callbacks")
    told = {seen.json["receipt"]: seen.json for seen in listener.seen}
    assert told[good]["outcome"] == "done" and told[good]["status"] == 200 and told[good]["orderingKey"] == "k-1", told
    assert told[bad]["outcome"] == "dead" and told[bad]["deadReason"] == "refused" and told[bad]["status"] == 422, told
    assert told[bad]["queue"] == "orders" and told[bad]["attempts"] == 1
    shown = client.get("/v1/queues/orders").json
    assert shown["onSuccess"] == {"queue": "told"} and shown["onFailure"] == {"queue": "undo"}
    assert client.put("/v1/queues/undo", {"destination": "near", "onFailure": {"queue": "orders"}}).status == 400
