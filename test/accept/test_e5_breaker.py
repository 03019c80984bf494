"""E5, breaker, retry, bulkhead and timeout, by examples/breaker with its seconds made shorter: closed, open and half-open by
failures and by slow calls; attempts capped, spaced by a growing random wait, made again only for what is worth it; each attempt
has its time; what is exhausted is there to be seen."""
import collections
import time

from support.wait import until

QUICK = {"windowCalls: 50 ": "windowCalls: 20 ", "minimumCalls: 20 ": "minimumCalls: 10 ",
         "slowCallDuration: 1s ": "slowCallDuration: 300ms ", "openTime: 10s ": "openTime: 700ms ", "probes: 5 ": "probes: 3 ",
         "maxConcurrentDispatches: 16": "maxConcurrentDispatches: 4", "minBackoff: 1s ": "minBackoff: 400ms "}
NO_BREAKER = {"windowCalls: 50 ": "windowCalls: 100 ", "minimumCalls: 20 ": "minimumCalls: 100 ", "failurePercent: 50 ": "failurePercent: 0 ",
              "retryBudget: {percent: 20}": "retryBudget: {percent: 100}"}


PATIENT = {"timeout: 2s ": "timeout: 60s ", "connectTimeout: 1s": "connectTimeout: 30s"}


def run(make_example, provider, **more):
    return make_example("breaker", {"http://127.0.0.1:8090/work": provider.url, **QUICK, **more}).start()


def publish(client, count):
    for n in range(count):
        assert client.publish("jobs", {"job": n}).status == 202


def breaker(client):
    return client.get("/v1/destinations/service").json["stats"]["breaker"]


def at_state(client, state):
    until(lambda: breaker(client)["state"] == state, what=state)


def settled(client, count):
    stats = client.queue("jobs")["stats"]
    return stats["completed"] + stats["dead"] == count


# The breaker opens when the tenth has failed: not before the provider saw it, which may be late, as with all that it sees. Three
# others may be under way then.
LEAST, MOST = 10, 10 + 3


def test_by_failure_rate_through_all_states(make_example, make_provider):
    well = []
    provider = make_provider(lambda seen, times: 200 if well else 500)
    client = run(make_example, provider, **{"maxAttempts: 4 ": "maxAttempts: 50 "}).client
    publish(client, 30)
    at_state(client, "open")
    until(lambda: len(provider.seen) > MOST + 3, what="three probes, and probes after them")
    times = sorted(seen.at_ns / 1e9 for seen in provider.seen)
    half_open, second = times[MOST] - times[LEAST - 1], times[MOST + 3] - times[LEAST - 1]
    well.append(True)
    at_state(client, "closed")
    until(lambda: len(provider.effects) == 30, 15, "all of them")
    print(f"\nE5: opened by failures; probed {half_open:.2f} s after the tenth, more than once after {second:.2f} s, "
          f"closed by good ones; 30 of 30 sent, {client.queue('jobs')['stats']['dead']} dead")
    assert half_open >= 0.7, "open: nothing is sent but what was under way"
    assert second >= 0.7 + 1.4, "three probes, and failed ones double the time"
    assert client.queue("jobs")["stats"]["dead"] == 0


def test_by_slow_calls(make_example, make_provider):
    provider = make_provider(delay=0.5)
    client = run(make_example, provider, **PATIENT).client
    publish(client, 30)
    at_state(client, "open")
    shown = breaker(client)
    provider.delay = 0.0
    at_state(client, "closed")
    until(lambda: len(provider.effects) == 30, 10, "all")
    times = sorted(seen.at_ns / 1e9 for seen in provider.seen)
    print(f"\nE5: opened by slow calls, good answers of 500 ms: {shown}")
    assert times[MOST] - times[LEAST - 1] >= 0.5 + 0.7, "nothing is sent but what was under way when the tenth was answered"
    assert client.queue("jobs")["stats"]["attempts"] == 30, "each was good: slow is no reason to send again"


def test_attempts_are_capped_and_spaced_and_conditional(make_example, make_provider):
    def answer(seen, times):
        kind = seen.json["job"] % 3
        return 503 if kind == 0 else 422 if kind == 1 else 200

    provider = make_provider(answer)
    client = run(make_example, provider, **NO_BREAKER, **PATIENT).client
    publish(client, 60)
    until(lambda: settled(client, 60), 10, "the end of all")
    at, jobs = collections.defaultdict(list), {}
    for seen in provider.seen:
        at[seen.key].append(seen.at_ns / 1e9)
        jobs[seen.key] = seen.json["job"]
    for key, times in at.items():
        assert len(times) == (4 if jobs[key] % 3 == 0 else 1), (jobs[key], times)
    waits = [[times[n + 1] - times[n] for times in at.values() if len(times) == 4] for n in range(3)]
    print("\nE5 waits before attempts 2, 3, 4: " + "; ".join(
        f"{min(w) * 1e3:.0f} to {max(w) * 1e3:.0f} ms, mean {sum(w) / len(w) * 1e3:.0f}" for w in waits))
    for n, each in enumerate(waits):
        assert min(each) <= 0.4 * 2 ** n, "not beyond the bound; test/unit/model holds it against the clock"
        assert max(each) - min(each) >= 0.12 * 2 ** n, "full jitter spreads them"
    assert sum(waits[2]) > 1.5 * sum(waits[0]), "growing"
    dead = client.get("/v1/queues/jobs/messages?filter=dead&page_size=100").json["messages"]
    shown = collections.Counter((one["deadReason"], one["lastStatus"], one["attempts"]) for one in dead)
    print(f"E5 dead letters: {dict(shown)}")
    assert shown == {("exhausted", 503, 4): 20, ("refused", 422, 1): 20}


def test_each_attempt_has_its_time_and_the_bulkhead_its_size(make_example, make_provider):
    provider = make_provider(delay=1.8)
    client = run(make_example, provider, **NO_BREAKER, **{"maxAttempts: 4 ": "maxAttempts: 2 ", "timeout: 2s ": "timeout: 1.2s "}).client
    begun = time.monotonic()
    publish(client, 8)
    until(lambda: settled(client, 8), 10, "the end of all")
    until(lambda: len(provider.seen) >= 16, what="all attempts")
    times = sorted(seen.at_ns / 1e9 - begun for seen in provider.seen)
    dead = client.get("/v1/queues/jobs/messages?filter=dead").json["messages"]
    print(f"\nE5: {len(times)} attempts of at most 1.2 s each, four at a time: the last four after {times[12]:.2f} s")
    assert [(one["deadReason"], one["lastError"], one["attempts"]) for one in dead] == [("exhausted", "timeout", 2)] * 8
    assert len(times) == 16 and all(at >= n // 4 * 1.2 for n, at in enumerate(times)), "never a fifth before one had its time"
