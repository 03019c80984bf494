"""The management API: as RabbitMQ's own tools use it, and beside a RabbitMQ where one is installed."""
import base64
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pika
import pytest
from support.rabbit import PROGRAM, Rabbit
from support.server import Server, free_port
from support.tokens import Tokens
from support.wait import until


class Management:
    """One user of one server. `call` gives status and decoded answer."""

    def __init__(self, port, user="guest", password="guest", token=None):
        self.base = f"http://127.0.0.1:{port}/api/"
        self.port = port
        self.authorization = f"Bearer {token}" if token else \
            "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.base + path, method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": self.authorization})
        try:
            with urllib.request.urlopen(request, timeout=300) as reply:
                status, text = reply.status, reply.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        return status, json.loads(text) if text else None

    def get(self, path):
        status, answer = self.call("GET", path)
        assert status == 200, (path, status, answer)
        return answer

    def put(self, path, body=None):
        return self.call("PUT", path, {} if body is None else body)[0]

    def post(self, path, body):
        status, answer = self.call("POST", path, body)
        assert status in (200, 201), (path, status, answer)
        return answer

    def delete(self, path):
        return self.call("DELETE", path)[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("management"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def manage(server):
    return Management(server.port)


# ---- things ----

def test_declare_list_delete(manage):
    assert manage.put("exchanges/%2F/logs", {"type": "topic"}) == 201
    assert manage.put("exchanges/%2F/logs", {"type": "topic"}) == 204
    assert manage.put("queues/%2F/all", {"arguments": {"x-max-length": 10}}) == 201
    assert manage.call("PUT", "queues/%2F/all", {"durable": False})[0] == 400
    assert manage.call("POST", "bindings/%2F/e/logs/q/all", {"routing_key": "a.*"})[0] == 201
    queue = manage.get("queues/%2F/all")
    assert (queue["vhost"], queue["durable"], queue["arguments"]) == ("/", True, {"x-max-length": 10})
    assert manage.get("exchanges/%2F/logs")["type"] == "topic"
    found = manage.get("bindings/%2F/e/logs/q/all")
    assert [(b["routing_key"], b["properties_key"]) for b in found] == [("a.*", "a.%2A")]
    assert {b["source"] for b in manage.get("queues/%2F/all/bindings")} == {"", "logs"}
    assert [b["destination"] for b in manage.get("exchanges/%2F/logs/bindings/source")] == ["all"]
    assert manage.delete("bindings/%2F/e/logs/q/all/a.%252A") == 204
    assert manage.delete("bindings/%2F/e/logs/q/all/a.%252A") == 404
    assert manage.delete("queues/%2F/all") == 204
    assert manage.delete("queues/%2F/all") == 404
    assert manage.delete("exchanges/%2F/logs") == 204
    assert manage.call("DELETE", "exchanges/%2F/amq.topic")[0] == 400


def test_reasons_stand_where_tools_look(manage):
    status, answer = manage.call("PUT", "queues/%2F/bad", {"arguments": {"x-max-length": "ten"}})
    assert status == 400 and answer["error"] == "bad_request" and "invalid arg" in answer["reason"]
    assert manage.call("GET", "queues/%2F/none")[0] == 404
    assert manage.call("PUT", "exchanges/%2F/bad", {"type": "none"})[0] == 400
    assert manage.call("PUT", "queues/%2F/bad", [])[0] == 400


def test_publish_and_get(manage):
    manage.put("queues/%2F/letters")
    properties = {"delivery_mode": 2, "content_type": "text/plain", "headers": {"n": 1, "deep": {"list": [1.5, None]}}}
    message = {"properties": properties, "routing_key": "letters", "payload": "hello", "payload_encoding": "string"}
    assert manage.post("exchanges/%2F/amq.default/publish", message) == {"routed": True}
    assert manage.post("exchanges/%2F/amq.default/publish", {**message, "routing_key": "nobody"}) == {"routed": False}
    binary = base64.b64encode(b"\xff\x00").decode()
    manage.post("exchanges/%2F/amq.default/publish", {**message, "payload": binary, "payload_encoding": "base64"})
    wanted = {"count": 5, "ackmode": "ack_requeue_true", "encoding": "auto"}
    got = manage.post("queues/%2F/letters/get", wanted)
    assert [(m["payload"], m["payload_encoding"]) for m in got] == [("hello", "string"), (binary, "base64")]
    assert got[0]["properties"]["headers"] == properties["headers"]
    assert got[0]["properties"]["content_type"] == "text/plain"
    assert (got[0]["redelivered"], got[0]["routing_key"], got[0]["message_count"]) == (False, "letters", 1)
    again = manage.post("queues/%2F/letters/get", {**wanted, "ackmode": "ack_requeue_false", "count": 1})
    assert [(m["payload"], m["redelivered"]) for m in again] == [("hello", True)]
    assert manage.get("queues/%2F/letters")["messages"] == 1
    assert manage.delete("queues/%2F/letters/contents") == 204
    assert manage.post("queues/%2F/letters/get", wanted) == []
    assert manage.call("POST", "queues/%2F/letters/get", {"count": 1})[0] == 400
    assert manage.call("POST", "exchanges/%2F/none/publish", message)[0] == 404


def test_pages_names_columns(manage):
    for i in range(7):
        manage.put(f"queues/%2F/page-{i}")
    page = manage.get("queues?page=2&page_size=3&name=page-&columns=name,message_stats.publish&sort=name&sort_reverse=true")
    assert [item["name"] for item in page["items"]] == ["page-3", "page-2", "page-1"]
    assert set(page["items"][0]) == {"name", "message_stats"}
    assert (page["filtered_count"], page["page_count"], page["item_count"]) == (7, 3, 3)
    named = manage.get("queues/%2F?name=" + urllib.parse.quote("^page-[12]$") + "&use_regex=true")
    assert [q["name"] for q in named] == ["page-1", "page-2"]
    assert manage.call("GET", "queues?page=9&page_size=3")[0] == 400
    assert manage.call("GET", "queues?name=(&use_regex=true")[0] == 400


def test_what_exporters_read(manage):
    overview = manage.get("overview")
    assert {"messages", "messages_ready", "messages_unacknowledged"} <= set(overview["queue_totals"])
    assert {"channels", "connections", "consumers", "exchanges", "queues"} <= set(overview["object_totals"])
    assert overview["rabbitmq_version"].startswith("3.") and overview["node"] and overview["cluster_name"]
    node = manage.get("nodes")[0]
    assert {"name", "running", "mem_used", "mem_alarm", "disk_free_alarm", "partitions", "uptime"} <= set(node)
    assert manage.get(f"nodes/{node['name']}")["name"] == node["name"]
    assert manage.get("connections") == manage.get("channels") == []
    for check in ("healthchecks/node", "health/checks/alarms", "health/checks/local-alarms", "aliveness-test/%2F",
                  f"health/checks/port-listener/{manage.port}", "health/checks/protocol-listener/http"):
        assert manage.get(check)["status"] == "ok"
    assert manage.call("GET", "health/checks/port-listener/1")[0] == 503
    context = next(c for c in overview["contexts"] if c["port"] == str(manage.port))
    assert {"description", "path", "ssl_opts", "cowboy_opts"} <= set(context) and context["node"] == node["name"]
    assert manage.get(f"healthchecks/node/{context['node']}") == {"status": "ok"}
    assert manage.call("GET", "healthchecks/node/none")[0] == 404


def test_several_users_are_deleted_at_once(manage):
    for name in ("one", "two"):
        assert manage.put(f"users/{name}", {"password": "p", "tags": ""}) == 201
    assert manage.call("POST", "users/bulk-delete", {"users": ["one", "nobody", "two"]})[0] == 400
    assert manage.call("POST", "users/bulk-delete", {"users": ["two"]})[0] == 204
    assert manage.call("POST", "users/bulk-delete", {"users": []})[0] == 204
    assert {"one", "two"} & {u["name"] for u in manage.get("users")} == set()
    assert manage.call("POST", "users/bulk-delete", {"users": "one"})[0] == 400
    assert manage.call("POST", "users/bulk-delete", {"users": ["one", 1]})[0] == 400


def test_the_steps_of_a_request_wait_for_nothing(manage):
    """A login and a list of each kind, one after the other: when a step waited for a tick of the loop (32 ms), all took 200 ms."""
    def seconds():
        begun = time.monotonic()
        manage.get("definitions")
        return time.monotonic() - begun
    assert min(seconds() for _ in range(30)) < 0.1


# ---- users ----

def test_users_and_their_rights(server, manage):
    assert manage.put("vhosts/team") == 201
    assert manage.put("vhosts/team") == 204
    assert manage.put("users/ann", {"password": "secret", "tags": "management"}) == 201
    assert manage.put("permissions/team/ann", {"configure": "^ann-", "write": ".*", "read": "^ann-"}) == 201
    assert manage.put("users/watch", {"password": "w", "tags": ["monitoring"]}) == 201
    assert manage.put("users/plain", {"password": "p", "tags": ""}) == 201
    ann = Management(server.port, "ann", "secret")
    assert ann.get("whoami") == {"name": "ann", "tags": ["management"]}
    assert ann.put("queues/team/ann-1") == 201
    assert ann.put("queues/team/bob-1") == ann.put("queues/%2F/ann-1") == ann.put("vhosts/other") == 403
    assert [q["name"] for q in ann.get("queues")] == ["ann-1"]
    assert {e["vhost"] for e in ann.get("exchanges")} == {"team"}
    assert ann.call("GET", "users")[0] == ann.call("GET", "definitions")[0] == 403
    assert ann.call("GET", "../v1/queues")[0] in (401, 403, 404)
    assert Management(server.port, "watch", "w").get("queues/team/ann-1")["name"] == "ann-1"
    assert Management(server.port, "plain", "p").call("GET", "queues")[0] == 403
    for user, password in (("ann", "wrong"), ("nobody", "secret"), ("ann", ""), ("guest", "wrong")):
        assert Management(server.port, user, password).call("GET", "whoami")[0] == 401
    message = {"properties": {}, "routing_key": "ann-1", "payload": "x", "payload_encoding": "string"}
    assert ann.call("POST", "exchanges/team/amq.default/publish", message)[0] == 200
    assert manage.put("permissions/team/ann", {"configure": "^ann-", "write": "^none$", "read": ".*"}) == 204
    assert ann.call("POST", "exchanges/team/amq.default/publish", message)[0] == 403
    assert manage.put("users/ann", {"password": "another", "tags": "management"}) == 204
    assert ann.call("GET", "whoami")[0] == 401, "the old password, that was remembered to be right"
    ann = Management(server.port, "ann", "another")
    assert ann.call("GET", "whoami")[0] == 200
    assert manage.delete("users/ann") == 204
    assert ann.call("GET", "whoami")[0] == 401
    assert manage.get("users/watch/permissions") == []


def test_passwords_of_rabbitmq(server, manage):
    """SHA-256 with a salt of four bytes, as an export of RabbitMQ has it: good, and replaced at the first login."""
    import hashlib
    salt = b"\x01\x02\x03\x04"
    kept = base64.b64encode(salt + hashlib.sha256(salt + b"old").digest()).decode()
    assert manage.put("users/moved", {"password_hash": kept, "hashing_algorithm": "rabbit_password_hashing_sha256",
                                      "tags": "administrator"}) == 201
    assert manage.get("users/moved")["password_hash"] == kept
    assert Management(server.port, "moved", "new").call("GET", "whoami")[0] == 401
    assert Management(server.port, "moved", "old").get("whoami")["name"] == "moved"
    now = manage.get("users/moved")
    assert now["hashing_algorithm"] == "argon2id" and now["tags"] == ["administrator"]
    assert Management(server.port, "moved", "old").get("whoami")["name"] == "moved"
    assert Management(server.port, "moved", "new").call("GET", "whoami")[0] == 401


def test_guest_is_nobody_where_tokens_are_needed(make_server):
    tokens = Tokens().add("root", "admin").add("desk", "read")
    server = make_server({"tokens": tokens.entries})
    server.client.token = tokens.secrets["root"]
    server.start()
    assert Management(server.port).call("GET", "overview")[0] == 401
    assert Management(server.port, token=tokens.secrets["desk"]).call("GET", "overview")[0] == 200
    assert Management(server.port, token=tokens.secrets["desk"]).call("GET", "users")[0] == 403
    root = Management(server.port, token=tokens.secrets["root"])
    assert root.put("users/guest", {"password": "mine", "tags": "administrator"}) == 201
    assert Management(server.port).call("GET", "overview")[0] == 401
    assert Management(server.port, "guest", "mine").call("GET", "overview")[0] == 200
    root.put("queues/%2F/audited")
    entries = server.client.get("/v1/audit").json["entries"]
    found = [(e["entry"]["action"], e["entry"]["resource"]) for e in entries if "resource" in e["entry"]]
    assert ("define", "queues///audited") in found and ("define", "users/guest") in found
    assert all("mine" not in json.dumps(e) for e in entries)


def test_a_new_password_holds_nobody_up(make_server):
    """Its hash takes a tenth of a second on purpose; meanwhile the only I/O thread serves others."""
    server = make_server({"ioThreads": 1}).start()
    manage = Management(server.port)

    def served_meanwhile(name):
        setting = threading.Thread(target=manage.put, args=(f"users/{name}", {"password": name, "tags": "monitoring"}))
        setting.start()
        served = 0
        while setting.is_alive():
            served += server.client.get("/healthz").status == 200
        return served

    assert any(served_meanwhile(f"u{n}") >= 15 for n in range(30))
    assert Management(server.port, "u0", "u0").call("GET", "whoami")[0] == 200
    assert Management(server.port, "u0", "u1").call("GET", "whoami")[0] == 401


# ---- policies ----

def test_a_policy_reaches_what_is_there_and_what_comes(manage):
    manage.put("queues/%2F/pol.before", {})
    for _ in range(5):
        manage.post("exchanges/%2F/amq.default/publish",
                    {"routing_key": "pol.before", "payload": "x", "payload_encoding": "string", "properties": {}})
    policy = {"pattern": r"^(?!amq\.)pol\.", "apply-to": "queues", "priority": 7,
              "definition": {"max-length": 3, "queue-mode": "lazy"}}
    assert manage.put("policies/%2F/short", policy) == 201
    assert manage.put("policies/%2F/short", policy) == 204
    queue = manage.get("queues/%2F/pol.before")
    assert (queue["messages"], queue["policy"], queue["operator_policy"]) == (3, "short", None)
    assert queue["effective_policy_definition"] == policy["definition"]
    manage.put("queues/%2F/pol.after", {})
    assert manage.get("queues/%2F/pol.after")["policy"] == "short"
    assert manage.get("policies/%2F/short") == {"vhost": "/", "name": "short", **policy}
    assert manage.put("operator-policies/%2F/short",
                      {"pattern": "^pol", "definition": {"max-length": 2, "expires": 600000}}) == 201
    queue = manage.get("queues/%2F/pol.before")
    assert (queue["messages"], queue["operator_policy"]) == (2, "short")
    assert queue["effective_policy_definition"] == {"max-length": 2, "expires": 600000, "queue-mode": "lazy"}
    assert [p["name"] for p in manage.get("policies")] == ["short"]
    assert [p["apply-to"] for p in manage.get("operator-policies")] == ["queues"]
    assert manage.delete("operator-policies/%2F/short") == 204
    assert manage.delete("policies/%2F/short") == 204
    assert manage.delete("policies/%2F/short") == 404
    assert manage.get("queues/%2F/pol.before")["policy"] is None


def test_what_is_no_policy_is_refused(manage):
    for policy in ({"pattern": "(", "definition": {"max-length": 1}}, {"pattern": "x", "definition": {}},
                   {"pattern": "x", "definition": {"max-lenght": 1}}, {"pattern": "x", "definition": {"max-length": "1"}},
                   {"pattern": "x", "definition": {"max-length": 1}, "apply-to": "everything"}):
        status, answer = manage.call("PUT", "policies/%2F/bad", policy)
        assert status == 400 and answer["reason"], policy
    assert manage.get("policies") == []


def test_policies_survive_a_restart(make_server):
    server = make_server()
    server.start()
    manage = Management(server.port)
    manage.put("exchanges/%2F/in", {"type": "direct"})
    manage.put("queues/%2F/rest", {})
    manage.call("POST", "bindings/%2F/e/amq.fanout/q/rest", {})
    manage.put("policies/%2F/ae", {"pattern": "^in$", "apply-to": "exchanges",
                                   "definition": {"alternate-exchange": "amq.fanout"}})
    server.kill()
    server.start()
    message = {"routing_key": "k", "payload": "x", "payload_encoding": "string", "properties": {}}
    assert manage.post("exchanges/%2F/in/publish", message) == {"routed": True}
    assert manage.get("queues/%2F/rest")["messages"] == 1
    assert manage.get("exchanges/%2F/in")["policy"] == "ae"


# ---- definitions ----

DEFINITIONS = {
    "rabbit_version": "3.10.8",
    "users": [{"name": "u", "password_hash": "AosaIxigHXyvgRR/3CLOmI/RoZNOSKEwmdZoDZz3ZJSdftfD",
               "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["monitoring"], "limits": {}},
              {"name": "md5", "password_hash": "AAAA", "hashing_algorithm": "rabbit_password_hashing_md5", "tags": ""}],
    "vhosts": [{"name": "/"}, {"name": "v"}],
    "permissions": [{"user": "u", "vhost": "v", "configure": ".*", "write": "", "read": ".*"}],
    "topic_permissions": [{"user": "u", "vhost": "v", "exchange": "x", "write": "", "read": ""}],
    "parameters": [{"vhost": "v", "component": "shovel", "name": "s", "value": {}},
                   {"vhost": "v", "component": "operator_policy", "name": "top",
                    "value": {"pattern": "", "apply-to": "queues", "priority": 0, "definition": {"max-length": 90}}}],
    "global_parameters": [{"name": "internal_cluster_id", "value": "rabbitmq-cluster-id-x"}],
    "policies": [{"vhost": "v", "name": "p", "pattern": "^(?!amq\\.)", "apply-to": "queues", "priority": 3,
                  "definition": {"max-length": 500, "ha-mode": "all"}},
                 {"vhost": "v", "name": "later", "pattern": ".*", "apply-to": "quorum_queues", "priority": 0,
                  "definition": {"max-length": 5}}],
    "queues": [{"name": "q", "vhost": "v", "durable": True, "auto_delete": False,
                "arguments": {"x-queue-type": "quorum", "x-quorum-initial-group-size": 3, "x-delivery-limit": 5}},
               {"name": "s", "vhost": "v", "durable": True, "auto_delete": False, "arguments": {"x-queue-type": "stream"}}],
    "exchanges": [{"name": "x", "vhost": "v", "type": "topic", "durable": True, "auto_delete": False, "internal": False,
                   "arguments": {}},
                  {"name": "odd", "vhost": "v", "type": "x-random", "durable": True, "auto_delete": False,
                   "internal": False, "arguments": {}}],
    "bindings": [{"source": "x", "vhost": "v", "destination": "q", "destination_type": "queue", "routing_key": "k",
                  "arguments": {"a": 1}},
                 {"source": "odd", "vhost": "v", "destination": "q", "destination_type": "queue", "routing_key": "",
                  "arguments": {}}],
}


def test_import_says_what_it_cannot_honour(server, manage):
    lines = manage.post("definitions", DEFINITIONS)
    assert {line["where"] for line in lines} == {
        "/users/1", "/topic_permissions/0", "/parameters/0", "/policies/0", "/policies/1",
        "/queues/0", "/queues/1", "/exchanges/1", "/bindings/1"}
    assert all(set(line) == {"where", "what", "why"} and line["why"] for line in lines)
    assert next(line for line in lines if line["where"] == "/exchanges/1")["what"] == "exchange 'odd' in vhost 'v'"
    queue = manage.get("queues/v/q")
    assert (queue["type"], queue["policy"], queue["operator_policy"]) == ("quorum", "p", "top")
    assert queue["effective_policy_definition"] == {"max-length": 90, "ha-mode": "all"}
    assert [b["arguments"] for b in manage.get("bindings/v/e/x/q/q")] == [{"a": 1}]
    assert {u["name"] for u in manage.get("users")} >= {"u", "md5"}
    assert Management(server.port, "md5", "").call("GET", "whoami")[0] == 401
    assert {line["where"] for line in manage.post("definitions", DEFINITIONS)} == {line["where"] for line in lines}


def test_export_is_imported_elsewhere(manage, make_server):
    manage.post("definitions", DEFINITIONS)
    exported = manage.get("definitions")
    other = make_server()
    other.start()
    there = Management(other.port)
    lines = there.post("definitions", exported)
    assert {line["where"].split("/")[1] for line in lines} <= {"queues", "policies"}, lines
    again = there.get("definitions")
    assert {part: sorted(map(json.dumps, exported[part])) for part in exported if isinstance(exported[part], list)} == \
           {part: sorted(map(json.dumps, again[part])) for part in again if isinstance(again[part], list)}
    assert there.post("definitions/" + urllib.parse.quote("v", safe=""), manage.get("definitions/v")) is not None


def test_import_refuses_what_is_no_file(manage):
    assert manage.call("POST", "definitions", [])[0] == 400
    assert [line["where"] for line in manage.post("definitions", {"queues": {}, "nonsense": [1]})] == ["/queues", "/nonsense"]
    assert [line["where"] for line in manage.post("definitions", {"queues": [1, {"name": ""}]})] == ["/queues/0", "/queues/1"]


# ---- connections ----

@pytest.fixture
def broker(make_server):
    """With an AMQP listener; `port` is of HTTP."""
    server = make_server()
    server.amqp_port = free_port()
    server.configure({"listeners": [*server.config["listeners"],
                                    {"host": "127.0.0.1", "port": server.amqp_port, "protocol": "amqp"}]})
    server.start()
    return server


def connect(port, user="guest", password="guest", **properties):
    return pika.BlockingConnection(pika.ConnectionParameters(
        "127.0.0.1", port, credentials=pika.PlainCredentials(user, password), heartbeat=0, client_properties=properties or None))


def listen(connection):
    """Until something happens to it."""
    until(lambda: connection.process_data_events(1) or connection.is_closed, what="anything")


def quoted(name):
    return urllib.parse.quote(name, safe="")


def test_connections_and_channels_are_listed(broker):
    manage = Management(broker.port)
    idle = connect(broker.amqp_port)
    busy = connect(broker.amqp_port, connection_name="billing")
    first, second = busy.channel(), busy.channel()
    second.confirm_delivery()
    first.basic_qos(prefetch_count=7)
    first.queue_declare("jobs")
    first.basic_publish("", "jobs", b"x")
    delivered = []
    tag = first.basic_consume("jobs", lambda *_: delivered.append(True))
    until(lambda: busy.process_data_events(0.05) or delivered, what="the delivery: what is counted stands still")
    found = {c["client_properties"].get("connection_name"): c for c in manage.get("connections")}
    assert set(found) == {None, "billing"} and found[None]["channels"] == 0
    one = found["billing"]
    assert (one["channels"], one["user"], one["vhost"], one["state"], one["ssl"]) == (2, "guest", "/", "running", False)
    assert (one["protocol"], one["auth_mechanism"], one["port"]) == ("AMQP 0-9-1", "PLAIN", broker.amqp_port)
    assert one["client_properties"]["product"].startswith("Pika") and one["recv_oct"] > 0 and one["send_oct"] > 0
    assert one["name"] == f"{one['peer_host']}:{one['peer_port']} -> {one['host']}:{one['port']}" and "session" not in one
    assert manage.get(f"connections/{quoted(one['name'])}") == one
    channels = {c["number"]: c for c in manage.get("channels")}
    assert set(channels) == {1, 2} and channels[2]["confirm"] and not channels[1]["confirm"]
    assert (channels[1]["consumer_count"], channels[1]["prefetch_count"]) == (1, 7)
    assert channels[1]["name"] == one["name"] + " (1)" and channels[1]["connection_details"]["name"] == one["name"]
    assert manage.get(f"channels/{quoted(channels[2]['name'])}")["number"] == 2
    assert len(manage.get(f"connections/{quoted(one['name'])}/channels")) == 2
    assert manage.get(f"connections/{quoted(found[None]['name'])}/channels") == []
    assert manage.call("GET", "connections/nobody/channels")[0] == 404
    columns = "&page_size=1&columns=channels,client_properties.connection_name"
    last = manage.get("connections?page=1&sort=client_properties.connection_name&sort_reverse=true" + columns)
    assert last["items"] == [{"channels": 2, "client_properties": {"connection_name": "billing"}}]
    assert (last["item_count"], last["filtered_count"], last["total_count"], last["page_count"]) == (1, 2, 2, 2)
    assert [c["number"] for c in manage.get("channels?page=2&sort=confirm" + columns.replace("channels", "number"))["items"]] == [2]
    assert manage.call("GET", "connections?page=3&page_size=1")[0] == 400
    assert len(manage.get("connections?name=" + quoted(r"^\d.* -> \d") + "&use_regex=true")) == 2
    assert len(manage.get("vhosts/%2F/connections")) == 2 and manage.call("GET", "vhosts/none/channels")[0] == 404
    details = manage.get("consumers")[0]
    assert (details["consumer_tag"], details["channel_details"]["name"]) == (tag, channels[1]["name"])
    assert manage.get("queues/%2F/jobs")["consumer_details"][0]["channel_details"]["connection_name"] == one["name"]
    assert {k: manage.get("overview")["object_totals"][k] for k in ("connections", "channels", "consumers")} == {
        "connections": 2, "channels": 2, "consumers": 1}
    assert [c["name"] for c in manage.get("connections?name=" + quoted(one["name"]))] == [one["name"]]
    many = [busy.channel() for _ in range(120)]  # more than one step of the list's making
    listed = manage.get("channels?sort=number")
    assert [c["number"] for c in listed] == list(range(1, 123)) and len(many) == 120
    idle.close()
    busy.close()
    until(lambda: manage.get("connections") == manage.get("channels") == [], 30, "they are gone")


def test_a_connection_is_closed_by_its_name(broker):
    manage = Management(broker.port)
    for user, tags in (("kim", "management"), ("lee", "monitoring")):
        manage.put(f"users/{user}", {"password": "p", "tags": tags})
        manage.put(f"permissions/%2F/{user}", {"configure": ".*", "write": ".*", "read": ".*"})
    of = {user: connect(broker.amqp_port, user, "p") for user in ("kim", "lee")}
    names = {c["user"]: quoted(c["name"]) for c in manage.get("connections")}
    kim, lee = (Management(broker.port, user, "p") for user in ("kim", "lee"))
    assert [c["user"] for c in kim.get("connections")] == ["kim"]
    assert {c["user"] for c in lee.get("connections")} == {"kim", "lee"}
    assert kim.delete(f"connections/{names['lee']}") == 404  # nobody tells kim of it
    assert lee.delete(f"connections/{names['kim']}") == 403
    assert kim.delete(f"connections/{names['kim']}") == 204
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        listen(of["kim"])
    assert closed.value.reply_code == 320 and "Closed via management plugin" in closed.value.reply_text
    of["lee"].channel()
    request = urllib.request.Request(manage.base + f"connections/{names['lee']}", method="DELETE",
                                     headers={"Authorization": manage.authorization, "X-Reason": "moving house"})
    assert urllib.request.urlopen(request, timeout=30).status == 204
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="moving house"):
        listen(of["lee"])
    until(lambda: manage.get("connections") == [], what="the end of both")
    assert manage.delete(f"connections/{names['lee']}") == 404
    entries = [e["entry"] for e in broker.client.get("/v1/audit").json["entries"] if e["entry"]["action"] == "close-connection"]
    assert {(e["actor"], e["detail"]) for e in entries} == {
        (user, urllib.parse.unquote(names[who])) for user, who in (("kim", "kim"), ("guest", "lee"))}


def test_a_slash_behind_a_path_is_passed_over(manage):
    assert manage.get("healthchecks/node/") == {"status": "ok"}
    assert manage.get("whoami/") == manage.get("whoami")
    assert manage.call("GET", "none/")[0] == 404 and manage.call("GET", "whoami//")[0] == 404


# ---- beside RabbitMQ ----

needs_rabbitmq = pytest.mark.skipif(PROGRAM is None, reason="rabbitmq-server is not installed: nothing to compare with")


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory):
    rabbit = Rabbit(tmp_path_factory.mktemp("rabbit"))
    try:
        yield rabbit.start()
    finally:
        rabbit.stop()


def admin_script():
    return str(next(PROGRAM.glob("plugins/rabbitmq_management-*/priv/www/cli/rabbitmqadmin")))


def admin(port, *arguments):
    return subprocess.run([sys.executable, admin_script(), "--port", str(port), *arguments], capture_output=True,
                          text=True, timeout=300, check=False)


SCRIPT = [
    ["declare", "vhost", "name=shop"],
    ["declare", "user", "name=kim", "password=k", "tags=monitoring"],
    ["declare", "permission", "vhost=shop", "user=kim", "configure=.*", "write=^a", "read="],
    ["-V", "shop", "declare", "exchange", "name=ex", "type=topic"],
    ["-V", "shop", "declare", "exchange", "name=ex2", "type=headers", "auto_delete=true"],
    ["-V", "shop", "declare", "queue", "name=q1", 'arguments={"x-max-length": 10, "x-message-ttl": 600000}'],
    ["-V", "shop", "declare", "queue", "name=q2", "durable=false"],
    ["-V", "shop", "declare", "queue", "name=q3", 'arguments={"x-queue-type": "quorum"}'],
    ["-V", "shop", "declare", "binding", "source=ex", "destination=q1", "routing_key=a.*"],
    ["-V", "shop", "declare", "binding", "source=ex", "destination=q2", "routing_key=b c/ü"],
    ["-V", "shop", "declare", "binding", "source=ex2", "destination=ex", "destination_type=exchange",
     'arguments={"x-match": "any", "k": "v"}'],
    ["-V", "shop", "publish", "exchange=ex", "routing_key=a.b", "payload=one",
     'properties={"delivery_mode": 2, "headers": {"h": [1, "two", {"three": true}]}}'],
    ["-V", "shop", "publish", "routing_key=q1", "payload=two"],
    ["-V", "shop", "publish", "exchange=ex", "routing_key=zzz", "payload=three"],
    ["-V", "shop", "get", "queue=q1", "ackmode=ack_requeue_true", "count=5"],
    ["-V", "shop", "get", "queue=q1", "ackmode=ack_requeue_false"],
    ["-V", "shop", "declare", "queue", "name=q1", "durable=false"],
    ["-V", "shop", "declare", "queue", "name=q4", 'arguments={"x-max-length": "many"}'],
    ["-V", "shop", "list", "exchanges", "vhost", "name", "type", "durable", "auto_delete", "internal"],
    ["-V", "shop", "list", "queues", "vhost", "name", "durable", "auto_delete", "type", "arguments.x-max-length"],
    ["-V", "shop", "list", "bindings", "source", "destination", "destination_type", "routing_key"],
    ["-V", "shop", "list", "permissions"],
    ["-V", "shop", "declare", "policy", "name=cap", "pattern=^(?!q2)", 'definition={"max-length": 1, "ha-mode": "all"}',
     "apply-to=queues", "priority=2"],
    ["-V", "shop", "declare", "policy", "name=bad", "pattern=(", 'definition={"max-length": 1}'],
    ["-V", "shop", "declare", "policy", "name=bad", "pattern=x", 'definition={"max-lenght": 1}'],
    ["-V", "shop", "declare", "operator_policy", "name=top", "pattern=q", 'definition={"expires": 600000}',
     "apply-to=queues"],
    ["-V", "shop", "list", "policies", "vhost", "name", "pattern", "apply-to", "priority", "definition.max-length"],
    ["-V", "shop", "list", "operator_policies", "vhost", "name", "pattern", "apply-to", "priority", "definition.expires"],
    ["-V", "shop", "publish", "routing_key=q1", "payload=four"],
    ["-V", "shop", "publish", "routing_key=q1", "payload=five"],
    ["-V", "shop", "get", "queue=q1", "ackmode=ack_requeue_true", "count=5"],
    ["-V", "shop", "delete", "policy", "name=cap"],
    ["-V", "shop", "delete", "operator_policy", "name=top"],
    ["-V", "shop", "purge", "queue", "name=q1"],
    ["-V", "shop", "delete", "queue", "name=q2"],
    ["-V", "shop", "delete", "queue", "name=q2"],
    ["-V", "shop", "delete", "exchange", "name=ex2"],
    ["delete", "permission", "vhost=shop", "user=kim"],
    ["delete", "user", "name=kim"],
    ["list", "vhosts", "name"],
]


def plain(text):
    """A table as a set of rows: the order of lists is not promised by either."""
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in text.splitlines() if line.startswith("|")]
    return sorted(rows) if rows else text.strip()


@needs_rabbitmq
def test_rabbitmqadmin_cannot_tell(rabbit, make_server):
    """The same commands, the same tables and messages, but for words behind "reason" and what this program has not."""
    server = make_server()
    server.start()
    for command in SCRIPT:
        theirs, ours = admin(rabbit.port, *command), admin(server.port, *command)
        assert ours.returncode == theirs.returncode, (command, ours, theirs)
        if theirs.returncode == 0:
            shown = plain(ours.stdout)
            wanted = plain(theirs.stdout)
            if "users" in command or "permissions" in command:  # guest is built in here until somebody defines it
                wanted = [row for row in wanted if "guest" not in row]
            assert shown == wanted, command


READ_BY_TOOLS = {  # of each thing: docs/amqp-management.md
    "overview": "management_version rabbitmq_version cluster_name node object_totals queue_totals message_stats listeners "
                "exchange_types statistics_db_event_queue rates_mode contexts product_name product_version",
    "nodes": "name type running mem_used mem_alarm disk_free_alarm partitions uptime fd_total processors os_pid",
    "queues": "name vhost durable auto_delete exclusive arguments type state node policy consumers messages "
              "messages_ready messages_unacknowledged messages_persistent message_bytes message_stats "
              "head_message_timestamp operator_policy effective_policy_definition",
    "exchanges": "name vhost type durable auto_delete internal arguments",
    "bindings": "source vhost destination destination_type routing_key arguments properties_key",
    "vhosts": "name description tags tracing cluster_state",
    "users": "name password_hash hashing_algorithm tags limits",
    "permissions": "user vhost configure write read",
}


@needs_rabbitmq
def test_fields_have_the_types_that_rabbitmq_gives_them(rabbit, manage):
    for port in (rabbit.port, manage.port):
        one = Management(port)
        one.put("queues/%2F/typed")
        one.put("users/typed", {"password": "t", "tags": "monitoring"})
        one.put("permissions/%2F/typed", {"configure": "", "write": "", "read": ""})
        one.post("exchanges/%2F/amq.default/publish",
                 {"properties": {}, "routing_key": "typed", "payload": "x", "payload_encoding": "string"})
    theirs = Management(rabbit.port)
    end = time.monotonic() + 300  # its counters come every five seconds
    while "message_stats" not in theirs.get("queues/%2F/typed") and time.monotonic() < end:
        time.sleep(0.2)
    wrong = []
    for path, names in READ_BY_TOOLS.items():
        pick = {"queues": "typed", "users": "typed", "permissions": "typed"}.get(path)
        found = []
        for one in (manage, theirs):
            answer = one.get(path)
            if isinstance(answer, list):
                answer = next(a for a in answer if pick is None or pick in (a.get("name"), a.get("user")))
            found.append(answer)
        for name in names.split():
            ours, wanted = (type(f[name]) if name in f else None for f in found)
            if ours is None or wanted is not None and type(None) not in (ours, wanted) and ours is not wanted:
                wrong.append(f"{path}.{name}: {ours}, RabbitMQ: {wanted}")
    assert not wrong, "\n".join(wrong)


CONNECTION_FIELDS = {
    "connections": "name node state user vhost protocol peer_host peer_port host port ssl auth_mechanism channels channel_max "
                   "frame_max timeout connected_at recv_oct send_oct client_properties type",
    "channels": "name node number state user vhost consumer_count prefetch_count confirm transactional "
                "messages_unacknowledged messages_unconfirmed messages_uncommitted acks_uncommitted connection_details",
    "consumers": "consumer_tag exclusive ack_required active activity_status prefetch_count queue channel_details arguments",
}


@needs_rabbitmq
def test_rabbitmqadmin_sees_and_closes_connections(rabbit, broker, tmp_path):
    """The real tool: the same tables of both, a connection closed by name, definitions out of one into the other."""
    seen = []
    for one in (rabbit, broker):
        connection = connect(one.amqp_port, connection_name="billing")
        channel = connection.channel()
        channel.queue_declare("watched")
        channel.basic_qos(prefetch_count=3)
        channel.basic_consume("watched", lambda *_: None, consumer_tag="me")
        manage = Management(one.port)
        until(lambda: manage.get("consumers") and [c.get("channels") for c in manage.get("connections")] == [1] and
              [(c.get("consumer_count"), c.get("prefetch_count")) for c in manage.get("channels")] == [(1, 3)], what="it is listed")
        shown = [plain(admin(one.port, *command.split()).stdout) for command in (
            "list connections user vhost protocol channels ssl auth_mechanism client_properties.connection_name",
            "list channels number user vhost consumer_count prefetch_count confirm",
            "list consumers consumer_tag queue.name ack_required prefetch_count")]
        types = [{name: type(manage.get(path)[0].get(name)) for name in names.split()}
                 for path, names in CONNECTION_FIELDS.items()]
        name = manage.get("connections")[0]["name"]
        closed = admin(one.port, "close", "connection", f"name={name}")
        assert closed.returncode == 0, closed
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as end:
            listen(connection)
        seen.append((shown, types, end.value.reply_code, admin(one.port, "show", "overview", "node").returncode))
    assert seen[1] == seen[0]
    exported = tmp_path / "definitions.json"
    assert admin(rabbit.port, "export", str(exported)).returncode == 0
    assert admin(broker.port, "import", str(exported)).returncode == 0
    assert admin(broker.port, "export", str(exported)).returncode == 0
    assert {"queues", "exchanges", "bindings", "users", "vhosts", "permissions", "policies"} <= set(json.loads(exported.read_text()))
    for kind in ("nodes", "users", "vhosts", "queues", "exchanges", "bindings", "permissions", "policies", "parameters"):
        assert admin(broker.port, "list", kind).returncode == 0, kind


@needs_rabbitmq
def test_an_export_of_rabbitmq_is_imported(rabbit, make_server):
    theirs = Management(rabbit.port)
    theirs.put("users/mover", {"password": "m-1", "tags": "administrator"})
    theirs.put("queues/%2F/moved", {"arguments": {"x-max-priority": 3, "x-dead-letter-exchange": ""}})
    theirs.put("policies/%2F/short", {"pattern": "^x", "definition": {"max-length": 5}, "apply-to": "queues"})
    server = make_server()
    server.start()
    lines = Management(server.port).post("definitions", theirs.get("definitions"))
    assert lines == []
    assert Management(server.port).get("policies")[0]["definition"] == {"max-length": 5}
    mover = Management(server.port, "mover", "m-1")
    assert mover.get("whoami")["name"] == "mover"
    assert mover.get("queues/%2F/moved")["arguments"] == {"x-max-priority": 3, "x-dead-letter-exchange": ""}
