"""B2, N tickets in request order: 10 tickets and 30 requests at once give numbers 1..10 once each, in arrival order;
100 units and 100 callers leave none; 10 identical orders at once are one order."""
from support.crowd import at_once

TICKETS, REQUESTS = 10, 30


def test_thirty_at_once_for_ten_tickets(client):
    client.define("stocks", "tickets", total=TICKETS)
    replies = at_once([lambda n=n: client.reserve("tickets", f"order-{n}", f"member-{n}") for n in range(REQUESTS)])
    won = [reply.json for reply in replies if reply.status == 201]
    assert sorted(ticket["number"] for ticket in won) == list(range(1, TICKETS + 1))
    assert [reply.problem for reply in replies if reply.status != 201] == ["sold-out"] * (REQUESTS - TICKETS)
    # A receipt is a position in the log: numbers were given in the order of acceptance.
    by_number = sorted(won, key=lambda ticket: ticket["number"])
    assert [ticket["receipt"] for ticket in by_number] == sorted(ticket["receipt"] for ticket in won)


def test_numbers_follow_arrival(client):
    """On one connection the order of arrival is known: the first ten get 1..10 in that order."""
    client.define("stocks", "tickets", total=TICKETS)
    replies = [client.reserve("tickets", f"order-{n}", f"member-{n}") for n in range(REQUESTS)]
    assert [reply.json["number"] for reply in replies[:TICKETS]] == list(range(1, TICKETS + 1))
    assert all(reply.problem == "sold-out" for reply in replies[TICKETS:])


def test_hundred_callers_leave_nothing_of_a_hundred(client):
    client.define("stocks", "units", total=100)
    replies = at_once([lambda n=n: client.reserve("units", f"p{n}", f"m{n}") for n in range(100)])
    assert [reply.status for reply in replies] == [201] * 100
    stock = client.stock("units")
    assert (stock["stats"]["used"], stock["stats"]["left"], stock["stats"]["soldOut"]) == (100, 0, True)


def test_ten_identical_orders_are_one(client):
    client.define("stocks", "units", total=100)
    replies = at_once([lambda: client.reserve("units", "order-1", "member-1")] * 10)
    assert {reply.status for reply in replies} <= {200, 201}
    assert {reply.json["number"] for reply in replies} == {1}
    assert client.stock("units")["stats"]["used"] == 1


def test_ten_identical_entries_are_one(client):
    client.define("stocks", "units", total=100)
    client.define("campaigns", "first", stock="units", memberPointer="/member")
    replies = at_once([lambda: client.enter("first", "member-1")] * 10)
    accepted = [reply for reply in replies if reply.status == 202]
    refused = [reply for reply in replies if reply.status != 202]
    assert len(accepted) == 1
    assert {(reply.status, reply.problem) for reply in refused} == {(409, "already-claimed")}
    assert {reply.json["receipt"] for reply in refused} == {accepted[0].json["receipt"]}
    assert client.stock("units")["stats"]["used"] == 1
