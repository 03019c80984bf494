"""Retries as a queue and as a message want them, with the real program."""
import contextlib
import socket
import threading

import pytest

from support.server import free_port
from support.wait import until


def hangs_up(listener, requests):
    """Reads a request and says nothing, each time."""
    with contextlib.suppress(OSError):
        while True:
            one, _ = listener.accept()
            with one:
                requests.append(one.recv(65536))


@pytest.mark.parametrize("scheme", ["http", "http-of-curl"])
def test_what_may_have_been_done_is_not_what_never_left(client, scheme):
    requests = []
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=hangs_up, args=(listener, requests), daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    far = {"url": url + ("{receipt}" if scheme == "http-of-curl" else ""), "allowPrivateAddresses": True}  # places: by libcurl
    retry = {"maxAttempts": 3, "backoffs": ["0.01s"], "retryErrors": ["connect", "dns", "tls"]}
    client.define("destinations", "hangs-up", retryBudget={"percent": 100}, **far)
    client.define("destinations", "is-not-there", **{**far, "url": f"http://127.0.0.1:{free_port()}/"})
    ends = {}
    for name in ("hangs-up", "is-not-there"):
        client.define("queues", name, destination=name, retryConfig=retry)
        receipt = client.publish(name, {"pay": 17}).json["receipt"]
        until(lambda: client.get(f"/v1/receipts/{receipt}").json["state"] == "dead", 60, "it to be given up")
        one = client.get(f"/v1/queues/{name}/messages/{receipt}").json
        ends[name] = (one["lastError"], one["attempts"])
    listener.close()
    assert ends == {"hangs-up": ("broken", 1), "is-not-there": ("connect", 3)} and len(requests) == 1, (ends, requests)


def says_no(listener, answer):
    """A proxy that makes no tunnel."""
    with contextlib.suppress(OSError):
        while True:
            one, _ = listener.accept()
            with one:
                one.recv(65536)
                one.sendall(answer)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", b"", None])
def test_nothing_left_by_a_proxy_that_makes_no_tunnel(client, answer):
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=says_no, args=(listener, answer), daemon=True).start()
    proxy = f"http://127.0.0.1:{listener.getsockname()[1]}" if answer is not None else "http://no-such-name.invalid:1"
    client.define("destinations", "far", url="https://127.0.0.1:1/", proxy=proxy, allowPrivateAddresses=True,
                  retryBudget={"percent": 100})
    client.define("queues", "pay", destination="far",
                  retryConfig={"maxAttempts": 3, "backoffs": ["0.01s"], "retryErrors": ["connect", "dns", "tls"]})
    receipt = client.publish("pay", {"pay": 17}).json["receipt"]
    until(lambda: client.get(f"/v1/receipts/{receipt}").json["state"] == "dead", 60, "it to be given up")
    one = client.get(f"/v1/queues/pay/messages/{receipt}").json
    listener.close()
    assert (one["lastError"], one["attempts"]) == ("dns" if answer is None else "connect", 3), one


def answers_once(listener, requests, gone):
    """Answers the first request; the next one on the same connection is read, and all ends: he too, if `gone`."""
    with contextlib.suppress(OSError):
        one, _ = listener.accept()
        with one:
            requests.append(one.recv(65536))
            one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            requests.append(one.recv(65536))
            if gone:
                listener.close()
    hangs_up(listener, requests)


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("scheme", ["http", "http-of-curl"])
def test_nor_is_what_left_on_a_kept_connection(client, scheme, gone):
    """libcurl would send it again by itself; that this is forbidden, or nobody is there for it, does not mean that it never left."""
    requests = []
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=answers_once, args=(listener, requests, gone), daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/" + ("{receipt}" if scheme == "http-of-curl" else "")
    client.define("destinations", "far", url=url, allowPrivateAddresses=True, retryBudget={"percent": 100},
                  rateLimits={"maxConcurrentDispatches": 1})
    client.define("queues", "pay", destination="far",
                  retryConfig={"maxAttempts": 3, "backoffs": ["0.01s"], "retryErrors": ["connect", "dns", "tls"]})
    first, second = (client.publish("pay", {"pay": amount}).json["receipt"] for amount in (16, 17))
    until(lambda: client.get(f"/v1/receipts/{second}").json["state"] == "dead", 60, "it to be given up")
    one = client.get(f"/v1/queues/pay/messages/{second}").json
    listener.close()
    assert client.get(f"/v1/receipts/{first}").json["state"] == "done"
    sent = [request for request in requests if request]  # libcurl opens a connection for nothing
    assert (one["lastError"], one["attempts"], len(sent)) == ("broken", 1, 2), (one, sent)


def test_a_queue_and_a_message_have_their_own_statuses(client, make_provider):
    """By the destination 500 comes again and 404 is final; by the queue it is the other way round; by the message both are final."""
    provider = make_provider(answer=lambda seen, times: seen.json["answer"])
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True, retryBudget={"percent": 100})
    client.define("queues", "usual", destination="far", retryConfig={"maxAttempts": 2, "backoffs": ["0.01s"]})
    client.define("queues", "own", destination="far",
                  retryConfig={"maxAttempts": 2, "backoffs": ["0.01s"], "retryStatuses": "404,429"})
    assert client.get("/v1/queues/own").json["retryConfig"]["retryStatuses"] == "404,429"
    one = '{"retryStatuses": "429"}'
    cases = {("usual", 500, None): ("exhausted", 2), ("usual", 404, None): ("refused", 1), ("own", 500, None): ("refused", 1),
             ("own", 404, None): ("exhausted", 2), ("own", 404, one): ("refused", 1), ("usual", 500, one): ("refused", 1)}
    for (queue, status, config), expected in cases.items():
        options = {"retry_config": config} if config else {}
        path = f"/v1/receipts/{client.publish(queue, {'answer': status}, **options).json['receipt']}"
        until(lambda: client.get(path).json["state"] == "dead", 10, "it to be given up")
        shown = client.get(path).json
        assert (shown["deadReason"], shown["attempts"]) == expected, (queue, status, config, shown)


@pytest.mark.parametrize("statuses", ["4xx", "503-500", "429,", "99", ",".join(["500"] * 17)])
def test_statuses_that_are_none(client, statuses):
    refused = client.request("PUT", "/v1/queues/q", {"retryConfig": {"retryStatuses": statuses}})
    assert refused.status == 400 and refused.json["errors"][0]["pointer"] == "/retryConfig/retryStatuses", refused
    client.define("queues", "q")
    named = client.publish("q", {}, retry_config='{"retryStatuses": "%s"}' % statuses)
    assert named.status == 400 and "/retryStatuses: expected at most 64 bytes of statuses" in named.json["detail"], named


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
