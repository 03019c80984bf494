"""Every route x everybody who may come: the table of rights, and that tenants do not see one another."""
import json
import re

import pytest
from support.client import Client
from support.tokens import Tokens

# What each route does. A route that is not here fails test_every_route_has_its_row.
ACTIONS = {
    **{f"{verb}{kind}": action for kind in ("Queue", "Stock", "Campaign", "Destination")
       for verb, action in (("create", "define"), ("put", "define"), ("get", "look"), ("delete", "remove"))},
    **{f"list{kind}s": "look" for kind in ("Queue", "Stock", "Campaign", "Destination")},
    **{name: "operate" for name in ("editMessage", "moveMessage", "startJob", "cancelJob",
                                    "pauseQueue", "resumeQueue", "purgeQueue", "redriveQueue", "redriveMessage",
                                    "pauseDestination", "resumeDestination", "openBreaker", "closeBreaker",
                                    "failOver", "returnDestination", "ejectEndpoint", "returnEndpoint")},
    **{name: "submit" for name in ("publishMessage", "reserve", "release", "confirm", "enter", "transact",
                                   "confirmReceipt")},
    **{name: "browse" for name in ("listMessages", "getMessage", "listEntries")},
    **{name: "follow" for name in ("getReservation", "getEntry", "getReceipt")},
    **{name: "oversee" for name in ("watch", "metrics")},
    **{name: "open" for name in ("health", "ready", "openapi", "problem", "console", "asset", "callBack")},
    "listJobs": "look", "getJob": "look", "deleteMessage": "take", "noop": "ping", "listAudit": "audit",
}
# The management API (docs/amqp-management.md): the same, by the actions of its own.
MANAGED = {
    "manage-ping": """
        Whoami""",
    "manage-rule": """
        PutVhost DeleteVhost PutUser DeleteUser DeleteUsers PutPermission DeletePermission Import ImportVhost
        PutOperatorPolicy DeleteOperatorPolicy""",
    "manage-secrets": """
        ListVhostPermissions ListUsers GetUser ListUserPermissions ListPermissions GetPermission Export
        ExportVhost""",
    "manage-define": """
        UnbindQueue UnbindExchange PutExchange DeleteExchange PutQueue DeleteQueue BindQueue BindExchange""",
    "manage-publish": """
        Publish""",
    "manage-purge": """
        CloseConnection PurgeQueue""",
    "manage-get": """
        GetMessages""",
    "manage-policy": """
        PutPolicy DeletePolicy""",
    "manage-look": """
        GetConnection GetChannel ListConnectionChannels ListVhostConnections ListVhostChannels
        Overview ClusterName Auth Nodes Node Extensions Parameters GlobalParameters TopicPermissions
        ListOperatorPolicies ListVhostOperatorPolicies GetOperatorPolicy VhostLimits FeatureFlags HealthNode HealthOfNode HealthAlarms HealthLocalAlarms HealthVhosts
        HealthPort HealthProtocol Aliveness ListVhosts GetVhost ListExchanges ListVhostExchanges GetExchange
        BindingsFrom BindingsTo ListQueues ListVhostQueues GetQueue BindingsOfQueue ListBindings
        ListVhostBindings BindingsToQueue BindingsToExchange ListPolicies ListVhostPolicies GetPolicy
        ListConnections ListChannels ListConsumers ListVhostConsumers""",
}
ACTIONS.update({f"manage{name}": action for action, names in MANAGED.items() for name in names.split()})
MAY = {  # beside admin, who may all
    "open": {"nobody", "wrong", "read", "publish", "consume", "operate"},
    "ping": {"read", "publish", "consume", "operate"},
    "look": {"read", "consume", "operate"},
    "browse": {"read", "consume", "operate"},
    "follow": {"read", "publish", "consume", "operate"},
    "submit": {"publish"},
    "take": {"consume", "operate"},
    "operate": {"operate"},
    "define": set(), "remove": set(), "audit": set(),
    "manage-ping": {"read", "publish", "consume", "operate"},
    "manage-look": {"read", "consume", "operate"},
    "manage-publish": {"publish"}, "manage-get": {"consume"}, "manage-purge": {"operate"},
    "manage-define": set(), "manage-policy": set(), "manage-secrets": set(), "manage-rule": set(),
    "oversee": {"read", "operate"},
}
WHOLE = {"oversee", "audit", *MANAGED} - {"manage-ping"}  # never for a tenant
BODIES = {
    "Queue": {}, "Stock": {"total": 5}, "Destination": {"url": "https://example.org/"}, "ReservationInput": {},
    "Payload": {"member": "m"},
}
SCOPES = ("read", "publish", "consume", "operate", "admin")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A server with two tenants, each with one resource of each kind."""
    from support.server import Server
    tokens = Tokens().add("root", "admin")
    for scope in SCOPES:
        tokens.add(scope, scope)
        tokens.add(f"a-{scope}", scope, resources=["shop-a.*"])
    tokens.add("b-admin", "admin", resources=["*/shop-b.*"])
    server = Server(tmp_path_factory.mktemp("rights"), {"tokens": tokens.entries})
    server.client.token = tokens.secrets["root"]
    server.start()
    yield server, tokens
    server.kill()


def stock_up(server):
    """Both tenants have everything; what a test deleted is there again."""
    root = server.client
    for tenant in ("shop-a", "shop-b"):
        root.define("destinations", f"{tenant}.x", url="https://example.org/")
        root.define("queues", f"{tenant}.x", paused=True)
        root.define("stocks", f"{tenant}.x", total=1000)
        root.define("campaigns", f"{tenant}.x", stock=f"{tenant}.x", memberPointer="/member")


def routes(server):
    described = Client(server.port).get("/openapi.json").json
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def body_of(operation, name):
    content = operation.get("requestBody", {}).get("content")
    if not content:
        return None
    schema = next(iter(content.values()))["schema"].get("$ref", "/Payload").rsplit("/", 1)[-1]
    body = dict(BODIES.get(schema, {}))
    if schema == "Campaign":
        body = {"stock": name, "memberPointer": "/member"}
    if schema == "Transaction":
        body = {"operations": [{"enqueue": {"queue": name, "body": 1}}]}
    if operation["operationId"].startswith("create"):
        body["name"] = name
    return body


def call(client, method, path, operation, name):
    """The route with `name` as its resource; other places of the path get what nothing has."""
    others = {"message": "r0000000000000000", "receipt": "r0000000000000000", "problem": "invalid",
              "file": "none.js", "purchase": "p", "member": "m"}
    path = re.sub(r"\{(\w+)\}", lambda found: others.get(found[1], name), path)
    if operation["operationId"] == "watch":
        return first_line(client, path)
    reply = client.request(method, path, body_of(operation, name))
    return reply.status, reply


def first_line(client, path):
    """The status of an answer without end."""
    connection = client.connect()
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {client.token}"} if client.token else {})
        return connection.getresponse().status, None
    finally:
        connection.close()


def test_every_route_has_its_row(world):
    server, _ = world
    for method, path, operation in routes(server):
        name = operation["operationId"]
        assert name in ACTIONS, f"{method} {path} ({name}) has no row in the table of rights"
        assert operation["x-sluice-action"] == ACTIONS[name], (method, path)
        said = set(next((s["bearer"] for s in operation["security"] if "bearer" in s), ()))
        assert said == (set() if ACTIONS[name] == "open" else MAY[ACTIONS[name]] | {"admin"}), (method, path)


def expected(action, who):
    """401, 403 or "passed"."""
    tenant, scope = who.startswith("a-"), who.removeprefix("a-")
    if scope == "root":
        scope = "admin"
    if action == "open":
        return "passed"
    if scope in ("nobody", "wrong"):
        return 401
    if scope != "admin" and scope not in MAY[action] or tenant and action in WHOLE:
        return 403
    return "passed"


@pytest.mark.parametrize("who", ["nobody", "wrong", "root", *SCOPES, *[f"a-{scope}" for scope in SCOPES]])
def test_rights_of(world, who):
    server, tokens = world
    client = tokens.client(server, who)
    if who == "wrong":
        client.token = tokens.secrets["root"][:-1] + ("A" if tokens.secrets["root"][-1] != "A" else "B")
    wrong = []
    for method, path, operation in routes(server):
        stock_up(server)
        name = "shop-a.new" if operation["operationId"].startswith("create") else "shop-a.x"
        status, reply = call(client, method, path, operation, name)
        wanted = expected(ACTIONS[operation["operationId"]], who)
        if (status if status in (401, 403) else "passed") != wanted:
            wrong.append(f"{method} {path}: {status}, not {wanted}: {reply}")
    assert not wrong, "\n".join(wrong)


def essence(reply, *names):
    """An answer without what names this one request."""
    text = reply.body.decode(errors="replace")
    for name in names:
        text = text.replace(name, "NAME")
    try:
        body = json.loads(text)
    except ValueError:
        return reply.status, text
    if isinstance(body, dict):
        body.pop("correlationId", None)
    return reply.status, body


def test_what_is_anothers_is_not_there(world):
    """In the very same words as what nobody has."""
    server, tokens = world
    client = tokens.client(server, "a-admin")
    looked_at = 0
    for method, path, operation in routes(server):
        if not re.search(r"\{(queue|stock|campaign|destination)\}", path) and operation["operationId"] != "transact":
            continue
        if path.startswith("/api/"):
            continue  # never for a tenant: test_rights_of
        stock_up(server)
        anothers = call(client, method, path, operation, "shop-b.x")[1]
        nobodys = call(client, method, path, operation, "shop-b.none")[1]
        assert essence(anothers, "shop-b.x") == essence(nobodys, "shop-b.none"), (method, path)
        if operation["operationId"].startswith("put"):
            assert anothers.status == 403, (method, path)
            continue
        missing = call(client, method, path, operation, "shop-a.none")[1]
        assert essence(anothers, "shop-b.x") == essence(missing, "shop-a.none"), (method, path)
        assert anothers.status in (404, 400), (method, path, anothers)
        looked_at += 1
    assert looked_at > 20


def test_nothing_was_done_to_the_other(world):
    """After all of the above, what the other tenant has is as it was."""
    server, _ = world
    stock_up(server)
    before = [server.client.get(f"/v1/{kind}/shop-b.x").json for kind in ("queues", "stocks", "campaigns")]
    test_what_is_anothers_is_not_there(world)
    after = [server.client.get(f"/v1/{kind}/shop-b.x").json for kind in ("queues", "stocks", "campaigns")]
    assert before == after


def test_names_of_others_are_refused_for_definitions(world):
    server, tokens = world
    client = tokens.client(server, "a-admin")
    for kind, fields in (("queues", {}), ("stocks", {"total": 1}), ("destinations", {"url": "https://example.org/"})):
        for name in ("shop-b.x", "shop-b.none", "shop-a"):
            assert client.put(f"/v1/{kind}/{name}", fields).status == 403, (kind, name)
            assert client.post(f"/v1/{kind}", {"name": name, **fields}).status == 403, (kind, name)
        assert client.put(f"/v1/{kind}/shop-a.mine", fields).status in (200, 201)
        assert client.delete(f"/v1/{kind}/shop-a.mine").status == 204


def test_references_stay_with_the_tenant(world):
    server, tokens = world
    client = tokens.client(server, "a-admin")
    stock_up(server)

    def queue_to(destination):
        return essence(client.put("/v1/queues/shop-a.q", {"destination": destination}), destination)

    def campaign_over(stock, queue):
        fields = {"stock": stock, "queue": queue, "memberPointer": "/member"}
        return essence(client.put("/v1/campaigns/shop-a.c", fields), stock, queue)

    assert queue_to("shop-b.x") == queue_to("shop-b.none") == queue_to("shop-a.none")
    assert queue_to("shop-b.x")[0] == 400
    assert campaign_over("shop-b.x", "shop-a.x") == campaign_over("shop-a.none", "shop-a.x")
    assert campaign_over("shop-a.x", "shop-b.x") == campaign_over("shop-a.x", "shop-a.none")
    assert campaign_over("shop-a.x", "shop-b.x")[0] == 400
    assert queue_to("shop-a.x")[0] == 201
    assert campaign_over("shop-a.x", "shop-a.x")[0] == 201


def test_a_tenant_does_not_reach_the_network_around_us(world):
    server, tokens = world
    client = tokens.client(server, "a-admin")
    for field in ({"allowPrivateAddresses": True}, {"caFile": "/etc/hostname"},
                  {"failover": {"destination": "shop-b.x"}}, {"failover": {"destination": "shop-a.x", "queue": "shop-b.x"}}):
        reply = client.put("/v1/destinations/shop-a.inside", {"url": "http://127.0.0.1:1/", **field})
        assert (reply.status, reply.problem) == (403, "forbidden"), field
    assert client.get("/v1/destinations/shop-a.inside").status == 404


def test_lists_show_ones_own_in_pages_that_tell_nothing(world):
    server, tokens = world
    root, client = server.client, tokens.client(server, "a-read")
    for i in range(30):
        root.define("queues", f"shop-b.list-{i}")
        root.define("queues", f"shop-a.list-{i}")
    names, query, seen = [], "page_size=7", []
    while True:
        page = client.get(f"/v1/queues?{query}").json
        names += [queue["name"] for queue in page["queues"]]
        if "nextPageToken" not in page:
            break
        seen.append(int(page["nextPageToken"], 16))
        query = f"page_size=7&page_token={page['nextPageToken']}"
    assert len(names) == len(set(names)) and all(name.startswith("shop-a.") for name in names)
    assert {f"shop-a.list-{i}" for i in range(30)} <= set(names)
    assert seen == [7 * (i + 1) for i in range(len(seen))]  # counted in one's own
    whole = {queue["name"] for queue in root.get("/v1/queues?page_size=1000").json["queues"]}
    assert {name for name in whole if name.startswith("shop-a.")} == set(names)
    for kind in ("stocks", "campaigns", "destinations"):
        shown = [item["name"] for item in client.get(f"/v1/{kind}").json[kind]]
        assert all(name.startswith("shop-a.") for name in shown), kind


def test_receipts_are_not_guessed(world):
    server, tokens = world
    stock_up(server)
    a, b = tokens.client(server, "a-read"), tokens.client(server, "b-admin")
    receipt = b.publish("shop-b.x", {"n": 1}).json["receipt"]
    entry = b.enter("shop-b.x", "somebody").json["receipt"]
    nothing = essence(a.get("/v1/receipts/r00000000ffffffc0"), "r00000000ffffffc0")
    for receipt_id in (receipt, entry):
        assert b.get(f"/v1/receipts/{receipt_id}").status == 200
        assert essence(a.get(f"/v1/receipts/{receipt_id}"), receipt_id) == nothing
    own = tokens.client(server, "a-publish").enter("shop-a.x", "somebody").json["receipt"]
    assert tokens.client(server, "a-publish").get(f"/v1/receipts/{own}").status == 200
    assert tokens.client(server, "b-admin").get(f"/v1/receipts/{own}").status == 404


def test_keys_of_tenants_do_not_meet(world):
    """Neither a key of a transaction nor that of a dedup operation tells what another tenant did."""
    server, tokens = world
    stock_up(server)
    a, b = tokens.client(server, "a-admin"), tokens.client(server, "b-admin")

    def transact(client, queue, key, dedup):
        operations = [{"enqueue": {"queue": queue, "body": 1}}, {"dedup": {"key": dedup}}]
        return client.post("/v1/transactions", {"operations": operations}, **{"Idempotency-Key": key})

    first = transact(b, "shop-b.x", "key-1", "order-1")
    assert first.status == 202
    assert transact(b, "shop-b.x", "key-1", "order-1").headers["Idempotency-Replayed"] == "true"
    assert transact(a, "shop-a.x", "key-1", "order-1").status == 202
    assert transact(a, "shop-a.x", "key-2", "order-1").problem == "already-claimed"
    # Nor does a key bring back the answer that the other had on its own queue.
    published = b.post("/v1/queues/shop-b.x/messages", {"n": 1}, **{"Idempotency-Key": "key-3"})
    assert published.status == 202
    stolen = a.post("/v1/queues/shop-b.x/messages", {"n": 1}, **{"Idempotency-Key": "key-3"})
    assert (stolen.status, stolen.problem) == (404, "not-found")


def test_a_transaction_does_not_touch_the_other(world):
    server, tokens = world
    stock_up(server)
    a = tokens.client(server, "a-admin")
    before = server.client.stock("shop-b.x")["stats"], server.client.queue("shop-b.x")["stats"]
    own = {"enqueue": {"queue": "shop-a.x", "body": 1}}
    for operation in ({"reserve": {"stock": "shop-b.x"}}, {"release": {"stock": "shop-b.x", "purchase": "p"}},
                      {"confirm": {"stock": "shop-b.x", "purchase": "p"}}, {"enqueue": {"queue": "shop-b.x", "body": 1}},
                      {"enqueue": {"queue": "shop-a.x", "body": 1,
                                   "compensate": {"stock": "shop-b.x", "purchase": "p"}}}):
        operations = [operation] if "compensate" in operation.get("enqueue", {}) else [own, operation]
        reply = a.post("/v1/transactions", {"operations": operations})
        text = json.dumps({"operations": operations}).replace("shop-b.x", "shop-b.none")
        missing = a.post("/v1/transactions", text, **{"Content-Type": "application/json"})
        assert reply.status == 400 and essence(reply) == essence(missing), operation
    assert before == (server.client.stock("shop-b.x")["stats"], server.client.queue("shop-b.x")["stats"])


def test_tenants_are_checked_in_the_configuration(make_server):
    tokens = Tokens().add("t", "read", resources=["queues/a b"])
    server = make_server({"tokens": tokens.entries})
    server.launch()
    assert server.wait_end() == 2
    assert "/tokens/0/resources" in server.output()
