"""Power cuts: what was answered is there although everything that was not flushed may be gone."""
import signal
import subprocess
import time

import pytest

from rig.judge import judge
from rig.loads import Pressure
from rig.places import Ext4
from rig.power import Loss
from test_kill_rounds import define, loads_without_provider, verify

LOSSES = (Loss.DROP, Loss.TEAR, Loss.SCATTER)


def lose(chaos, power):
    """Mostly the power goes; sometimes only the process, and then nothing of this counts as flushed."""
    if chaos.rng.random() < 0.2:
        power.survive()
        chaos.figures["kills between"] += 1
    else:
        power.cut(chaos.rng, chaos.rng.choice(LOSSES))


def dies_at_work(chaos, server, power, loads):
    """Load until the power goes: by itself at a chosen change of the disk, or from outside at any time."""
    with Pressure(server, loads, chaos.rng):
        if chaos.rng.random() < 0.7:
            power.arm(chaos.rng.choice((3, 30, 300)) * chaos.rng.randint(1, 5))
        try:
            server.process.wait(chaos.rng.choice((0.3, 1, 2)) * chaos.rng.random() + 0.05)
        except subprocess.TimeoutExpired:
            chaos.figures["at any time"] += 1
        server.kill()
    loads[0].history.server_died()
    lose(chaos, power)


def dies_at_start(chaos, server, power):
    """The power goes at one of the first changes, which a start makes."""
    server.environment = power.environment(chaos.rng, cut_at=chaos.rng.randint(1, 20 if server.starts < 4 else 6))
    server.launch()
    try:
        server.process.wait(0.3)
        assert server.process.returncode == -signal.SIGKILL, server.output()
        chaos.figures["while starting"] += 1
    except subprocess.TimeoutExpired:
        pass
    server.kill()
    lose(chaos, power)


@pytest.mark.short(6)
@pytest.mark.share(0.2)
def test_power_loss(chaos, make_hurt, power, small_log):
    power = power()
    server = make_hurt(small_log, data=power.root / "data")
    loads = loads_without_provider()
    for number in chaos.rounds(4):
        for _ in range(chaos.rng.choice((0, 1, 2))):
            dies_at_start(chaos, server, power)
        server.environment = power.environment(chaos.rng)
        server.start()
        (define if number == 0 else verify)(loads, server.client)
        dies_at_work(chaos, server, power, loads)
    server.environment = {}
    server.start()
    verify(loads, server.client)
    judge(chaos, loads[0].history)
    chaos.count(*loads)
    chaos.figures.update(power.figures)
    assert server.stop() == 0


@pytest.mark.short(3)
def test_first_start(chaos, make_hurt, power, small_log):
    """The process is killed at each change of the very first start; what the second start acknowledges
    survives a power cut, although it found folders that somebody else had made and not flushed."""
    for cut_at in range(1, 17):
        disk = power(f"disk{cut_at}")
        server = make_hurt(small_log, data=disk.root / "data")
        server.environment = disk.environment(chaos.rng, cut_at=cut_at, flush_us=0)
        server.launch()
        try:
            server.process.wait(0.2)
        except subprocess.TimeoutExpired:
            pass
        server.kill()
        disk.survive()
        server.environment = disk.environment(chaos.rng, flush_us=0)
        server.start()
        server.client.define("queues", "mail")
        receipt = server.client.publish("mail", {"n": 1}).json["receipt"]
        server.kill()
        disk.cut(chaos.rng, Loss.DROP)
        server.environment = {}
        server.start()
        reply = server.client.get("/v1/queues/mail/messages")
        assert reply.status == 200 and [m["id"] for m in reply.json["messages"]] == [receipt], (cut_at, reply)
        server.kill()
        chaos.figures["cuts"] += 1


@pytest.mark.share(0.08)
def test_power_of_a_real_file_system(chaos, make_hurt, make_place, small_log):
    """The same by the kernel: a mounted ext4 is shut down under load, what it had not flushed is gone."""
    place = make_place(Ext4, 256 << 20)
    server, loads = make_hurt(small_log, data=place.path / "data"), loads_without_provider()
    server.prefix = place.prefix
    for number in chaos.rounds(3):
        server.may_end = (3,)  # the end may come by itself before it is killed
        server.start()
        (define if number == 0 else verify)(loads, server.client)
        with Pressure(server, loads, chaos.rng):
            time.sleep(chaos.rng.choice((0.2, 1, 2)) * chaos.rng.random())
            place.power_off(server)
            if chaos.rng.random() < 0.5:  # a disk that is gone ends the process by itself, with code 3 and a reason
                assert server.process.wait(10) == 3, server.output()
                chaos.figures["ended by itself"] += 1
            server.kill()
        loads[0].history.server_died()
        place.power_on()
        chaos.figures["cuts"] += 1
    server.start()
    verify(loads, server.client)
    judge(chaos, loads[0].history)
    chaos.count(*loads)
    assert server.stop() == 0
