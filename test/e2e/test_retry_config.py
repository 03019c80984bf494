"""Retries as a queue and as a message want them, with the real program."""
from support.wait import until


def test_lists_and_overrides(client, make_provider):
    provider = make_provider(answer=lambda seen, times: 503)
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True, retryBudget={"percent": 100})
    retry = {"maxAttempts": 5, "backoffs": ["0.05s", "0.1s"], "retryErrors": ["connect", "timeout"]}
    client.define("queues", "mail", destination="far", retryConfig=retry)
    shown = client.get("/v1/queues/mail").json["retryConfig"]
    assert shown["backoffs"] == ["0.05s", "0.1s"] and shown["retryErrors"] == ["connect", "timeout"], shown
    one = client.publish("mail", {}, retry_config='{"maxAttempts": 2}').json["receipt"]
    all_of_them = client.publish("mail", {}).json["receipt"]
    for receipt, attempts in ((one, 2), (all_of_them, 5)):
        path = f"/v1/receipts/{receipt}"
        until(lambda: client.get(path).json["state"] == "dead", 10, "it to be given up")
        assert client.get(path).json["attempts"] == attempts
    for bad in ('{"maxAttempt": 2}', "3", '{"backoffs": ["soon"]}'):
        assert client.publish("mail", {}, retry_config=bad).status == 400, bad
    named = client.publish("mail", {}, retry_config='{"maxAttempt": 2}').json["detail"]
    assert named == 'Sluice-Retry-Config: /maxAttempt: unknown field; did you mean "maxAttempts"?'
