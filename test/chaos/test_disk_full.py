"""A disk that fills up and gets room again: 507 with Retry-After for what adds, everything else goes on, and
accepting resumes by itself."""
import time

import pika
import pytest
from support import pika_queue
from support.server import run as command
from support.wait import until

from rig.judge import judge
from rig.loads import Pressure
from rig.places import Ext4, Tmpfs
from test_kill_rounds import define, loads_without_provider, verify


def fill(client, queue):
    """Publishes until it is refused for want of room; the receipts that were given."""
    accepted = []
    while True:
        reply = client.publish(queue, {"text": "z" * 50000})
        if reply.status == 507:
            assert reply.problem == "disk-full" and int(reply.headers["Retry-After"]) > 0
            return accepted
        assert reply.status == 202, reply
        accepted.append(reply.json["receipt"])


def describe(server):
    """What stands in the way of accepting."""
    metrics = [line for line in server.client.get("/metrics").body.decode().splitlines()
               if line.startswith(("sluice_log_", "sluice_snapshot", "sluice_queue_messages", "sluice_queue_bytes"))]
    return "no room after a purge:\n" + "\n".join([*metrics, server.output()[-1500:]])


def full_and_empty_again(chaos, server):
    """Fills the disk by messages, sees what goes on while it is full, purges them; accepting resumes by itself."""
    client = server.client
    accepted = fill(client, "filler")
    while (ready := client.get("/readyz")).status != 503:  # others have freed some of it meanwhile
        accepted += fill(client, "filler")
    assert "disk-full" in ready.json["reasons"]
    for receipt in accepted[:: max(1, len(accepted) // 10)]:
        assert client.get(f"/v1/queues/filler/messages/{receipt}?view=body").status == 200, "reading goes on"
    gone, kept = accepted[:3], accepted[3:]
    for receipt in gone:
        assert client.delete(f"/v1/queues/filler/messages/{receipt}").status == 204, "deleting goes on"
    chaos.figures["times full"] += 1
    if chaos.rng.random() < 0.5:  # a crash while there is no room
        server.kill()
        server.launch()
        server.wait_for("/healthz")
        assert {m["id"] for m in client.get("/v1/queues/filler/messages?page_size=1000").json["messages"]} == set(kept)
        chaos.figures["kills while full"] += 1
    assert client.post("/v1/queues/filler:purge").json["purged"] == len(kept)
    started = time.monotonic()
    try:
        until(lambda: client.get("/readyz").status == 200, 20, "accepting again by itself")
    except AssertionError as fault:
        raise AssertionError(describe(server)) from fault
    chaos.figures["ms to resume, longest"] = max(chaos.figures["ms to resume, longest"],
                                                 int((time.monotonic() - started) * 1000))


def run(chaos, server, loads):
    define(loads, server.client)
    server.client.define("queues", "filler", paused=True)
    for _ in chaos.rounds(1):
        with Pressure(server, loads, chaos.rng, callers=5, pause=0.01):
            full_and_empty_again(chaos, server)
        loads[0].history.server_died()
        verify(loads, server.client)
    judge(chaos, loads[0].history)
    chaos.count(*loads)
    assert server.stop() == 0


@pytest.mark.short(2)
@pytest.mark.share(0.06)
@pytest.mark.parametrize("kind", [Tmpfs, Ext4])
def test_disk_full(kind, chaos, make_hurt, make_place, small_log):
    if kind is Ext4 and not chaos.long:
        pytest.skip("ext4 on a loop device needs root: only `make chaos` tries")
    place = make_place(kind, 24 << 20)
    server = make_hurt(small_log, data=place.path / "data")
    server.prefix = place.prefix
    server.start()
    run(chaos, server, loads_without_provider())


def connect(server):
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.amqp_port, socket_timeout=60))


def take(server, most):
    """That many messages of the queue at most: the numbers that they begin with, in order."""
    connection, numbers = connect(server), []
    channel = connection.channel()
    while len(numbers) < most:
        method, _, body = channel.basic_get("moving")
        if method is None:
            break
        numbers.append(int(body[:6]))
        channel.basic_ack(method.delivery_tag)
    channel.queue_declare("moving", passive=True)  # the acknowledgements have arrived
    connection.close()
    return numbers


@pytest.mark.short(1)
@pytest.mark.share(0.01)
def test_moving_in_where_there_is_no_room(make_hurt, make_place, small_log):
    """`sluice import` stops where the disk is full, and goes on when some was consumed: nothing lost, nothing twice, over a kill while
    it is full. Of what was under way when it was refused some may have been taken: those before it come later."""
    count = 300
    old = make_hurt(name="old").start()
    place = make_place(Tmpfs, 24 << 20)
    new = make_hurt(small_log, name="new", data=place.path / "data")
    new.prefix = place.prefix
    new.start()
    connection = connect(old)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("moving", durable=True)
    for number in range(count):
        channel.basic_publish("", "moving", b"%06d" % number + b"x" * 100000,
                              pika.BasicProperties(delivery_mode=2, message_id=f"id-{number}"))
    connection.close()
    taken, stopped, end = [], 0, time.monotonic() + 1200  # it waits a minute where it is told nothing
    while True:
        moved = command("--url", f"http://127.0.0.1:{new.port}", "import", "--to", f"amqp://guest:guest@127.0.0.1:{new.amqp_port}",
                        "--management", f"http://127.0.0.1:{old.port}", "rabbitmq", f"amqp://guest:guest@127.0.0.1:{old.amqp_port}")
        if moved.returncode == 0:
            break
        assert "the disk is full" in moved.stdout and time.monotonic() < end, moved
        stopped += 1
        if stopped == 1:
            new.kill()
            new.launch()
            new.wait_for("/healthz")
        taken += take(new, 70)
    connection = connect(new)
    taken += [int(body[:6]) for _, _, body in pika_queue.drain(connection, "moving")]
    connection.close()
    assert stopped > 0, "there was room for all"
    assert sorted(taken) == list(range(count))
    assert new.stop() == 0 and old.stop() == 0
