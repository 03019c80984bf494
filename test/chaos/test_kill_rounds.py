"""kill -9 and SIGSTOP at random moments, many rounds, under mixed load with deliveries."""
import signal
import time

import pytest
from support.wait import until

from rig.admin_loads import ImportLoad, PasswordLoad, RedriveLoad
from rig.amqp_loads import AmqpLoad, OnceLoad
from rig.judge import judge
from rig.loads import ChurnLoad, DeliveryLoad, EntryLoad, KeyLoad, Pressure, StockLoad, TransactionLoad
from rig.tool_loads import PolicyLoad, ToolLoad


def loads_without_provider():
    stock = StockLoad()
    return [stock, KeyLoad(stock.history), EntryLoad(), TransactionLoad(), ChurnLoad(), AmqpLoad(),
            OnceLoad(stock.history), ToolLoad(), PolicyLoad(),
            ImportLoad(), PasswordLoad(), RedriveLoad()]


def all_loads(provider):
    return [*loads_without_provider(), DeliveryLoad(provider)]


def define(loads, client):
    for load in loads:
        load.define(client)


def verify(loads, client):
    for load in loads:
        load.verify(client)


def drain(server, delivery):
    """Everything that was accepted leaves, now that nobody hurts the server."""
    until(lambda: server.client.queue("out")["stats"]["ready"] + server.client.queue("out")["stats"]["delayed"] +
          server.client.queue("out")["stats"]["inFlight"] + server.client.queue("out")["stats"]["blocked"] == 0,
          60, "the queue to drain")
    delivery.verify_all_arrived()


@pytest.mark.share(0.12)
def test_kill_rounds(chaos, make_hurt, make_provider, small_log):
    server, loads = make_hurt(small_log).start(), all_loads(make_provider())
    define(loads, server.client)
    for _ in chaos.rounds(5):
        with Pressure(server, loads, chaos.rng):
            time.sleep(chaos.rng.choice((0.05, 0.3, 1.0)) * chaos.rng.random())
            server.kill()
        loads[0].history.server_died()
        chaos.figures["kills"] += 1
        if chaos.rng.random() < 0.25:  # and while it starts
            server.launch()
            time.sleep(0.03 * chaos.rng.random())
            server.kill()
            chaos.figures["kills"] += 1
        if chaos.rng.random() < 0.25:
            server.verify_files()
        server.start()
        verify(loads, server.client)
    drain(server, loads[-1])
    judge(chaos, loads[0].history)
    chaos.count(*loads)
    assert server.stop() == 0


@pytest.mark.share(0.06)
def test_stop_and_continue(chaos, make_hurt, make_provider, small_log):
    """A process that stands still for a while, as under a debugger or a swapping host: late, but nothing else."""
    server, loads = make_hurt(small_log).start(), all_loads(make_provider())
    define(loads, server.client)
    with Pressure(server, loads, chaos.rng):
        for _ in chaos.rounds(3):
            time.sleep(0.5 * chaos.rng.random())
            server.signal(signal.SIGSTOP)
            time.sleep(chaos.rng.choice((0.05, 1.5)))
            server.signal(signal.SIGCONT)
            chaos.figures["stops"] += 1
    verify(loads, server.client)
    drain(server, loads[-1])
    judge(chaos, loads[0].history)
    chaos.count(*loads)
    assert sum(load.unanswered for load in loads) == 0, "somebody was not answered"
    assert server.stop() == 0
