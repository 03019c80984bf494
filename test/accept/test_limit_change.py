"""A limit that is changed while a backlog is being sent, as the provider counts by its own clock: up and down, smooth and
strict. The new one holds at once, what was sent before counts in it, and nothing bursts.

A provider may notice late, and does on a busy machine. What is asserted holds however late that is: at most UNDER_WAY of what
comes after a change was decided before it, and of all others none comes before its turn."""
import time

import pytest
from support.crowd import in_parallel
from support.wait import until

UNDER_WAY = 8
MODES = ["smooth", "strict"]
BURST_S = {"smooth": 0.016, "strict": 0.1}  # what the burst that is chosen by the rate lets pass at once
CLOCK_S = 0.005  # ours and the program's


def set_limit(client, provider, rate, mode):
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True,
                  rateLimits={"maxDispatchesPerSecond": rate, "mode": mode, "maxConcurrentDispatches": UNDER_WAY})


def change(client, provider, mode, before, after, count):
    """The limit changes in the middle of a backlog, and `count` more are seen: all that was seen, in s from the change on."""
    set_limit(client, provider, before, mode)
    client.define("queues", "jobs", destination="far", paused=True)
    backlog = 5 * before + 2 * UNDER_WAY + count
    replies = in_parallel(lambda n: client.publish("jobs", {"n": n}), range(backlog), threads=8)
    assert {reply.status for reply in replies} == {202}
    client.define("queues", "jobs", destination="far", paused=False)
    until(lambda: len(provider.seen) >= before, what="a while at the first limit")
    set_limit(client, provider, after, mode)
    changed_ns, seen = time.monotonic_ns(), len(provider.seen)
    until(lambda: len(provider.seen) >= seen + 2 * UNDER_WAY + count, what="a while at the second")
    return sorted((seen.at_ns - changed_ns) / 1e9 for seen in provider.seen)


def decided_after(times):
    return [at for at in times if at > 0][UNDER_WAY:]


@pytest.mark.parametrize("mode", MODES)
def test_down(client, make_provider, mode):
    times = change(client, make_provider(), mode, 200, 20, 30)
    at_once = 1 + 20 * BURST_S[mode]
    assert all(at >= (n - at_once) / 20 - CLOCK_S for n, at in enumerate(decided_after(times))), times
    assert decided_after(times)[29] > 1.3, "at the first limit it would have been a tenth of that"
    if mode == "strict":  # and what was sent before the change counts
        first = len(times) - len(decided_after(times))
        assert all(times[n] - times[n - 20] >= 1 - CLOCK_S for n in range(first, len(times))), times


@pytest.mark.parametrize("mode", MODES)
def test_up(client, make_provider, mode):
    """At the first limit the rest would take minutes; with what nobody was sent until then saved up, no time at all."""
    provider = make_provider()
    times = change(client, provider, mode, 2, 200, 400)
    at_once = 5 + 2 * 200 * BURST_S[mode]
    assert all(at >= (n - at_once) / 200 - CLOCK_S for n, at in enumerate(decided_after(times))), "nothing was saved up"
    assert mode == "smooth" or provider.most_in_any(1.0) <= 200


def test_back_and_forth_gives_nothing_away(client, make_provider):
    """Each change asks for what the last one had: a limit defined often is no more than the larger of the two."""
    provider = make_provider()
    set_limit(client, provider, 100, "strict")
    client.define("queues", "jobs", destination="far")
    in_parallel(lambda n: client.publish("jobs", {"n": n}), range(600), threads=8)
    until(lambda: len(provider.seen) >= 20, what="the beginning")
    begun = time.monotonic_ns()
    while time.monotonic_ns() < begun + 3 * 10**9:
        for rate in (50, 100):
            set_limit(client, provider, rate, "strict")
            time.sleep(0.02)
    assert provider.most_in_any(1.0) <= 100
