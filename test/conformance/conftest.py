"""One broker for all rules: the program, or with SLUICE_CONFORMANCE=rabbitmq a real RabbitMQ.

A rule is a test whose first line says it. `section` puts it into a chapter of docs/amqp-conformance.md; `ours` marks what
RabbitMQ does not have; `differs` what it does another way, with the reason; `falls_short` what we do not do. All of these fail
when they are not true any more.
"""
import base64
import json
import os
import pathlib
import ssl
import sys
import threading
import urllib.request

import pytest
from pika.spec import Queue

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "conformance"), str(TESTS), str(TESTS / "chaos")]
from rig.places import Tmpfs  # noqa: E402
from rig.server import HurtServer  # noqa: E402
from test_page import rule_of  # noqa: E402
from support.amqp_peer import Peer  # noqa: E402
from support.certificates import Authority  # noqa: E402
from support.rabbit import PROGRAM, Rabbit  # noqa: E402
from support.server import Server, free_port  # noqa: E402
from support.wait import until  # noqa: E402

KIND = os.environ.get("SLUICE_CONFORMANCE", "sluice")
MESSAGE_MAX = 16 << 20


class Broker:
    """Ports and certificates of what is tested; `alarm` and `restart` are its own ways."""

    kind = KIND

    def __init__(self, folder):
        self.folder = folder
        self.authority = Authority(folder / "certificates")
        self.certificate, self.key = self.authority.sign("server")
        self.tls_port, self.certified_port = free_port(), free_port()

    def ask(self, method, path, fields=None):
        """Of the management API, as guest: the answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.server.port}/api/{path}", None if fields is None else json.dumps(fields).encode(),
            method=method, headers={"Authorization": "Basic " + base64.b64encode(b"guest:guest").decode(),
                                   "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def put(self, path, **fields):
        self.ask("PUT", path, fields)

    def define(self, user, vhost="%2F", configure=".*", write=".*", read=".*"):
        """A user of one vhost with the password "secret"."""
        if vhost != "%2F":
            self.put(f"vhosts/{vhost}")
        self.put(f"users/{user}", password="secret", tags="")
        self.put(f"permissions/{vhost}/{user}", configure=configure, write=write, read=read)

    def tls(self, client=None):
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if client is not None:
            context.load_cert_chain(*self.authority.sign(client, common_name=client))
        return context

    def stop(self):
        self.server.stop()


class Sluice(Broker):
    def __init__(self, folder):
        super().__init__(folder)
        self.server = Server(folder / "server")
        self.port = free_port()
        tls = {"certificate": str(self.certificate), "key": str(self.key)}
        self.server.configure({
            "amqp": {"messageBytes": MESSAGE_MAX, "handshakeTimeout": "60s"},
            "listeners": [*self.server.config["listeners"], {"host": "127.0.0.1", "port": self.port, "protocol": "amqp"},
                          {"host": "127.0.0.1", "port": self.tls_port, "protocol": "amqp", "tls": tls},
                          {"host": "127.0.0.1", "port": self.certified_port, "protocol": "amqp",
                           "tls": {**tls, "clientCa": str(self.authority.certificate)}}]})
        self.server.start()
        self.hasty = self.beating = None

    def hasty_port(self):
        """Of a server of its own: a busy machine would keep others than the silent waiting for two seconds."""
        if self.hasty is None:
            self.hasty = HurtServer(self.folder / "hasty", {"amqp": {"handshakeTimeout": "2s"}}).start()
        return self.hasty.amqp_port

    def beating_port(self):
        """Of a server of its own, which offers a heartbeat of 2 s."""
        if self.beating is None:
            self.beating = HurtServer(self.folder / "beating", {"amqp": {"heartbeat": "2s"}}).start()
        return self.beating.amqp_port

    def stop(self):
        super().stop()
        for server in (self.hasty, self.beating):
            if server is not None:
                server.stop()

    def alarm(self, resource):
        return MemoryAlarm(self.folder / "memory") if resource == "memory" else DiskAlarm(self.folder / "alarm")


class MemoryAlarm:
    """A server with 32 MiB left, and somebody whose queue takes them: the keys of messages that may die."""

    def __init__(self, folder):
        self.server = HurtServer(folder)
        self.server.start()
        status = pathlib.Path(f"/proc/{self.server.process.pid}/statm").read_text(encoding="ascii")
        self.server.stop()
        self.server.configure({"limits": {"residentBytes": int(status.split()[1]) * 4096 + (32 << 20)}})
        self.port = self.server.start().amqp_port
        self.filler = threading.Thread(target=self.fill, daemon=True)

    def is_on(self):
        return self.server.client.get("/readyz").status == 503

    def fill(self):
        peer = Peer(self.port).open()
        peer.call(Queue.Declare(queue="filler", durable=True, arguments={"x-dead-letter-exchange": "conf.none"}))
        peer.call(Queue.Bind(queue="filler", exchange="amq.fanout"))
        try:
            while not self.is_on():
                for _ in range(1000):
                    peer.put("k" * 250, b"", exchange="amq.fanout")
        except OSError:
            pass  # not read from any more, or the end

    def on(self):
        self.filler.start()
        until(self.is_on, 60, "the memory is seen to be short")

    def off(self):
        Peer(self.port).open().call(Queue.Delete(queue="filler"))

    def close(self):
        self.server.kill()


class DiskAlarm:
    """A server on a small file system that somebody else fills and frees."""

    def __init__(self, folder):
        self.place = Tmpfs(folder / "disk", 512 << 20)
        if not self.place.works:
            pytest.skip("no name spaces: no small file system to fill")
        self.server = HurtServer(folder, {"log": {
            "segmentBytes": 4 << 20, "preparedBytes": 0, "minFreeBytes": 300 << 20}}, self.place.path / "data")
        self.server.prefix = self.place.prefix
        self.port = self.server.start().amqp_port
        self.filler = self.place.outside / "filler"

    def on(self):
        with open(self.filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.place.free_bytes() - (200 << 20))
        until(lambda: self.server.client.get("/readyz").status == 503, 10, "the disk is seen to be full")

    def off(self):
        self.filler.unlink()

    def close(self):
        self.server.kill()
        self.place.close()


class RabbitAlarm:
    def __init__(self, server, resource):
        self.server, self.resource, self.port = server, resource, server.amqp_port

    def on(self):
        self.server.control(*(["set_vm_memory_high_watermark", "absolute", "1MB"] if self.resource == "memory" else
                              ["set_disk_free_limit", "9000GB"]))

    def off(self):
        self.server.control(*(["set_vm_memory_high_watermark", "0.4"] if self.resource == "memory" else
                              ["set_disk_free_limit", "50MB"]))

    def close(self):
        pass


class RealRabbit(Broker):
    def hasty_port(self):
        return self.port

    def alarm(self, resource):
        return RabbitAlarm(self.server, resource)

    def __init__(self, folder):
        super().__init__(folder)
        self.certified_port = self.tls_port  # one listener for both: it asks for a certificate and does without
        self.server = Rabbit(folder / "server", lines=[
            f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}", f"ssl_options.cacertfile = {self.authority.certificate}",
            f"ssl_options.certfile = {self.certificate}", f"ssl_options.keyfile = {self.key}",
            "ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = false", "ssl_cert_login_from = common_name",
            "auth_mechanisms.1 = PLAIN", "auth_mechanisms.2 = AMQPLAIN", "auth_mechanisms.3 = EXTERNAL",
            f"max_message_size = {MESSAGE_MAX}", "handshake_timeout = 2000", "ssl_handshake_timeout = 5000"],
            plugins=["rabbitmq_management", "rabbitmq_consistent_hash_exchange", "rabbitmq_auth_mechanism_ssl"])
        self.server.start()
        self.port = self.server.amqp_port


def pytest_configure(config):
    config.addinivalue_line("markers", "section(name): the chapter a rule belongs to")
    config.addinivalue_line("markers", "ours: RabbitMQ has nothing like it")
    config.addinivalue_line("markers", "falls_short(reason): we fall short of it")
    config.addinivalue_line("markers", "differs(reason): RabbitMQ does it another way")


def pytest_collection_modifyitems(items):
    for item in items:
        differs = item.get_closest_marker("differs")
        short = item.get_closest_marker("falls_short")
        if KIND == "sluice" and short:
            item.add_marker(pytest.mark.xfail(reason=short.args[0], strict=True))
        if KIND == "rabbitmq" and item.get_closest_marker("ours"):
            item.add_marker(pytest.mark.skip(reason="only here"))
        elif KIND == "rabbitmq" and differs:
            item.add_marker(pytest.mark.xfail(reason=differs.args[0], strict=True))


@pytest.fixture(autouse=True)
def written_down(request, record_property):
    """What the page is made of: chapter, rule, and whether RabbitMQ is meant to agree."""
    section = request.node.get_closest_marker("section")
    if section is None:
        return
    record_property("section", section.args[0])
    record_property("rule", rule_of(request.node))
    for marker, name in (("differs", "differs"), ("falls_short", "short")):
        if request.node.get_closest_marker(marker):
            record_property(name, request.node.get_closest_marker(marker).args[0])


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    if KIND == "rabbitmq" and PROGRAM is None:
        pytest.skip("rabbitmq-server is not installed")
    made = (RealRabbit if KIND == "rabbitmq" else Sluice)(tmp_path_factory.mktemp("broker"))
    yield made
    made.stop()


@pytest.fixture
def connect(broker):
    """Peers of the broker, before their handshake."""
    opened = []

    def connect(port=None, tls=None):
        opened.append(Peer(port or broker.port, tls))
        return opened[-1]
    yield connect
    for peer in opened:
        peer.socket.close()


@pytest.fixture
def another(connect):
    """Peers with an open connection and channel 1."""
    return lambda **options: connect().open(**options)


@pytest.fixture
def peer(another):
    return another()


@pytest.fixture
def watching(another):
    """A peer that is told when its consumers are cancelled."""
    return another(capabilities=("consumer_cancel_notify", "basic.nack", "connection.blocked"))
