"""An AMQP client that does exactly what it is told. Frames are made and read by pika's codec."""
import socket
import time

from pika import frame, spec

BODY_MAX = 131072 - 8  # of a frame, when nothing smaller was agreed
HEADER = b"AMQP\x00\x00\x09\x01"


class Peer:
    """A client that does exactly what it is told."""

    def __init__(self, port, tls=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.bytes = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def raw(self, data):
        self.socket.sendall(data)

    def send(self, channel, *methods):
        self.raw(b"".join(frame.Method(channel, m).marshal() for m in methods))

    def content(self, channel, method, body=b"", **properties):
        data = frame.Method(channel, method).marshal()
        data += frame.Header(channel, len(body), spec.BasicProperties(**properties)).marshal()
        for at in range(0, len(body), BODY_MAX):
            data += frame.Body(channel, body[at:at + BODY_MAX]).marshal()
        self.raw(data)

    def receive(self):
        """The next frame, None at the end of the stream."""
        while True:
            used, got = frame.decode_frame(self.bytes)
            if got is not None:
                self.bytes = self.bytes[used:]
                return got
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self.bytes += data

    def expect(self, kind, **fields):
        got = self.receive()
        while isinstance(got, frame.Heartbeat):
            got = self.receive()
        assert got is not None, f"the end instead of {kind}"
        assert isinstance(got, frame.Method) and isinstance(got.method, kind), f"{got} instead of {kind}"
        for name, value in fields.items():
            assert getattr(got.method, name) == value, f"{name}: {got.method} instead of {value}"
        return got.method

    def expect_content(self):
        """(properties, body)"""
        header, body = self.receive(), b""
        while len(body) < header.body_size:
            body += self.receive().fragment
        return header.properties, body

    def expect_body(self):
        return self.expect_content()[1]

    def closed(self):
        return self.receive() is None

    def start(self, mechanism="PLAIN", response="\0guest\0guest", capabilities=()):
        self.raw(HEADER)
        start = self.expect(spec.Connection.Start)
        self.send(0, spec.Connection.StartOk({"capabilities": {name: True for name in capabilities}},
                                             mechanism, response, "en_US"))
        return start

    def open(self, channel_max=2047, frame_max=131072, heartbeat=0, channels=1, vhost="/", **start):
        self.start(**start)
        self.expect(spec.Connection.Tune)
        self.send(0, spec.Connection.TuneOk(channel_max, frame_max, heartbeat), spec.Connection.Open(vhost))
        self.expect(spec.Connection.OpenOk)
        for channel in range(1, channels + 1):
            self.send(channel, spec.Channel.Open())
            self.expect(spec.Channel.OpenOk)
        return self

    def declare(self, name="q", channel=1):
        self.send(channel, spec.Queue.Declare(queue=name))
        return self.expect(spec.Queue.DeclareOk)

    def call(self, method, channel=1):
        """A method that is answered by its -ok; the answer."""
        self.send(channel, method)
        owner = getattr(spec, method.NAME.split(".")[0])
        return self.expect(getattr(owner, method.NAME.split(".")[1] + "Ok"))

    def queue(self, name="", channel=1, exclusive=True, durable=False, auto_delete=False, **arguments):
        """Declares a queue, of this connection alone unless said otherwise; its name. `max_length` is x-max-length."""
        arguments = {"x-" + key.replace("_", "-"): value for key, value in arguments.items()}
        return self.call(spec.Queue.Declare(queue=name, exclusive=exclusive, durable=durable, auto_delete=auto_delete,
                                            arguments=arguments), channel).queue

    def count(self, name, channel=1):
        return self.call(spec.Queue.Declare(queue=name, passive=True), channel).message_count

    def put(self, name, body=b"", exchange="", channel=1, mandatory=False, **properties):
        self.content(channel, spec.Basic.Publish(exchange=exchange, routing_key=name, mandatory=mandatory), body, **properties)

    def confirming(self, channel=1):
        self.call(spec.Confirm.Select(), channel)
        return self

    def sure(self, name, body=b"", **options):
        """Publishes on a confirming channel and waits for the answer."""
        self.put(name, body, **options)
        return self.expect((spec.Basic.Ack, spec.Basic.Nack))

    def get(self, name, no_ack=True, timeout=30, channel=1):
        """(method, properties, body) of the next message; None when none comes in time."""
        end = time.monotonic() + timeout
        while True:
            self.send(channel, spec.Basic.Get(queue=name, no_ack=no_ack))
            method = self.expect((spec.Basic.GetOk, spec.Basic.GetEmpty))
            if isinstance(method, spec.Basic.GetOk):
                return (method, *self.expect_content())
            if time.monotonic() > end:
                return None
            time.sleep(0.01)

    def bodies(self, name, count):
        return [got and got[2] for got in (self.get(name) for _ in range(count))]

    def consume(self, name, no_ack=True, channel=1, tag="", exclusive=False, **arguments):
        arguments = {"x-" + key.replace("_", "-"): value for key, value in arguments.items()}
        return self.call(spec.Basic.Consume(queue=name, no_ack=no_ack, consumer_tag=tag, exclusive=exclusive,
                                            arguments=arguments), channel).consumer_tag

    def delivered(self):
        """(method, properties, body) of the next basic.deliver."""
        method = self.expect(spec.Basic.Deliver)
        return (method, *self.expect_content())

    def quiet(self, seconds=0.2):
        """Whether nothing comes for that long, heartbeats aside."""
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            return isinstance(self.receive(), frame.Heartbeat)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(before)

    def connection_closed(self, code):
        """The close with this code, then the end."""
        self.expect(spec.Connection.Close, reply_code=code)
        self.send(0, spec.Connection.CloseOk())
        assert self.closed()

    def channel_closed(self, code, channel=1):
        method = self.expect(spec.Channel.Close, reply_code=code)
        self.send(channel, spec.Channel.CloseOk(), spec.Channel.Open())
        self.expect(spec.Channel.OpenOk)
        return method
