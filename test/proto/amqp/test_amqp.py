#!/usr/bin/python3
"""Raw frames and a real client against a small server made of the amqp library (amqp_test_server.c).

Frames are made and read by pika's codec, so that ours is compared with another one all the time.
Usage: test_amqp.py <amqp_test_server> [unittest arguments]
"""
import contextlib
import pathlib
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

import pika
from pika import exceptions, frame, spec

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.amqp_peer import HEADER, Peer  # noqa: E402

PROGRAM = None


class Server:
    def __init__(self, **limits):
        self.process = subprocess.Popen([PROGRAM, *(f"{k}={v}" for k, v in limits.items())],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def stop(self):
        self.process.communicate(timeout=120)
        if self.process.returncode != 0:
            raise AssertionError(f"the server ended with {self.process.returncode}")

    def pika(self, **options):
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port, **options))


@contextlib.contextmanager
def serving(**limits):
    server = Server(**limits)
    try:
        yield server
    except BaseException:
        server.process.kill()
        raise
    server.stop()


class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def peer(self):
        peer = Peer(self.server.port)
        self.addCleanup(peer.socket.close)
        return peer


class Handshake(Base):
    def test_another_protocol_is_told_ours(self):
        for header in (b"AMQP\x00\x01\x00\x00", b"GET / HTTP/1.1\r\n", b"AMQP\x01\x01\x00\x0a"):
            with Peer(self.server.port) as peer:
                peer.raw(header)
                self.assertEqual(peer.socket.recv(100), HEADER)
                self.assertEqual(peer.socket.recv(100), b"")

    def test_what_the_server_says_about_itself(self):
        start = self.peer().start()
        self.assertEqual((start.version_major, start.version_minor), (0, 9))
        self.assertEqual(start.mechanisms, b"AMQPLAIN PLAIN")
        for name in ("publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
                     "connection.blocked", "consumer_priorities", "authentication_failure_close",
                     "per_consumer_qos", "direct_reply_to"):
            self.assertIs(start.server_properties["capabilities"][name], True, name)

    def test_limits_are_offered(self):
        peer = self.peer()
        peer.start()
        peer.expect(spec.Connection.Tune, channel_max=2047, frame_max=131072, heartbeat=60)

    def test_nothing_is_done_before_the_login(self):
        for early in (spec.Channel.Open(), spec.Queue.Declare(0, "early"), spec.Connection.Open("/"), spec.Connection.TuneOk()):
            for first in (b"", frame.Method(0, spec.Connection.StartOk({}, "PLAIN", "\0guest\0wrong", "en_US")).marshal()):
                peer = self.peer()
                channel = 0 if isinstance(early, (spec.Connection.Open, spec.Connection.TuneOk)) else 1
                peer.raw(HEADER + first + frame.Method(channel, early).marshal())
                peer.expect(spec.Connection.Start)
                self.assertTrue(peer.closed(), early)

    def test_a_stranger_sends_no_long_frames(self):
        with serving(handshake_timeout_ms=600000) as server, Peer(server.port) as peer:
            peer.raw(HEADER + b"\1\0\0" + struct.pack(">I", 8193))
            peer.expect(spec.Connection.Start)
            self.assertTrue(peer.closed(), "for the frame, long before the handshake took too long")

    def test_limits_are_not_to_be_exceeded(self):
        for tune in ((0, 131072, 0), (2048, 131072, 0), (10, 4095, 0), (10, 131073, 0)):
            with Peer(self.server.port) as peer:
                peer.start()
                peer.expect(spec.Connection.Tune)
                peer.send(0, spec.Connection.TuneOk(*tune))
                peer.connection_closed(530)

    def test_amqplain(self):
        response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05guest"
        self.peer().open(mechanism="AMQPLAIN", response=response.decode())

    def test_unknown_mechanism_is_503(self):
        peer = self.peer()
        peer.start(mechanism="CRAM-MD5")
        peer.connection_closed(503)

    def test_wrong_password_closes_or_is_told(self):
        peer = self.peer()
        peer.start(response="\0guest\0wrong")
        self.assertTrue(peer.closed())
        told = self.peer()
        told.start(response="\0guest\0wrong", capabilities=["authentication_failure_close"])
        told.connection_closed(403)

    def test_missing_vhost_is_530(self):
        peer = self.peer()
        peer.start()
        peer.expect(spec.Connection.Tune)
        peer.send(0, spec.Connection.TuneOk(10, 4096, 0), spec.Connection.Open("nowhere"))
        peer.connection_closed(530)

    def test_any_cut_of_the_bytes(self):
        data = HEADER + b"".join(frame.Method(0, m).marshal() for m in (
            spec.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"), spec.Connection.TuneOk(9, 4096, 0),
            spec.Connection.Open("/"))) + frame.Method(1, spec.Channel.Open()).marshal()
        peer = self.peer()
        for i in range(len(data)):
            peer.raw(data[i:i + 1])
        for kind in (spec.Connection.Start, spec.Connection.Tune, spec.Connection.OpenOk, spec.Channel.OpenOk):
            peer.expect(kind)

    def test_unfinished_handshake_is_cut_off(self):
        with serving(handshake_timeout_ms=3000) as server, Peer(server.port) as silent, Peer(server.port) as half:
            half.raw(HEADER)
            half.expect(spec.Connection.Start)
            self.assertTrue(silent.closed() and half.closed())


class Violations(Base):
    """AMQP.md's table, as far as the protocol side decides."""

    def connection_error(self, code, act, **options):
        peer = self.peer().open(**options)
        act(peer)
        peer.connection_closed(code)

    def channel_error(self, code, *methods):
        peer = self.peer().open()
        peer.send(1, *methods)
        return peer.channel_closed(code)

    def test_frames(self):
        good = frame.Method(1, spec.Basic.Qos()).marshal()
        self.connection_error(501, lambda p: p.raw(good[:-1] + b"\xcf"))
        self.connection_error(501, lambda p: p.raw(b"\x07\0\1\0\0\0\0\xce"))
        self.connection_error(501, lambda p: p.raw(b"\x03\0\1" + struct.pack(">I", 4097)), frame_max=4096)
        self.connection_error(501, lambda p: p.raw(b"\1\0\1\0\0\0\5\0\x3c\0\x0a\1\xce"))
        self.connection_error(505, lambda p: p.raw(b"\x08\0\1\0\0\0\0\xce"))
        self.connection_error(505, lambda p: p.raw(frame.Body(1, b"x").marshal()))
        self.connection_error(505, lambda p: p.raw(frame.Header(1, 1, spec.BasicProperties()).marshal()))
        self.connection_error(505, lambda p: p.send(1, spec.Basic.Publish(), spec.Basic.Qos()))
        self.connection_error(505, lambda p: p.raw(frame.Method(1, spec.Basic.Publish()).marshal()
                                                   + frame.Body(1, b"x").marshal()))
        self.connection_error(505, lambda p: p.raw(
            frame.Method(1, spec.Basic.Publish()).marshal()
            + frame.Header(1, 1, spec.BasicProperties()).marshal() + frame.Body(1, b"xy").marshal()))

    def test_methods(self):
        self.connection_error(503, lambda p: p.raw(b"\1\0\1\0\0\0\4\0\x3c\0\xff\xce"))
        self.connection_error(503, lambda p: p.raw(b"\1\0\0\0\0\0\4\0\x63\0\1\xce"))
        self.connection_error(503, lambda p: p.send(1, spec.Basic.QosOk()))
        self.connection_error(504, lambda p: p.send(0, spec.Connection.Open("/")))
        self.connection_error(504, lambda p: p.send(2, spec.Basic.Qos()))
        self.connection_error(504, lambda p: p.send(1, spec.Channel.Open()))
        self.connection_error(530, lambda p: p.send(11, spec.Channel.Open()), channel_max=10)

    def test_not_implemented(self):
        self.connection_error(540, lambda p: p.send(1, spec.Basic.Publish(immediate=True)))
        self.connection_error(540, lambda p: p.send(1, spec.Basic.Qos(prefetch_size=1)))
        self.connection_error(540, lambda p: p.send(1, spec.Channel.Flow(False)))
        self.connection_error(540, lambda p: p.send(1, spec.Basic.Recover(False)))

    def test_tags(self):
        for method in (spec.Basic.Ack(5), spec.Basic.Nack(5), spec.Basic.Reject(5), spec.Basic.Ack(1, True)):
            self.assertIn("unknown delivery tag", self.channel_error(406, method).reply_text)
        peer = self.peer().open()
        peer.declare("tags")
        peer.content(1, spec.Basic.Publish(routing_key="tags"), b"x")
        peer.send(1, spec.Basic.Get(queue="tags"))
        peer.expect(spec.Basic.GetOk, delivery_tag=1)
        peer.expect_body()
        peer.send(1, spec.Basic.Ack(1), spec.Basic.Ack(1))
        peer.channel_closed(406)

    def test_modes(self):
        self.channel_error(406, spec.Tx.Commit())
        self.channel_error(406, spec.Tx.Rollback())
        for first, second in ((spec.Tx.Select(), spec.Confirm.Select()), (spec.Confirm.Select(), spec.Tx.Select())):
            peer = self.peer().open()
            peer.send(1, first, second)
            peer.receive()
            peer.channel_closed(406)

    def test_missing_things(self):
        self.channel_error(404, spec.Queue.Declare(queue="none", passive=True))
        self.channel_error(404, spec.Basic.Consume(queue="none"))
        self.channel_error(404, spec.Basic.Get(queue="none"))
        for method in (spec.Basic.Get(), spec.Basic.Consume(), spec.Queue.Bind(exchange="x"), spec.Queue.Purge()):
            self.assertIn("no previously declared queue", self.channel_error(404, method).reply_text)
        peer = self.peer().open()
        peer.content(1, spec.Basic.Publish(exchange="none"), b"x")
        peer.channel_closed(404)

    def test_publishes(self):
        for properties in ({"expiration": "soon"}, {"expiration": "-1"}, {"expiration": "315360000001"},
                           {"user_id": "root"}):
            peer = self.peer().open()
            peer.content(1, spec.Basic.Publish(routing_key="q"), b"x", **properties)
            peer.channel_closed(406)
        with serving(message_bytes=1000) as server, Peer(server.port) as peer:
            peer.open()
            peer.content(1, spec.Basic.Publish(routing_key="q"), b"x" * 1001)
            peer.channel_closed(406)

    def test_consumer_tag_twice_is_530(self):
        peer = self.peer().open()
        peer.declare("twice")
        peer.send(1, spec.Basic.Consume(queue="twice", consumer_tag="a"), spec.Basic.Consume(queue="twice", consumer_tag="a"))
        peer.expect(spec.Connection.Close, reply_code=530)

    def test_all_is_ignored_until_close_ok(self):
        peer = self.peer().open()
        peer.send(1, spec.Basic.Ack(1), spec.Queue.Declare(queue="late"), spec.Basic.Ack(2))
        peer.content(1, spec.Basic.Publish(exchange="none"), b"x")
        peer.channel_closed(406)
        peer.send(1, spec.Queue.Declare(queue="late", passive=True))
        peer.channel_closed(404)

    def test_after_our_close_only_close_ok_counts(self):
        peer = self.peer().open()
        peer.send(1, spec.Basic.QosOk(), spec.Queue.Declare(queue="late"))
        peer.raw(b"\1\0\1\0\0\0\4\0\x3c\0\xff\xce")
        peer.connection_closed(503)

    def test_a_missing_close_ok_is_not_waited_for(self):
        with serving(close_timeout_ms=300) as server, Peer(server.port) as peer:
            peer.open()
            peer.send(1, spec.Basic.QosOk())
            peer.expect(spec.Connection.Close)
            self.assertTrue(peer.closed())

    def test_the_client_hangs_up_after_close_ok_or_its_time_is_over(self):
        with serving(close_timeout_ms=3000) as server, Peer(server.port) as peer:
            peer.open()
            for _ in range(2):
                peer.send(0, spec.Connection.Close(200, "", 0, 0))
                peer.expect(spec.Connection.CloseOk)
            self.assertTrue(peer.closed())


class Channels(Base):
    def test_reopened_number(self):
        peer = self.peer().open()
        for _ in range(3):
            peer.send(1, spec.Channel.Close(200, "", 0, 0), spec.Channel.Open())
            peer.expect(spec.Channel.CloseOk)
            peer.expect(spec.Channel.OpenOk)

    def test_unsettled_goes_back_with_the_channel_and_the_connection(self):
        name = "back"
        peer = self.peer().open(channels=2)
        peer.declare(name)
        peer.content(1, spec.Basic.Publish(routing_key=name), b"x")
        peer.send(1, spec.Basic.Get(queue=name))
        peer.expect(spec.Basic.GetOk, redelivered=False)
        peer.expect_body()
        peer.send(1, spec.Channel.Close(200, "", 0, 0))
        peer.expect(spec.Channel.CloseOk)
        peer.send(2, spec.Basic.Get(queue=name))
        peer.expect(spec.Basic.GetOk, redelivered=True)
        peer.expect_body()
        peer.send(0, spec.Connection.Close(200, "", 0, 0))
        peer.expect(spec.Connection.CloseOk)
        other = self.peer().open()
        other.send(1, spec.Basic.Get(queue=name))
        other.expect(spec.Basic.GetOk, redelivered=True)

    def test_exclusive_queue_goes_with_its_connection(self):
        with Peer(self.server.port) as peer:
            peer.open()
            peer.send(1, spec.Queue.Declare(queue="mine", exclusive=True))
            peer.expect(spec.Queue.DeclareOk)
            other = self.peer().open()
            other.send(1, spec.Queue.Declare(queue="mine"))
            other.channel_closed(405)
        code = 405
        while code == 405:
            other.send(1, spec.Queue.Declare(queue="mine", passive=True))
            code = other.expect(spec.Channel.Close).reply_code
            other.send(1, spec.Channel.CloseOk(), spec.Channel.Open())
            other.expect(spec.Channel.OpenOk)
        self.assertEqual(code, 404)

    def test_answers_in_order(self):
        peer = self.peer().open()
        peer.send(1, spec.Queue.Declare(queue="o1"), spec.Basic.Qos(prefetch_count=5), spec.Queue.Declare(queue="o2"),
                  spec.Channel.Flow(True), spec.Confirm.Select(), spec.Queue.Purge(queue="o1"))
        for kind in (spec.Queue.DeclareOk, spec.Basic.QosOk, spec.Queue.DeclareOk, spec.Channel.FlowOk,
                     spec.Confirm.SelectOk, spec.Queue.PurgeOk):
            peer.expect(kind)

    def test_empty_name_is_the_last_queue(self):
        peer = self.peer().open()
        peer.send(1, spec.Queue.Declare(queue=""))
        name = peer.expect(spec.Queue.DeclareOk).queue
        self.assertTrue(name.startswith("amq.gen-"))
        peer.content(1, spec.Basic.Publish(routing_key=name), b"x")
        peer.send(1, spec.Basic.Get(queue=""))
        peer.expect(spec.Basic.GetOk)

    def test_nowait_says_nothing(self):
        peer = self.peer().open()
        peer.send(1, spec.Queue.Declare(queue="nw", nowait=True), spec.Exchange.Declare(exchange="nx", type="fanout", nowait=True),
                  spec.Queue.Bind(queue="nw", exchange="nx", nowait=True), spec.Confirm.Select(nowait=True),
                  spec.Basic.Consume(queue="nw", consumer_tag="t", nowait=True),
                  spec.Basic.Cancel(consumer_tag="t", nowait=True), spec.Queue.Purge(queue="nw", nowait=True),
                  spec.Queue.Delete(queue="nw", nowait=True), spec.Basic.Qos())
        peer.expect(spec.Basic.QosOk)


class Confirms(Base):
    def test_sequence(self):
        peer = self.peer().open()
        peer.declare("c")
        peer.content(1, spec.Basic.Publish(routing_key="c"), b"before")
        peer.send(1, spec.Confirm.Select())
        peer.expect(spec.Confirm.SelectOk)
        done = 0
        for _ in range(200):
            peer.content(1, spec.Basic.Publish(routing_key="c"), b"x")
        while done < 200:
            ack = peer.expect(spec.Basic.Ack)
            self.assertGreater(ack.delivery_tag, done)
            self.assertTrue(ack.multiple or ack.delivery_tag == done + 1)
            done = ack.delivery_tag
        self.assertEqual(done, 200)

    def test_return_comes_before_its_ack(self):
        peer = self.peer().open()
        peer.send(1, spec.Confirm.Select())
        peer.expect(spec.Confirm.SelectOk)
        peer.content(1, spec.Basic.Publish(routing_key="nobody"), b"1")
        peer.content(1, spec.Basic.Publish(routing_key="nobody", mandatory=True), b"2", content_type="a/b")
        got = [peer.receive() for _ in range(2)]
        self.assertEqual(got[0].method.delivery_tag, 1)
        self.assertEqual((got[1].method.reply_code, got[1].method.routing_key), (312, "nobody"))
        header = peer.receive()
        self.assertEqual(header.properties.content_type, "a/b")
        self.assertEqual(peer.receive().fragment, b"2")
        peer.expect(spec.Basic.Ack, delivery_tag=2, multiple=False)

    def test_refused_is_nacked(self):
        with serving() as server, Peer(server.port) as peer:
            peer.open()
            peer.send(1, spec.Confirm.Select())
            peer.expect(spec.Confirm.SelectOk)
            server.say("refuse")
            peer.content(1, spec.Basic.Publish(routing_key="c"), b"x")
            peer.expect(spec.Basic.Nack, delivery_tag=1, multiple=False)
            server.say("take")
            peer.content(1, spec.Basic.Publish(routing_key="c"), b"x")
            peer.expect(spec.Basic.Ack, delivery_tag=2)

    def test_bodies_of_all_sizes_in_frames_of_all_sizes(self):
        peer = self.peer().open(frame_max=4096)
        peer.declare("sizes")
        rng = random.Random(7)
        for size in (0, 1, 4087, 4088, 4089, 9000, 131072, 140000, 1 << 20):
            body = rng.randbytes(size)
            data = frame.Method(1, spec.Basic.Publish(routing_key="sizes")).marshal()
            data += frame.Header(1, size, spec.BasicProperties()).marshal()
            at = 0
            while at < size:
                piece = min(rng.randint(1, 4088) if size < 20000 else 4088, size - at)
                data += frame.Body(1, body[at:at + piece]).marshal()
                at += piece
            peer.raw(data)
            peer.send(1, spec.Basic.Get(queue="sizes", no_ack=True))
            peer.expect(spec.Basic.GetOk)
            self.assertEqual(peer.expect_body(), body)


class Consumers(Base):
    def test_consume_ok_comes_first_and_prefetch_holds(self):
        peer = self.peer().open()
        peer.declare("p")
        for i in range(10):
            peer.content(1, spec.Basic.Publish(routing_key="p"), b"%d" % i)
        peer.send(1, spec.Basic.Qos(prefetch_count=3), spec.Basic.Consume(queue="p"))
        peer.expect(spec.Basic.QosOk)
        tag = peer.expect(spec.Basic.ConsumeOk).consumer_tag
        self.assertTrue(tag.startswith("amq.ctag-"))
        for i in range(1, 4):
            peer.expect(spec.Basic.Deliver, delivery_tag=i, consumer_tag=tag)
            peer.expect_body()
        peer.send(1, spec.Basic.Ack(2, True))
        for i in range(4, 6):
            peer.expect(spec.Basic.Deliver, delivery_tag=i)
            self.assertEqual(peer.expect_body(), b"%d" % (i - 1))
        peer.send(1, spec.Basic.Cancel(consumer_tag=tag), spec.Basic.Ack(3))
        peer.expect(spec.Basic.CancelOk, consumer_tag=tag)
        peer.send(1, spec.Basic.Nack(0, True, True), spec.Queue.Declare(queue="p", passive=True))
        peer.expect(spec.Queue.DeclareOk, message_count=7)

    def test_recover(self):
        peer = self.peer().open()
        peer.declare("r")
        peer.content(1, spec.Basic.Publish(routing_key="r"), b"x")
        peer.send(1, spec.Basic.Consume(queue="r", consumer_tag="a"))
        peer.expect(spec.Basic.ConsumeOk)
        peer.expect(spec.Basic.Deliver, delivery_tag=1, redelivered=False)
        peer.expect_body()
        peer.send(1, spec.Basic.Recover(True))
        peer.expect(spec.Basic.RecoverOk)
        peer.expect(spec.Basic.Deliver, delivery_tag=2, redelivered=True)

    def test_cancel_notify(self):
        for capabilities in ([], ["consumer_cancel_notify"]):
            peer = self.peer().open(capabilities=capabilities)
            peer.declare("goes")
            peer.send(1, spec.Basic.Consume(queue="goes", consumer_tag="a"))
            peer.expect(spec.Basic.ConsumeOk)
            peer.send(1, spec.Queue.Delete(queue="goes"))
            if capabilities:
                peer.expect(spec.Basic.Cancel, consumer_tag="a")
            peer.expect(spec.Queue.DeleteOk)

    def test_unknown_cancel_is_fine(self):
        peer = self.peer().open()
        peer.send(1, spec.Basic.Cancel(consumer_tag="who"))
        peer.expect(spec.Basic.CancelOk, consumer_tag="who")

    def test_a_client_that_does_not_read_holds_up_nobody(self):
        slow = self.peer().open()
        slow.declare("flood")
        slow.send(1, spec.Basic.Consume(queue="flood", consumer_tag="a", no_ack=True))
        slow.expect(spec.Basic.ConsumeOk)
        with self.server.pika() as fast:
            channel = fast.channel()
            for _ in range(60):
                channel.basic_publish("", "flood", bytes(1 << 20))
            left = channel.queue_declare("flood").method.message_count
            self.assertGreater(left, 10)
        for _ in range(60):
            slow.expect(spec.Basic.Deliver)
            self.assertEqual(len(slow.expect_body()), 1 << 20)


class Transactions(Base):
    def test_commit_and_rollback(self):
        peer = self.peer().open(channels=2)
        peer.declare("t")

        def count():
            peer.send(2, spec.Queue.Declare(queue="t", passive=True))
            return peer.expect(spec.Queue.DeclareOk).message_count
        peer.send(1, spec.Tx.Select())
        peer.expect(spec.Tx.SelectOk)
        peer.content(1, spec.Basic.Publish(routing_key="t"), b"1")
        self.assertEqual(count(), 0)
        peer.send(1, spec.Tx.Rollback())
        peer.expect(spec.Tx.RollbackOk)
        peer.content(1, spec.Basic.Publish(routing_key="t"), b"2")
        peer.content(1, spec.Basic.Publish(routing_key="nowhere", mandatory=True), b"3")
        peer.send(1, spec.Tx.Commit())
        peer.expect(spec.Basic.Return, reply_code=312)
        peer.expect_body()
        peer.expect(spec.Tx.CommitOk)
        self.assertEqual(count(), 1)
        peer.send(1, spec.Basic.Get(queue="t"))
        peer.expect(spec.Basic.GetOk, delivery_tag=1)
        peer.expect_body()
        peer.send(1, spec.Basic.Ack(1), spec.Tx.Rollback(), spec.Basic.Ack(1), spec.Tx.Commit())
        peer.expect(spec.Tx.RollbackOk)
        peer.expect(spec.Tx.CommitOk)
        peer.send(1, spec.Channel.Close(200, "", 0, 0))
        peer.expect(spec.Channel.CloseOk)
        self.assertEqual(count(), 0)


class Alarms(unittest.TestCase):
    def test_publishers_wait_and_consumers_go_on(self):
        with serving() as server, Peer(server.port) as publisher, Peer(server.port) as consumer:
            publisher.open(capabilities=["connection.blocked"])
            consumer.open()
            publisher.declare("a")
            publisher.content(1, spec.Basic.Publish(routing_key="a"), b"1")
            publisher.declare("a")
            server.say("alarm")
            consumer.send(1, spec.Basic.Get(queue="a"))
            consumer.expect(spec.Basic.GetOk)
            consumer.expect_body()
            publisher.send(1, spec.Basic.Qos())
            publisher.expect(spec.Basic.QosOk)
            publisher.content(1, spec.Basic.Publish(routing_key="a"), b"2")
            publisher.expect(spec.Connection.Blocked, reason="low on disk")
            consumer.send(1, spec.Basic.Get(queue="a"))
            consumer.expect(spec.Basic.GetEmpty)
            server.say("calm")
            publisher.expect(spec.Connection.Unblocked)
            publisher.declare("a")
            consumer.send(1, spec.Basic.Get(queue="a"))
            consumer.expect(spec.Basic.GetOk)
            self.assertEqual(consumer.expect_body(), b"2")


class Heartbeats(unittest.TestCase):
    def test_sent_and_missed(self):
        with serving() as server, Peer(server.port) as peer:
            started = time.monotonic()
            peer.open(heartbeat=1)
            beats = 0
            while peer.receive() is not None:
                beats += 1
            self.assertGreaterEqual(beats, 2)
            self.assertGreater(time.monotonic() - started, 1.9)

    def test_a_lively_client_stays(self):
        with serving() as server, Peer(server.port) as peer:
            peer.open(heartbeat=2)
            for _ in range(10):
                time.sleep(0.5)
                peer.raw(frame.Heartbeat().marshal())
            peer.send(1, spec.Basic.Qos())
            while isinstance(got := peer.receive(), frame.Heartbeat):
                pass
            self.assertIsInstance(got.method, spec.Basic.QosOk)


class Floods(unittest.TestCase):
    def test_unanswered_ops_are_bounded(self):
        with serving(asked_max=4, asked_bytes=1000) as server, Peer(server.port) as peer:
            peer.open()
            peer.declare("f")
            peer.send(1, spec.Confirm.Select())
            peer.expect(spec.Confirm.SelectOk)
            for _ in range(1000):
                peer.content(1, spec.Basic.Publish(routing_key="f"), bytes(400))
            done = 0
            while done < 1000:
                done = peer.expect(spec.Basic.Ack).delivery_tag

    def test_half_messages_are_bounded(self):
        with serving(assembled_bytes=100000) as server, Peer(server.port) as peer:
            peer.open(channels=3)
            for channel in (1, 2):
                peer.raw(frame.Method(channel, spec.Basic.Publish(routing_key="f")).marshal()
                         + frame.Header(channel, 60000, spec.BasicProperties()).marshal())
            peer.connection_closed(506)

    def test_churn(self):
        with serving() as server:
            for i in range(300):
                with Peer(server.port) as peer:
                    peer.raw((HEADER + b"\1\0\0\0\0\1\0")[:1 + i % 14])
            with server.pika() as connection:
                connection.channel()


class Pika(Base):
    def test_headers_of_every_type_come_back(self):
        headers = {"t": True, "i": -5, "l": 1 << 40, "s": "text", "n": None, "a": [1, "x", [2]],
                   "f": {"in": {"deep": "text"}}}
        with self.server.pika() as connection:
            channel = connection.channel()
            channel.queue_declare("h")
            channel.basic_publish("", "h", b"x", pika.BasicProperties(
                headers=headers, content_type="a/b", content_encoding="z", delivery_mode=2, priority=9,
                correlation_id="c", reply_to="r", expiration="1000", message_id="m", timestamp=7, type="t",
                user_id="guest", app_id="a"))
            _, got, _ = channel.basic_get("h", auto_ack=True)
            self.assertEqual(got.headers, headers)
            self.assertEqual((got.content_type, got.priority, got.timestamp, got.user_id), ("a/b", 9, 7, "guest"))

    def test_two_threads(self):
        count = 3000

        def produce():
            with self.server.pika() as connection:
                channel = connection.channel()
                for i in range(count):
                    channel.basic_publish("", "work", b"%d" % i)
        with self.server.pika() as connection:
            channel = connection.channel()
            channel.queue_declare("work")
            channel.basic_qos(prefetch_count=50)
            thread = threading.Thread(target=produce)
            thread.start()
            got = []
            for method, _, body in channel.consume("work", inactivity_timeout=60):
                got.append(int(body))
                channel.basic_ack(method.delivery_tag)
                if len(got) == count:
                    break
            thread.join()
            self.assertEqual(got, list(range(count)))

    def test_errors_have_their_classes(self):
        with self.server.pika() as connection:
            with self.assertRaises(exceptions.ChannelClosedByBroker) as caught:
                connection.channel().queue_declare("never", passive=True)
            self.assertEqual(caught.exception.reply_code, 404)
            self.assertEqual(caught.exception.reply_text, "NOT_FOUND - no queue 'never' in vhost '/'")


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
