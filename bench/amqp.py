#!/usr/bin/python3
"""Confirmed and acknowledged messages beside RabbitMQ, with one client (bench/amqp_load.c) for both.

One producer with a window of unconfirmed persistent messages, one consumer that acknowledges each. RabbitMQ's classic
queue confirms without a flush; its quorum queue flushes, as we do. Both are on the same disk and machine.
"""
import json
import os
import signal
import subprocess
import time

import common

LOAD = common.BUILD / "bench/bench-amqp-load"
#       name, size, window, queues, must beside classic and quorum
ROWS = (("1 KiB, window 100", 1024, 100, 1, {"classic": 4, "quorum": 6}),
        ("16 B, window 100", 16, 100, 1, {"classic": 4, "quorum": 6}),
        ("16 KiB, window 100", 16384, 100, 1, {"classic": 1, "quorum": 1}),
        ("1 KiB, window 100, 100 queues", 1024, 100, 100, {"classic": 4, "quorum": 6}))


class Rabbit:
    """A node of its own: ports, names and folders nobody else uses. Ended by its own process id."""

    def __init__(self, folder):
        self.port = common.free_port()
        (folder / "plugins").write_text("[].")
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"bench{os.getpid()}@localhost", "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_DIST_PORT": str(common.free_port()),
            "ERL_EPMD_PORT": str(common.free_port()), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"), "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "none"), "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}"}
        self.epmd_port = environment["ERL_EPMD_PORT"]
        self.output = folder / "output"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(["/usr/lib/rabbitmq/bin/rabbitmq-server"], env=environment,
                                            stdout=output, stderr=output, start_new_session=True)
        end = time.monotonic() + 90
        while "completed with" not in self.output.read_text():
            if time.monotonic() > end or self.process.poll() is not None:
                raise SystemExit(f"bench: RabbitMQ did not start:\n{self.output.read_text()}")
            time.sleep(0.2)

    def stop(self):
        """The session has the virtual machine and its helpers; the epmd that it started left it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for _ in range(50):  # it stays while it believes that a node is there
            killed = subprocess.run(["epmd", "-port", self.epmd_port, "-kill"], capture_output=True, text=True, check=False)
            if "Killed" in killed.stdout + killed.stderr:
                return
            time.sleep(0.1)


def load(port, kind, size, window, queues, prefix):
    """Messages per second that were confirmed, delivered and acknowledged."""
    output = subprocess.run(
        [str(LOAD), str(port), kind, str(size), str(window), str(queues), str(common.SECONDS), prefix],
        capture_output=True, text=True, check=True, timeout=120).stdout
    figures = json.loads(output)
    if figures["refused"] or figures["missing"]:
        raise SystemExit(f"bench: messages were lost or refused: {figures}")
    return min(figures["confirmed"], figures["delivered"])


def compare(ours, rabbit, size, window, queues, kind):
    return common.in_turns(
        lambda turn: load(ours, "classic", size, window, queues, f"s{size}.{window}.{queues}.{kind}.{turn}."),
        lambda turn: load(rabbit, kind, size, window, queues, f"r{size}.{window}.{queues}.{kind}.{turn}."))


def main():
    wanted = os.environ.get("BENCH_AMQP")  # a part of the rows' names, to run in parts
    result = {"rows": []}
    with common.Folder() as folder:
        (folder / "rabbit").mkdir()
        server = common.Server(folder / "sluice")
        port = common.free_port()
        server.configure({"listeners": [*server.config["listeners"],
                                        {"host": "127.0.0.1", "port": port, "protocol": "amqp"}]})
        server.start()
        rabbit = None
        try:
            rabbit = Rabbit(folder / "rabbit")
            common.settle(server.client)
            for name, size, window, queues, budgets in ROWS:
                for kind, must in budgets.items():
                    if wanted and wanted not in f"{name} {kind}":
                        continue
                    one = compare(port, rabbit.port, size, window, queues, kind)
                    result[f"{name} {kind}"] = one
                    result["rows"].append(common.row(
                        f"{name}: {one['a']:,.0f}/s beside {kind} {one['b']:,.0f}/s", f"{one['ratio']:.1f}x",
                        f">= {must}x", one["ratio"] >= must))
            if not wanted or wanted in "one at a time":
                one = compare(port, rabbit.port, 1024, 1, 1, "classic")
                result["one at a time"] = one
                result["rows"].append(common.row(
                    f"1 KiB, one at a time: {1e6 / one['a']:.0f} us a message, classic {1e6 / one['b']:.0f} us",
                    f"{one['ratio']:.1f}x", ">= 1x", one["ratio"] >= 1))
        finally:
            if rabbit is not None:
                rabbit.stop()
            server.stop()
    common.write("amqp", result)
    return result


if __name__ == "__main__":
    main()
