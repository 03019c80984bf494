"""B1, gift stock: usage is a set of purchase numbers; member limit, then total limit; a cancel may come first;
sold out is set and cleared by itself; a total on sale is never lowered; the history only grows."""
import pytest
from support import server as program
from support.crowd import in_parallel


@pytest.fixture
def gifts(client):
    client.define("stocks", "gifts", total=5, perMember=2, onSale=True)
    return client


def used(client):
    return client.stock("gifts")["stats"]["used"]


def test_a_known_purchase_is_an_idempotent_success(gifts):
    first = gifts.reserve("gifts", "p-1", "ann")
    again = gifts.reserve("gifts", "p-1", "ann")
    assert first.status == 201 and again.status in (200, 201)
    assert first.json["number"] == again.json["number"] == 1
    assert used(gifts) == 1


def test_member_limit_comes_before_total_limit(gifts):
    for n, member in enumerate(["ann", "ann", "bob", "bob", "cid"]):
        assert gifts.reserve("gifts", f"p-{n}", member).status == 201
    # All five are used: who has two hears of that first, the others that it is sold out.
    over = gifts.reserve("gifts", "p-9", "ann")
    assert (over.status, over.problem) == (409, "member-limit")
    late = gifts.reserve("gifts", "p-10", "dan")
    assert (late.status, late.problem) == (410, "sold-out")
    # A known purchase succeeds even now.
    assert gifts.reserve("gifts", "p-0", "ann").status in (200, 201)
    assert used(gifts) == 5


def test_releasing_an_absent_purchase_changes_nothing(gifts):
    gifts.reserve("gifts", "p-1", "ann")
    assert gifts.release("gifts", "p-unknown").status < 300
    assert used(gifts) == 1
    assert gifts.release("gifts", "p-1").status < 300
    assert gifts.release("gifts", "p-1").status < 300
    assert used(gifts) == 0


def test_a_cancel_that_comes_first_leaves_a_tombstone(gifts):
    assert gifts.release("gifts", "p-7").status < 300
    late = gifts.reserve("gifts", "p-7", "ann")
    assert (late.status, late.problem) == (409, "cancelled")
    assert used(gifts) == 0
    assert gifts.stock("gifts")["stats"]["tombstones"] == 1


def test_sold_out_is_set_and_cleared_by_itself(gifts):
    for n in range(5):
        assert not gifts.stock("gifts")["stats"]["soldOut"]
        gifts.reserve("gifts", f"p-{n}", f"member-{n}")
    assert gifts.stock("gifts")["stats"]["soldOut"]
    gifts.release("gifts", "p-2")
    assert not gifts.stock("gifts")["stats"]["soldOut"]
    # The number that came back is given again, so that numbers stay 1..N.
    assert gifts.reserve("gifts", "p-5", "eve").json["number"] == 3


def test_a_total_on_sale_only_rises(gifts):
    lowered = gifts.put("/v1/stocks/gifts", {"total": 4, "perMember": 2, "onSale": True})
    assert (lowered.status, lowered.problem) == (409, "conflict"), lowered
    withdrawn = gifts.put("/v1/stocks/gifts", {"total": 5, "perMember": 2, "onSale": False})
    assert (withdrawn.status, withdrawn.problem) == (409, "conflict"), withdrawn
    gifts.define("stocks", "gifts", total=6, perMember=2, onSale=True)
    assert gifts.stock("gifts")["total"] == 6


def test_a_total_is_never_below_what_is_used(client):
    client.define("stocks", "gifts", total=5)
    for n in range(3):
        client.reserve("gifts", f"p-{n}")
    assert client.put("/v1/stocks/gifts", {"total": 2}).status == 409
    client.define("stocks", "gifts", total=3)


def test_a_hold_that_is_not_confirmed_ends(client):
    client.define("stocks", "gifts", total=1)
    held = client.reserve("gifts", "p-1", "ann", hold="5s")
    assert held.status == 201 and held.json["state"] == "held"
    assert client.reserve("gifts", "p-2", "bob").problem == "sold-out"
    from support.wait import until
    until(lambda: used(client) == 0, 5, "the end of the hold")
    assert client.reserve("gifts", "p-2", "bob").status == 201


def test_never_oversold_by_a_crowd_that_buys_and_cancels(gifts):
    def buy_and_perhaps_cancel(n):
        reply = gifts.reserve("gifts", f"p-{n}", f"member-{n % 40}")
        if reply.status == 201 and n % 3 == 0:
            assert gifts.release("gifts", f"p-{n}").status < 300
            return None
        return f"p-{n}" if reply.status == 201 else None

    kept = [purchase for purchase in in_parallel(buy_and_perhaps_cancel, range(300)) if purchase]
    assert len(kept) == used(gifts) <= 5


def test_history_only_grows_and_adds_up(make_server):
    """Used = PLUS - MINUS in the log, also for what is long gone."""
    server = make_server().start()
    client = server.client
    client.define("stocks", "gifts", total=5)
    for n in range(5):
        client.reserve("gifts", f"p-{n}", "ann")
    client.release("gifts", "p-1")
    client.release("gifts", "p-3")
    assert used(client) == 3
    assert server.stop() == 0
    dump = program.run("log", "dump", server.data)
    assert dump.returncode == 0, dump.stderr
    assert dump.stdout.count("STOCK_PLUS") == 5
    assert dump.stdout.count("STOCK_MINUS") == 2
