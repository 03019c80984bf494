"""The wall clock jumps forward and back, also across restarts: the log's time never goes back, nothing is lost,
remembered keys stay remembered."""
import os
import struct
import time

import pytest

from rig.judge import judge
from rig.loads import Pressure
from rig.server import LIBRARIES
from test_kill_rounds import define, loads_without_provider, verify

STEPS_S = (-86400, -3600, -60, -1, -0.01, 0.01, 1, 60, 3600, 40000)


class WallClock:
    def __init__(self, path):
        self.path, self.offset_ns = path, 0
        self.jump(0)

    def jump(self, seconds):
        self.offset_ns += int(seconds * 1e9)
        with open(self.path, "r+b" if self.path.exists() else "w+b") as file:
            file.write(struct.pack("<q", self.offset_ns))

    def environment(self):
        return {"LD_PRELOAD": str(LIBRARIES / "clockstep/libclockstep.so"), "CLOCKSTEP_FILE": str(self.path)}


@pytest.mark.share(0.06)
def test_clock_steps(chaos, make_hurt, small_log, tmp_path):
    if os.environ.get("SLUICE_SANITIZED"):
        pytest.skip("a sanitizer wants to be the first library: no other can be preloaded")
    server, clock, loads = make_hurt(small_log), WallClock(tmp_path / "clock"), loads_without_provider()
    server.environment = clock.environment()
    server.start()
    define(loads, server.client)
    server.client.define("queues", "times", paused=True)
    last = (0, "")
    for _ in chaos.rounds(4):
        with Pressure(server, loads, chaos.rng):
            for _ in range(3):
                clock.jump(chaos.rng.choice(STEPS_S))
                chaos.figures["steps"] += 1
                time.sleep(0.1 + 0.2 * chaos.rng.random())
                reply = server.client.publish("times", {"n": 1})
                assert reply.status == 202, reply
                now = (reply.json["position"], reply.json["acceptedAt"])
                assert now > last and now[1] >= last[1], f"time went back: {now} after {last}"
                last = now
        verify(loads, server.client)
        if chaos.rng.random() < 0.5:
            server.kill()
            loads[0].history.server_died()
            clock.jump(chaos.rng.choice(STEPS_S))
            server.start()
            chaos.figures["kills"] += 1
            verify(loads, server.client)
    judge(chaos, loads[0].history)
    chaos.count(*loads)
    assert server.stop() == 0
