#!/usr/bin/python3
"""What a message costs that is scheduled for later, as they become many: processor time of the whole server, as a client pays it.

Two servers, one with 1,000 and one with 10 million (BENCH_MESSAGES) messages that are scheduled at random times over a day. In turns
more are scheduled and some cancelled, by HTTP requests 32 at a time on two connections; of 4,000 the time comes within 10 ms,
once for queues that an AMQP consumer drains and once for queues from which nobody takes. What is cancelled and what comes due on the
large server was scheduled while it was filled, anywhere among the others, so nothing of it is in a cache. On the small one it was
scheduled just before. Bodies that are delivered lie in the log alike on both: each in a record with 63 others, none beside the next
to be read. Processor time of all threads, nothing subtracted, medians of BENCH_ROUNDS rounds. What the model does alone,
without the server around it, is measured by bench-schedule.

Why 4,000: what is put in order for messages that come due is a few thousand entries at once, and half a second of a server
costs something too when nothing happens. With 400 of them both were charged to so few that they, not the messages, were the ratio; who has millions of
messages scheduled has them come due by thousands.

All of it is measured twice. First as the servers lie: that is what the budget is held to. Then with their memory and their log present: all of
both is read, from outside, just before each turn. Between the two lies what the machine takes, not the program: a host may
take back what its guest did not touch for some seconds, and then each first touch of 4 KiB waits for it, which the guest's clocks count
as work of whoever touched it, and which nobody can fetch ahead; and a system may give up pages of files that were not read for some
seconds, and then each body comes from the disk. A server with 1,000 messages has no memory that it does not touch. So the second reading is
"as with 1,000" with the same memory at hand, and it is for information: on a machine that takes nothing back the two agree, for reading it from
outside leaves the caches full of other things, not of what is asked for next. A cold line still costs what it costs, in both. Reading it
comes last because it would keep the machine from taking the memory later on.

Beside it lies as much memory as the large server has, which nobody uses. What it costs to touch a line of that, as it lies, tells whether
the host does so; how much was read from the disk for each message delivered, whether the system does.
"""
import collections
import contextlib
import itertools
import json
import mmap
import os
import random
import socket
import statistics
import time

import pika

import common
from amqp import serve
from backlog import MESSAGES, QUEUES

FEW, BATCH, BATCH_DUE = 1000, 1000, 4000
CHUNK = 16  # requests under way on each connection
PIPES, PIPES_FILL = 2, 12
TURNS = 5  # in which a batch is scheduled and cancelled; the first only wakes the server
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "6"))
GAP_S, SMALL_AFTER_S = 10, 3  # between two times at which messages are due on one server; on both
SPREAD_MS = 10
PRESENT_S, AGAIN_S = 4.0, 1.5
TOUCHES, SLOW_US = 500, 3
KINDS = ("delivered", "ready")  # by number of the queue, even or odd, and of the time
READINGS = ("as it lies", "with memory and log present")
READ_BYTES = 4 << 20
BODY = b"x" * 100


class Pipe:
    """A connection with several requests under way."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answers = self.socket.makefile("rb")

    def answer(self):
        head = list(iter(self.answers.readline, b"\r\n")) if self.answers.peek(1) else []
        if not head:
            raise SystemExit("bench: the server closed a connection")
        size = sum(int(line[15:]) for line in head if line.startswith(b"Content-Length:"))
        body = self.answers.read(size)
        if not head[0].startswith(b"HTTP/1.1 2"):
            raise SystemExit(f"bench: refused: {head[0]} {body}")
        return body


def ask(pipes, requests):
    """The bodies of the answers, in order; each connection has a chunk of requests under way."""
    requests, under_way = iter(requests), collections.deque()
    for pipe in itertools.cycle(pipes):
        chunk = list(itertools.islice(requests, CHUNK))
        if len(under_way) == len(pipes) or not chunk:
            if not under_way:
                return
            before, count = under_way.popleft()
            for _ in range(count):
                yield before.answer()
        if chunk:
            pipe.socket.sendall(b"".join(chunk))
            under_way.append((pipe, len(chunk)))


def post(path, body, head=""):
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


def time_text(second, ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + f".{ms:03}Z"


class Day:
    """Random times over a day that begins when all is measured."""

    def __init__(self):
        begin = int(time.time()) + 3600
        self.seconds = [time_text(begin + n, 0)[:-4] for n in range(24 * 3600)]
        self.fractions = [f"{ms:03}Z" for ms in range(1000)]

    def some(self):
        return random.choice(self.seconds) + random.choice(self.fractions)


def soon(at):
    """A random time within SPREAD_MS of a whole second."""
    return time_text(at, random.randrange(SPREAD_MS))


class Side:
    """A server, what can be cancelled of it, and how many it was told to be due at each time."""

    def __init__(self, folder, day):
        self.room = bytearray(READ_BYTES)
        self.day, self.pool, self.due = day, [], {kind: collections.Counter() for kind in KINDS}
        self.server = serve(folder, log={"snapshotEveryBytes": 1 << 40, "preparedBytes": 0}, idleTimeout="1h")
        for n in range(QUEUES):
            self.server.client.define("queues", f"later-{n}")
            self.server.client.define("queues", f"other-{n}")
        self.pipes = [Pipe(self.server.port) for _ in range(PIPES_FILL)]
        self.delivered, self.disk_bytes = 0, 0  # read from the disk for those of the last time
        self.connection = pika.BlockingConnection(pika.ConnectionParameters(
            "127.0.0.1", self.server.amqp_port, heartbeat=0))
        channel = self.connection.channel()
        for n in range(0, QUEUES, len(KINDS)):
            channel.basic_consume(f"later-{n}", self.on_message, auto_ack=True)

    def on_message(self, *_):
        self.delivered += 1

    # ---- filling ----

    def transaction(self, times):
        """Into each queue one; of those that have no time, into another one that is purged before anything is measured."""
        operations = ",".join(
            f'{{"enqueue":{{"queue":"later-{n}","body":1,"scheduleTime":"{at}"}}}}' if at else
            f'{{"enqueue":{{"queue":"other-{n}","body":1}}}}' for n, at in enumerate(times))
        return post("/v1/transactions", f'{{"operations":[{operations}]}}'.encode(), "Content-Type: application/json\r\n")

    def fill(self, count, due_at=(), keep=1):
        """`count` at random times of the day, but BATCH_DUE of them, anywhere among the others, at each time of `due_at`; one in so many
        that are not can be cancelled later."""
        odds = BATCH_DUE * len(due_at) / count
        kept = collections.deque()

        def times():
            for n in range(QUEUES):
                if random.random() < odds:
                    at = random.choice(due_at[n % len(KINDS)::len(KINDS)])
                    self.due[KINDS[n % len(KINDS)]][at] += 1
                    yield soon(at)
                else:
                    if random.random() < 1 / keep:
                        kept[-1].append(n)
                    yield self.day.some()

        def requests():
            for _ in range(count // QUEUES):
                kept.append([])
                yield self.transaction(times())

        for body in ask(self.pipes, requests()):
            queues = kept.popleft()
            operations = json.loads(body)["operations"] if queues else []
            self.pool += [(n, operations[n]["receipt"]) for n in queues]

    # ---- measuring: us of the processor a message ----

    def read_memory(self):
        """So that the host has to give it back now; from outside, so that it is nobody's time that is measured."""
        folder = f"/proc/{self.server.process.pid}"
        with open(f"{folder}/maps", encoding="ascii") as maps, open(f"{folder}/mem", "rb", buffering=0) as memory:
            for line in maps:
                span, rights = line.split()[:2]
                begin, end = (int(side, 16) for side in span.split("-"))
                for at in range(begin, end if rights.startswith("rw") else begin, READ_BYTES):
                    os.pread(memory.fileno(), min(READ_BYTES, end - at), at)

    def read_log(self):
        for path in self.server.data.rglob("*"):
            with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
                while file.readinto(self.room):
                    pass

    def read_from_disk(self):
        """Bytes, so far."""
        with open(f"/proc/{self.server.process.pid}/io", encoding="ascii") as counters:
            return next(int(line.split()[1]) for line in counters if line.startswith("read_bytes"))

    def processor_s(self):
        return time.clock_gettime(~self.server.process.pid << 3 | 2)  # the process's clock: clock_getcpuclockid(3)

    def cost_us(self, requests):
        begun = self.processor_s()
        bodies = list(ask(self.pipes[:PIPES], requests))
        return (self.processor_s() - begun) / len(requests) * 1e6, bodies

    def publish(self, queue, at):
        return post(f"/v1/queues/later-{queue}/messages", BODY, f"Sluice-Schedule-Time: {at}\r\n")

    def schedule(self):
        queues = [random.randrange(QUEUES) for _ in range(BATCH // TURNS)]
        cost, bodies = self.cost_us([self.publish(n, self.day.some()) for n in queues])
        return cost, [(n, json.loads(body)["receipt"]) for n, body in zip(queues, bodies)]

    def cancel(self):
        random.shuffle(self.pool)
        chosen, self.pool = self.pool[:BATCH // TURNS], self.pool[BATCH // TURNS:]
        return self.cost_us([f"DELETE /v1/queues/later-{n}/messages/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
                             for n, name in chosen])[0]

    def schedule_due(self, kind, at):
        """To be delivered: each in a record of its own. Else as close together as they can be: nobody reads the bodies."""
        queues = range(KINDS.index(kind), QUEUES, len(KINDS))
        each = 1 if kind == "delivered" else len(queues)
        chosen = [random.sample(queues, each) for _ in range(BATCH_DUE // each)]
        requests = (self.transaction([soon(at) if n in some else None for n in range(QUEUES)]) for some in chosen)
        for _ in ask(self.pipes, requests):
            self.due[kind][at] += each
        for _ in ask(self.pipes, [post(f"/v1/queues/other-{n}:purge", b"") for n in range(QUEUES)]):
            pass

    def come_due(self, kind, at, present):
        """None: it was too late to look."""
        if present:
            for before_s in (PRESENT_S, AGAIN_S):  # the second time what was taken since: quick, and so as late as can be
                time.sleep(max(0, at - before_s - time.time()))
                self.read_log()
                self.read_memory()
        time.sleep(max(0, at - 0.3 - time.time()))
        late = time.time() > at - 0.2
        begun, read = self.processor_s(), self.read_from_disk()
        if kind == "delivered":
            self.consume(at)
            self.disk_bytes = (self.read_from_disk() - read) / self.due[kind][at]
        else:
            time.sleep(max(0, at + 0.2 - time.time()))
        cost = (self.processor_s() - begun) / self.due[kind][at] * 1e6
        if not late and self.count_ready() != self.told("ready", at):
            raise SystemExit("bench: what was due is not ready")
        return None if late else cost

    def told(self, kind, at):
        return sum(count for due, count in self.due[kind].items() if due <= at)

    def consume(self, at):
        deadline = time.monotonic() + 60
        while self.delivered < self.told("delivered", at):
            self.connection.process_data_events(time_limit=1)
            if time.monotonic() > deadline:
                raise SystemExit("bench: what was due is not delivered")

    def count_ready(self):
        listed = self.server.client.get("/v1/queues?page_size=1000").json["queues"]
        return sum(queue["stats"]["ready"] for queue in listed)

    def close(self):
        self.server.kill()


class Idle:
    """Memory that nobody uses, and what it took to touch lines of it here and there."""

    def __init__(self, size):
        self.memory = mmap.mmap(-1, size)
        self.memory.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, size, mmap.PAGESIZE):
            self.memory[at] = 1
        self.us = []

    def touch(self):
        for _ in range(TOUCHES):
            at = random.randrange(len(self.memory))
            begun = time.perf_counter_ns()
            _ = self.memory[at]
            self.us.append((time.perf_counter_ns() - begun) / 1000)

    def report(self, result):
        mean, slow = statistics.mean(self.us), sum(us > SLOW_US for us in self.us) / len(self.us)
        result["idle"] = {"mean_us": mean, "median_us": statistics.median(self.us), "slow": slow}
        result["rows"].append(common.row(
            f"to touch a line of {len(self.memory) >> 20:,} MiB that lay still: p50 {result['idle']['median_us']:.2f} us, "
            f"{slow:.1%} of them over {SLOW_US} us", f"{mean:.2f} us", "-", True))


def fill_both(small, large):
    """The times at which messages of the large one are due: so late that the rest has come behind them, as fast as what was before."""
    small.fill(FEW)
    keep, begun = max(1, MESSAGES // (ROUNDS * BATCH * len(READINGS) * 2)), time.time()
    large.fill(MESSAGES * 7 // 10, keep=keep)
    first = int(time.time() + (time.time() - begun) * 3 / 7 * 1.5) + 10
    due_at = [first + n * GAP_S for n in range(ROUNDS * len(KINDS) * len(READINGS))]
    large.fill(MESSAGES // 10, due_at, keep)
    large.fill(MESSAGES * 2 // 10, keep=keep)
    print(f"  {MESSAGES:,} scheduled in {time.time() - begun:.0f} s", flush=True)
    return due_at


def measure_pair(small, large, costs, present):
    for turn in range(TURNS):
        for name, side in (("large", large), ("small", small)):
            if present and turn == 0:
                side.read_memory()
            scheduled, made = side.schedule()
            cancelled = side.cancel()
            if side is small:
                side.pool += made  # on the large one only what was scheduled long ago is cancelled
            if turn > 0:
                costs["schedule", name].append(scheduled)
                costs["cancel", name].append(cancelled)


def measure(small, large, due_at, idle, present):
    costs = collections.defaultdict(list)
    for turn, at in enumerate(due_at):
        if time.time() > at - 3:
            continue
        kind = KINDS[turn % len(KINDS)]
        small.schedule_due(kind, at + SMALL_AFTER_S)
        pair = large.come_due(kind, at, present), small.come_due(kind, at + SMALL_AFTER_S, present)
        if None not in pair:
            costs[kind, "large"].append(pair[0])
            costs[kind, "small"].append(pair[1])
            costs["disk"].append(large.disk_bytes)
        if kind == KINDS[0]:
            measure_pair(small, large, costs, present)
            if not present:
                idle.touch()
    if min((len(costs[kind, "large"]) for kind in KINDS), default=0) < 3:
        raise SystemExit("bench: the machine is too slow: most of what was due could not be looked at in time")
    return costs


def report(costs, reading, result):
    for part, text in (("schedule", "scheduled"), ("cancel", "cancelled"), ("delivered", "whose time comes, delivered"),
                       ("ready", "whose time comes, ready")):
        few, many = (statistics.median(costs[part, name]) for name in ("small", "large"))
        held = reading == READINGS[0]
        result[f"{part}, {reading}"] = {"small": costs[part, "small"], "large": costs[part, "large"]}
        result["rows"].append(common.row(
            f"a message {text}, {reading}: {many:.2f} us with {MESSAGES:,}, {few:.2f} with {FEW:,}", f"{many / few:.2f} x",
            "<= 1.3 x" if held else "-", not held or many / few <= 1.3))
    read = result[f"disk, {reading}"] = statistics.median(costs["disk"])
    result["rows"].append(common.row(f"read from the disk for a message delivered, {reading}", f"{read:,.0f} B", "-", True))


def main():
    result = {"messages": MESSAGES, "rows": []}
    with common.Folder() as folder:
        sides = []
        try:
            day = Day()
            sides = [Side(folder / name, day) for name in ("small", "large")]
            due_at, idle = fill_both(*sides), Idle(sides[1].server.resident_bytes())
            half = len(due_at) // len(READINGS)
            report(measure(*sides, due_at[:half], idle, present=False), READINGS[0], result)
            idle.report(result)
            report(measure(*sides, due_at[half:], idle, present=True), READINGS[1], result)
        finally:
            for side in sides:
                side.close()
    common.write("scheduled", result)
    return result


if __name__ == "__main__":
    main()
