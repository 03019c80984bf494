"""Fixtures of the chaos scenarios. `make chaos` runs all of them for CHAOS_SECONDS; `make test`, where that is not
set, only those marked short, each for a few seconds. CHAOS_SEED repeats a run."""
import collections
import json
import os
import random
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from rig.power import PowerCut  # noqa: E402
from rig.server import BUILD, LIBRARIES, HurtServer  # noqa: E402

SECONDS = float(os.environ.get("CHAOS_SECONDS", "0"))
results = []


def pytest_configure(config):
    config.addinivalue_line("markers", "short(seconds): runs in `make test` as well, for about so long")
    config.addinivalue_line("markers", "share(part): its part of CHAOS_SECONDS")


def pytest_collection_modifyitems(config, items):
    if SECONDS:
        return
    here = os.path.dirname(__file__)
    long = [item for item in items if str(item.path).startswith(here) and not item.get_closest_marker("short")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


class Chaos:
    """Of one scenario: how long, from which seed, what was counted."""

    def __init__(self, name, seconds, seed):
        self.name, self.seconds, self.seed, self.long = name, seconds, seed, SECONDS > 0
        self.rng = random.Random(f"{seed}/{name}")
        self.figures = collections.Counter()
        self.started = time.monotonic()

    def rounds(self, least=2):
        """0, 1, 2 … until the time is over, but at least so many."""
        number, end = 0, time.monotonic() + self.seconds
        while number < least or time.monotonic() < end:
            yield number
            number += 1

    def count(self, *loads):
        """Adds up what the loads heard."""
        for load in loads:
            for name in ("answered", "unanswered", "refused"):
                self.figures[name] += getattr(load, name)
            self.figures.update(load.more_figures())


@pytest.fixture
def chaos(request):
    short, share = request.node.get_closest_marker("short"), request.node.get_closest_marker("share")
    seconds = SECONDS * share.args[0] if SECONDS and share else short.args[0] if short else 0
    seed = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(10**9))
    name = request.node.nodeid.split("/")[-1]
    scenario = Chaos(name, seconds, seed)
    print(f"CHAOS_SEED={seed}")
    yield scenario
    outcome = getattr(request.node, "outcome_of_call", "skipped")
    result = {"scenario": name, "seed": seed, "outcome": outcome,
              "seconds": round(time.monotonic() - scenario.started, 1), **dict(scenario.figures)}
    request.node.user_properties.append(("chaos", json.dumps(result)))


def pytest_runtest_logreport(report):
    """Also where another process ran the test: what it counted comes with its report."""
    if report.when == "teardown":
        results.extend(json.loads(value) for name, value in report.user_properties if name == "chaos")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.when == "call":
        item.outcome_of_call = report.outcome


def pytest_terminal_summary(terminalreporter):
    if not results:
        return
    terminalreporter.section("chaos")
    for result in results:
        figures = ", ".join(f"{value} {name}" for name, value in result.items()
                            if name not in ("scenario", "seed", "outcome", "seconds"))
        terminalreporter.write_line(f"{result['outcome']:7} {result['scenario']}  CHAOS_SEED={result['seed']}  "
                                    f"{result['seconds']} s: {figures}")
    total = collections.Counter()
    for result in results:
        total.update({k: v for k, v in result.items() if isinstance(v, int)})
    path = BUILD / ("chaos.json" if SECONDS else "chaos-short.json")
    path.write_text(json.dumps({"when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "scenarios": results,
                                "total": total}, indent=2) + "\n")


@pytest.fixture
def make_hurt(tmp_path, make_place):
    """Servers that may be hurt; they are killed when the test ends, however it does, before their file system goes."""
    made = []

    def make(config=None, name=None, data=None):
        server = HurtServer(tmp_path / (name or f"server{len(made)}"), config, data)
        made.append(server)
        return server

    yield make
    for server in made:
        server.kill()


@pytest.fixture
def make_place(tmp_path):
    """A small file system of the given kind, or the test is skipped."""
    made = []

    def make(kind, size_bytes):
        place = kind(tmp_path / f"place{len(made)}", size_bytes)
        made.append(place)
        if not place.works:
            pytest.skip(f"no {kind.__name__} of our own may be mounted here")
        return place

    yield make
    for place in made:
        place.close()


@pytest.fixture
def power(tmp_path):
    """Makes kill -9 as bad as a power cut, wherever a library can be preloaded."""
    if os.environ.get("SLUICE_SANITIZED"):
        pytest.skip("a sanitizer wants to be the first library: no other can be preloaded")
    return lambda name="power": PowerCut(tmp_path / name, LIBRARIES / "powercut/libpowercut.so")


# Small segments and frequent snapshots: every kind of file operation is under way at some moment.
SMALL_LOG = {"log": {"segmentBytes": 262144, "snapshotEveryBytes": 1 << 20}}


@pytest.fixture
def small_log():
    return json.loads(json.dumps(SMALL_LOG))
