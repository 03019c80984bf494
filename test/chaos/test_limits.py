"""Too few file handles, too little memory: what is accepted is kept, what cannot be is refused, and the server
recovers by itself or by a restart."""
import contextlib
import http.client
import os
import pathlib
import resource
import socket
import time

import pytest
from support.wait import until

from rig.amqp_loads import AmqpLoad
from rig.judge import judge
from rig.loads import Pressure
from test_kill_rounds import define, loads_without_provider, verify


@pytest.mark.short(2)
@pytest.mark.share(0.04)
def test_no_file_handles(chaos, make_hurt, small_log):
    """More connections than handles, while segments and snapshots need some too."""
    server, loads = make_hurt(small_log), loads_without_provider()
    server.limits = {resource.RLIMIT_NOFILE: 520}
    server.start()
    define(loads, server.client)
    with Pressure(server, loads, chaos.rng):
        for _ in chaos.rounds(2):
            with contextlib.ExitStack() as stack:
                for _ in range(700):
                    with contextlib.suppress(OSError):
                        stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=0.05))
                time.sleep(0.6)
            assert not server.ended(), server.output()[-2000:]
            until(lambda: answers(server), 10, "answers after the flood")
            chaos.figures["floods"] += 1
    verify(loads, server.client)
    server.kill()
    loads[0].history.server_died()
    server.limits = {resource.RLIMIT_NOFILE: 100}
    assert server.launch().wait_end() == 1 and "file handles" in server.output(), "too few even to start"
    server.limits = {}
    server.start()
    verify(loads, server.client)
    judge(chaos, loads[0].history)
    chaos.count(*loads)


def answers(server):
    try:
        return server.client.get("/readyz").status == 200
    except OSError:
        server.client.close()
        return False


def grow(client, stopped_by):
    """Small messages until the server refuses or ends, or it is late: the receipts, and whether it refused."""
    accepted = []
    with contextlib.suppress(OSError, http.client.HTTPException):
        while not stopped_by():
            reply = client.post("/v1/transactions", {"operations": [
                {"enqueue": {"queue": f"grow{n}", "body": {"n": n}}} for n in range(64)]})
            if reply.status in (500, 503, 507):
                return accepted, True
            assert reply.status == 202, reply
            accepted += [operation["receipt"] for operation in reply.json["operations"]]
    client.close()
    return accepted, False


def all_there(client, accepted):
    there = set()
    for n in range(64):
        token = ""
        while True:
            page = client.get(f"/v1/queues/grow{n}/messages?page_size=1000{token}").json
            there |= {message["id"] for message in page["messages"]}
            if not page.get("nextPageToken"):
                break
            token = f"&page_token={page['nextPageToken']}"
    missing = set(accepted) - there
    assert not missing, f"{len(missing)} of {len(accepted)} acknowledged messages are gone: {sorted(missing)[:5]}"


def memory_runs_out(chaos, server):
    server.may_end = (3, -9)
    end = time.monotonic() + 120  # a busy machine takes its time to use up what there is
    accepted, refused = grow(server.client, lambda: time.monotonic() > end)
    if not refused:
        server.process.wait(60)  # or there was more memory than could be used up in this time
        assert server.process.returncode in (3, -9), "it says why, or the kernel killed it"
        chaos.figures[f"ended by it ({server.process.returncode})"] += 1
    chaos.figures["answered"] += len(accepted)
    chaos.figures["refused by it"] += refused
    return accepted


def define_what_grows(server):
    for n in range(64):
        server.client.define("queues", f"grow{n}", paused=True)
    ledger = AmqpLoad()
    ledger.define(server.client)
    return ledger


def hurt_for_want_of_memory(chaos, server, ledger):
    """Beside AMQP clients; afterwards there is enough again."""
    with Pressure(server, [ledger], chaos.rng, callers=2, pause=0.002):
        accepted = memory_runs_out(chaos, server)
        server.kill()
    server.prefix = []
    server.start()
    all_there(server.client, accepted)
    ledger.verify(server.client)
    chaos.count(ledger)


def pages_of(server, column):
    return int(pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()[column]) * resource.getpagesize()


@pytest.mark.share(0.03)
def test_no_address_space(chaos, make_hurt, small_log):
    """ulimit -v a little above what the start took: allocations fail."""
    server = make_hurt(small_log)
    server.environment = {"MALLOC_ARENA_MAX": "1"}  # no address space that was taken ahead
    server.start()
    ledger = define_what_grows(server)
    size = pages_of(server, 0) + (4 << 20)
    resource.prlimit(server.process.pid, resource.RLIMIT_AS, (size, size))
    hurt_for_want_of_memory(chaos, server, ledger)


@pytest.fixture
def memory_group():
    """A control group whose members may have little memory; needs root and a memory controller."""
    for base, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        folder = pathlib.Path(base) / f"sluice-chaos-{os.getpid()}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            if (folder / limit).exists():
                yield folder, folder / limit
                until(lambda: not (folder / "cgroup.procs").read_text(), 5, "the group to be empty")
                folder.rmdir()
                return
            folder.rmdir()
    pytest.skip("no control group of our own may be made here")


@pytest.mark.share(0.04)
def test_killed_for_want_of_memory(chaos, memory_group, make_hurt, small_log):
    """The kernel kills what needs too much: a kill -9 at the worst moment."""
    folder, limit = memory_group
    server = make_hurt(small_log)
    server.prefix = ["sh", "-c", f"echo $$ >{folder}/cgroup.procs && exec \"$@\"", "sh"]
    server.start()
    ledger = define_what_grows(server)
    limit.write_text(str(pages_of(server, 1) + (2 << 20)))
    hurt_for_want_of_memory(chaos, server, ledger)
    server.kill()
