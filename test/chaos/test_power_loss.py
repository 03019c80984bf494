"""Power cuts: what was answered is there although everything that was not flushed may be gone."""
import pytest

from rig.loads import EntryLoad, KeyLoad, Pressure, StockLoad, TransactionLoad
from rig.power import Loss, PowerCut
from rig.server import LIBRARIES
from test_kill_rounds import define, judge, verify

LOSSES = (Loss.DROP, Loss.TEAR, Loss.SCATTER)


def loads_without_provider():
    stock = StockLoad()
    return [stock, KeyLoad(stock.history), EntryLoad(), TransactionLoad()]


def until_dark(chaos, server, power, loads):
    """Load until the power goes: by itself at a chosen change of the disk, or from outside at any time."""
    with Pressure(server, loads, chaos.rng):
        try:
            server.process.wait(1.5 * chaos.rng.random() + 0.05)
            chaos.figures["cuts at a chosen change"] += 1
        except Exception:
            chaos.figures["cuts at any time"] += 1
        server.kill()
    loads[0].history.server_died()


@pytest.mark.short(7)
@pytest.mark.share(0.2)
def test_power_loss(chaos, make_hurt, tmp_path, small_log):
    power = PowerCut(tmp_path / "power", LIBRARIES / "powercut/libpowercut.so")
    server = make_hurt(small_log, data=power.root / "data")
    loads = loads_without_provider()
    for number in chaos.rounds(4):
        server.environment = power.environment(chaos.rng, cut_at=chaos.rng.choice((0, chaos.rng.randrange(30, 900))))
        server.start()
        (define if number == 0 else verify)(loads, server.client)
        until_dark(chaos, server, power, loads)
        power.cut(chaos.rng, chaos.rng.choice(LOSSES))
    server.environment = {}
    server.start()
    verify(loads, server.client)
    judge(chaos, loads[0].history)
    chaos.count(*loads)
    chaos.figures.update(power.figures)
    assert server.stop() == 0
