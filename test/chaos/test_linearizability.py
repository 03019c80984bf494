"""Stock, idempotency keys and message ids, asked by many at once while the server is killed again and again: is there one order that
explains all answers? And do those who answer that see it when there is none?"""
import time

import pytest

from rig import checker, judge
from rig.amqp_loads import OnceLoad
from rig.history import History
from rig.loads import KeyLoad, Pressure, StockLoad
from support.wait import until


def history_of(*operations):
    """From (model, op, arg, call, end, out), all of one part."""
    history = History()
    history.operations = [dict(zip(("model", "part", "op", "arg", "call", "end", "out"), (o[0], "x", *o[1:])))
                          for o in operations]
    return history


def fresh(receipt):
    return {"receipt": receipt, "replayed": False}


def replayed(receipt):
    return {"receipt": receipt, "replayed": True}


RIGHT = {
    "at the same time, in either order": [
        ("stock", "reserve", "p1", 1, 9, 2), ("stock", "reserve", "p2", 2, 8, 1)],
    "the smallest free number": [
        ("stock", "reserve", "p1", 1, 2, 1), ("stock", "reserve", "p2", 3, 4, 2),
        ("stock", "release", "p1", 5, 6, "gone"),
        ("stock", "reserve", "p3", 7, 8, 1), ("stock", "reserve", "p1", 9, 10, "cancelled")],
    "an unanswered one that happened": [
        ("stock", "reserve", "p1", 1, 5, None), ("stock", "count", "", 6, 7, 1)],
    "an unanswered one that did not": [
        ("stock", "reserve", "p1", 1, 5, None), ("stock", "count", "", 6, 7, 0)],
    "an unanswered one that happens late": [
        ("stock", "reserve", "p1", 1, None, None), ("stock", "count", "", 6, 7, 0), ("stock", "count", "", 8, 9, 1)],
    "a key whose first answer was lost": [
        ("key", "publish", "a", 1, 2, None), ("key", "publish", "a", 3, 4, replayed("r1")),
        ("key", "publish", "b", 5, 6, {"refused": True}), ("key", "publish", "a", 7, 8, replayed("r1"))],
    "another body may have been first": [
        ("key", "publish", "b", 1, 9, fresh("r1")), ("key", "publish", "a", 2, 3, {"refused": True})],
    "the same id again and one without": [
        ("once", "publish", "m1", 1, 2, "ok"), ("once", "publish", "m1", 3, 4, "ok"), ("once", "add", "", 5, 6, "ok"),
        ("once", "count", "", 7, 8, 2)],
    "an unconfirmed one that happened": [
        ("once", "publish", "m1", 1, 5, None), ("once", "publish", "m1", 6, 7, "ok"), ("once", "count", "", 8, 9, 1)],
}
WRONG = {
    "a number twice": [
        ("stock", "reserve", "p1", 1, 2, 1), ("stock", "reserve", "p2", 3, 4, 1)],
    "a lost reservation": [
        ("stock", "reserve", "p1", 1, 2, 1), ("stock", "look", "p1", 3, 4, "nothing")],
    "a stale read": [
        ("stock", "reserve", "p1", 1, 2, 1), ("stock", "release", "p1", 3, 4, "gone"), ("stock", "count", "", 5, 6, 1)],
    "seen and then not seen": [
        ("stock", "reserve", "p1", 1, 20, 1), ("stock", "count", "", 2, 3, 1), ("stock", "count", "", 4, 5, 0)],
    "more than there are": [
        *(("stock", "reserve", f"p{n}", 2 * n, 2 * n + 1, n + 1) for n in range(5)),
        ("stock", "reserve", "p7", 20, 21, 6)],
    "sold out too early": [
        ("stock", "reserve", "p1", 1, 2, 1), ("stock", "reserve", "p2", 3, 4, "sold-out")],
    "an effect after the death of the server": [
        ("stock", "reserve", "p1", 1, 5, None), ("stock", "count", "", 6, 7, 0), ("stock", "count", "", 8, 9, 1)],
    "a key forgotten": [
        ("key", "publish", "a", 1, 2, fresh("r1")), ("key", "publish", "a", 3, 4, fresh("r2"))],
    "another receipt for the same key": [
        ("key", "publish", "a", 1, 2, fresh("r1")), ("key", "publish", "a", 3, 4, replayed("r2"))],
    "replayed before it was there": [
        ("key", "publish", "a", 1, 2, replayed("r1"))],
    "another body accepted": [
        ("key", "publish", "a", 1, 2, fresh("r1")), ("key", "publish", "b", 3, 4, replayed("r1"))],
    "two lost answers cannot both be first": [
        ("key", "publish", "a", 1, 2, None), ("key", "publish", "a", 3, 4, fresh("r1")),
        ("key", "publish", "a", 5, 6, replayed("r2"))],
    "an id twice": [
        ("once", "publish", "m1", 1, 2, "ok"), ("once", "publish", "m1", 3, 4, "ok"), ("once", "count", "", 5, 6, 2)],
    "a confirmed one that is not there": [
        ("once", "publish", "m1", 1, 2, "ok"), ("once", "count", "", 3, 4, 0)],
    "one that vanishes": [
        ("once", "add", "", 1, 20, "ok"), ("once", "count", "", 2, 3, 1), ("once", "count", "", 4, 5, 0)],
}


def judged_wrong(by, history):
    try:
        by(history)
    except checker.Unlinearizable:
        return True
    return False


@pytest.fixture(params=["our own", "porcupine"])
def by(request, chaos):
    if request.param == "our own":
        return checker.check
    if not chaos.long:
        pytest.skip("porcupine is a Go module: only `make chaos` builds it")
    program, reason = judge.porcupine()
    if program is None:
        pytest.skip(reason)
    return judge.by_porcupine


@pytest.mark.short(0)
def test_the_judges_themselves(by, chaos):
    for name, operations in RIGHT.items():
        assert not judged_wrong(by, history_of(*operations)), f"{name}: it is right"
    for name, operations in WRONG.items():
        assert judged_wrong(by, history_of(*operations)), f"{name}: it is wrong"
    chaos.figures["histories judged"] = len(RIGHT) + len(WRONG)


@pytest.mark.short(0)
def test_receipts_out_of_order_are_seen():
    with pytest.raises(AssertionError):
        judge.receipts_in_order(history_of(("key", "publish", "a", 1, 2, fresh("r5")),
                                           ("key", "publish", "b", 3, 4, fresh("r4"))))


@pytest.mark.short(3)
@pytest.mark.share(0.12)
def test_one_order_across_kills(chaos, make_hurt, small_log):
    server, stock = make_hurt(small_log).start(), StockLoad()
    loads = [stock, KeyLoad(stock.history), OnceLoad(stock.history)]
    for load in loads:
        load.define(server.client)
    for number in chaos.rounds(3):
        with Pressure(server, loads, chaos.rng, callers=12):
            time.sleep(0.1 + chaos.rng.random())
            until(lambda: sum(load.answered for load in loads) > 200 * (number + 1), what="answers")
            server.kill()
        stock.history.server_died()
        chaos.figures["kills"] += 1
        server.start()
        for load in loads:
            load.verify(server.client)
    judge.judge(chaos, stock.history)
    chaos.count(*loads)
    assert chaos.figures["answered"] > 10 * chaos.figures["unanswered"], "hardly anything was answered"
    assert server.stop() == 0
