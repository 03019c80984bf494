"""A limit that is changed while a backlog is being sent, as the provider counts by its own clock: up and down, smooth and
strict. The new one holds within 100 ms, what was sent before counts in it, and nothing bursts."""
import bisect
import time

import pytest
from support.crowd import in_parallel
from support.wait import until

SOON_NS = 100 * 10**6
MODES = ["smooth", "strict"]
BURST_S = {"smooth": 0.016, "strict": 0.1}  # what the burst that is chosen by the rate lets pass at once


class Sent:
    """What the provider saw, by the time of the change."""

    def __init__(self, provider, changed_ns):
        with provider.lock:
            self.times = sorted(seen.at_ns - changed_ns for seen in provider.seen)

    def between(self, from_s, to_s):
        return bisect.bisect_left(self.times, to_s * 1e9) - bisect.bisect_left(self.times, from_s * 1e9)

    def most(self, window_s, from_s, to_s):
        """In any window of this length that lies wholly between the two."""
        starts = [at / 1e9 for at in self.times if from_s <= at / 1e9 <= to_s - window_s]
        return max((self.between(at, at + window_s) for at in starts), default=0)


def set_limit(client, provider, rate, mode):
    client.define("destinations", "far", url=provider.url, allowPrivateAddresses=True,
                  rateLimits={"maxDispatchesPerSecond": rate, "mode": mode})


def change(client, provider, mode, before, after, seconds):
    """The limit changes in the middle of a backlog; what was sent around that."""
    set_limit(client, provider, before, mode)
    client.define("queues", "jobs", destination="far", paused=True)
    count = int(before * 2 + after * (seconds + 1)) + 100
    replies = in_parallel(lambda n: client.publish("jobs", {"n": n}), range(count), threads=8)
    assert {reply.status for reply in replies} == {202}
    client.define("queues", "jobs", destination="far", paused=False)
    until(lambda: len(provider.seen) >= before * 1.5, 15, "a while at the first limit")
    set_limit(client, provider, after, mode)
    changed_ns = time.monotonic_ns()
    time.sleep(seconds + 0.1)
    assert client.queue("jobs")["stats"]["ready"] > 0, "the backlog ran out: the figures mean nothing"
    return Sent(provider, changed_ns)


@pytest.mark.parametrize("mode", MODES)
def test_down(client, make_provider, mode):
    sent = change(client, make_provider(), mode, 160, 40, 3)
    soon = SOON_NS / 1e9
    assert sent.between(-0.5, 0) >= 40, "more than the new limit allows was sent until then"
    allowed = 40 if mode == "strict" else 41 + 7  # the few that a slow Python saw late
    assert sent.between(soon, soon + 1) <= allowed, "no second after it has more than the new limit"
    assert sent.most(1.0, soon, 3.1) <= allowed
    assert sent.most(0.2, soon, 3.1) <= 8 + 8, "nor do they come at once"
    assert sent.between(2.0, 3.0) >= 34, "and it is used"


def test_down_counts_what_was_sent_before(client, make_provider):
    """Strict: the second before the change holds more than the new limit, so there is a pause until it is over."""
    sent = change(client, make_provider(), "strict", 240, 40, 2)
    assert sent.between(SOON_NS / 1e9, 0.7) <= 2


@pytest.mark.parametrize("mode", MODES)
def test_up(client, make_provider, mode):
    sent = change(client, make_provider(), mode, 20, 200, 2.5)
    soon = SOON_NS / 1e9
    print(f"\n{mode}: {sent.between(soon, soon + 0.5)} in the half second from 100 ms on, "
          f"most in 100 ms {sent.most(0.1, 0, 2.6)}")
    assert sent.between(soon, soon + 0.5) >= 70, "the new limit is used from 100 ms on"
    assert sent.most(0.1, 0, 2.6) <= 200 * (0.1 + BURST_S[mode]) + 5, "nothing was saved up"
    assert sent.most(1.0, -1, 2.6) <= 200 + 5


def test_back_and_forth_gives_nothing_away(client, make_provider):
    """Each change asks for what the last one had: a limit defined often is no more than the larger of the two."""
    provider = make_provider()
    set_limit(client, provider, 100, "strict")
    client.define("queues", "jobs", destination="far")
    in_parallel(lambda n: client.publish("jobs", {"n": n}), range(600), threads=8)
    until(lambda: len(provider.seen) >= 20, 10, "the beginning")
    begun = time.monotonic_ns()
    while time.monotonic_ns() < begun + 3 * 10**9:
        for rate in (50, 100):
            set_limit(client, provider, rate, "strict")
            time.sleep(0.02)
    assert provider.most_in_any(1.0) <= 100
