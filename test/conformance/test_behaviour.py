"""What clients rely on besides the codes: confirms, delivery, dead letters, exchanges and the rest."""
import os
import time

import pytest
from pika.spec import Basic, Channel, Confirm, Connection, Exchange, Queue, Tx

pytestmark = pytest.mark.section("Behaviour")


def wait(condition, timeout=60):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def exchange(peer, name, kind, **arguments):
    """One that goes with its last binding."""
    peer.call(Exchange.Declare(exchange=name, type=kind, auto_delete=True, arguments={
        "alternate-exchange" if key == "alternate" else key: value for key, value in arguments.items()}))
    return name


def bind(peer, queue, source, key="", **arguments):
    peer.call(Queue.Bind(queue=queue, exchange=source, routing_key=key, arguments=arguments))


def dying(peer, **arguments):
    """(queue, where its dead go)"""
    grave = peer.queue()
    return peer.queue(dead_letter_exchange="", dead_letter_routing_key=grave, **arguments), grave


def deaths(peer, grave):
    _, properties, body = peer.get(grave)
    return properties, body, properties.headers["x-death"]


# ---- publishing ----

def test_confirms_count_per_channel(peer):
    """confirms: one sequence per channel, from 1"""
    name = peer.queue()
    peer.send(2, Channel.Open())
    peer.expect(Channel.OpenOk)
    for channel in (1, 2):
        peer.confirming(channel)
        tags = set()
        for _ in range(20):
            peer.put(name, b"x", channel=channel)
        while max(tags, default=0) < 20:
            ack = peer.expect(Basic.Ack)
            tags |= set(range(1, ack.delivery_tag + 1)) if ack.multiple else {ack.delivery_tag}
        assert tags == set(range(1, 21))


def test_unroutable_is_confirmed(peer):
    """an unroutable message is acked"""
    peer.confirming().put("conf.nowhere", b"x")
    peer.expect(Basic.Ack, delivery_tag=1)


def test_full_queue_is_nacked(peer):
    """a message that a limit refuses is nacked"""
    name = peer.confirming().queue(max_length=1, overflow="reject-publish")
    assert isinstance(peer.sure(name, b"1"), Basic.Ack)
    assert isinstance(peer.sure(name, b"2"), Basic.Nack)
    assert peer.bodies(name, 1) == [b"1"]


def test_properties_arrive(peer):
    """all properties arrive as they were sent"""
    name = peer.queue()
    sent = dict(content_type="a/b", content_encoding="c", headers={"k": "v"}, delivery_mode=2, priority=3,
                correlation_id="id", reply_to="r", expiration="60000", message_id="m", timestamp=12345, type="t",
                user_id="guest", app_id="app", cluster_id="cl")
    peer.put(name, b"", **sent)
    got = peer.get(name)[1]
    assert {key: getattr(got, key) for key in sent} == sent


def test_empty_and_large_bodies(peer):
    """bodies of any length arrive, empty ones too"""
    name = peer.queue()
    for size in (0, 1, 131064, 131065, 1 << 20):
        peer.put(name, b"z" * size)
        assert len(peer.get(name)[2]) == size


# ---- delivery ----

def test_prefetch_of_a_consumer(peer):
    """prefetch with global=false is of each consumer"""
    first, second = peer.queue(), peer.queue()
    for name in (first, second):
        for _ in range(5):
            peer.put(name, b"x")
    peer.call(Basic.Qos(prefetch_count=2))
    peer.consume(first, no_ack=False)
    tags = [peer.delivered()[0].delivery_tag for _ in range(2)]
    peer.send(1, Basic.Consume(queue=second))
    peer.expect(Basic.ConsumeOk)
    tags += [peer.delivered()[0].delivery_tag for _ in range(2)]
    assert peer.quiet()
    peer.send(1, Basic.Ack(tags[0]))
    assert peer.delivered()[0].delivery_tag == 5 and peer.quiet()


def test_prefetch_of_a_channel(peer):
    """prefetch with global=true is of all consumers of the channel"""
    name = peer.queue()
    peer.call(Basic.Qos(prefetch_count=3, global_qos=True))
    peer.consume(name, no_ack=False)
    peer.consume(name, no_ack=False)
    for _ in range(8):
        peer.put(name, b"x")
    assert [peer.delivered()[0].delivery_tag for _ in range(3)] == [1, 2, 3] and peer.quiet()
    peer.send(1, Basic.Ack(3, multiple=True))
    assert [peer.delivered()[0].delivery_tag for _ in range(3)] == [4, 5, 6]


def test_prefetch_of_a_channel_and_get(peer):
    """prefetch with global=true: what basic.get fetched does not count"""
    name = peer.queue()
    for body in (b"1", b"2", b"3", b"4"):
        peer.put(name, body)
    peer.call(Basic.Qos(prefetch_count=2, global_qos=True))
    assert [peer.get(name, no_ack=False)[2] for _ in range(2)] == [b"1", b"2"]
    peer.consume(name, no_ack=False)
    assert [peer.delivered()[2] for _ in range(2)] == [b"3", b"4"]


@pytest.mark.parametrize("end", ["close", "error"])
def test_prefetch_ends_with_its_channel(peer, end):
    """prefetch with global=true ends with its channel: the next of this number has none"""
    name = peer.queue()
    peer.call(Basic.Qos(prefetch_count=1, global_qos=True))
    if end == "close":
        peer.call(Channel.Close(200, "", 0, 0))
        peer.call(Channel.Open())
    else:
        peer.send(1, Queue.Declare(queue="conf.nowhere", passive=True))
        peer.channel_closed(404)
    peer.consume(name, no_ack=False)
    for body in (b"1", b"2"):
        peer.put(name, body)
    assert [peer.delivered()[2] for _ in range(2)] == [b"1", b"2"]


def test_no_prefetch_is_no_limit(peer):
    """prefetch 0 is no limit"""
    name = peer.queue()
    for _ in range(300):
        peer.put(name, b"x")
    peer.consume(name, no_ack=False)
    assert [peer.delivered()[0].delivery_tag for _ in range(300)] == list(range(1, 301))


def test_round_robin(another):
    """messages go round over consumers that have room"""
    first, second, publisher = another(), another(), another()
    publisher.queue("conf.round", exclusive=False, auto_delete=True)
    first.consume("conf.round")
    second.consume("conf.round")
    for _ in range(10):
        publisher.put("conf.round", b"x")
    for peer in (first, second):
        for _ in range(5):
            peer.delivered()


def test_consumer_priority(another):
    """the consumer with the higher priority first, others when it has no room"""
    low, high, publisher = another(), another(), another()
    publisher.queue("conf.priority", exclusive=False, auto_delete=True)
    low.consume("conf.priority")
    high.call(Basic.Qos(prefetch_count=2))
    high.consume("conf.priority", no_ack=False, priority=10)
    for number in range(3):
        publisher.put("conf.priority", b"%d" % number)
    assert [high.delivered()[2] for _ in range(2)] == [b"0", b"1"]
    assert low.delivered()[2] == b"2"


def test_requeue_to_its_place(peer):
    """a requeued message goes back to its place, with redelivered set"""
    name = peer.queue()
    for body in (b"1", b"2", b"3"):
        peer.put(name, body)
    first = peer.get(name, no_ack=False)
    second = peer.get(name, no_ack=False)
    peer.send(1, Basic.Reject(second[0].delivery_tag, requeue=True), Basic.Nack(first[0].delivery_tag, requeue=True))
    got = [peer.get(name) for _ in range(3)]
    assert [(g[2], g[0].redelivered) for g in got] == [(b"1", True), (b"2", True), (b"3", False)]


def test_multiple_settlement(peer):
    """ack, nack of several at once; tag 0 is all"""
    name = peer.queue()
    for _ in range(6):
        peer.put(name, b"x")
    tags = [peer.get(name, no_ack=False)[0].delivery_tag for _ in range(6)]
    peer.send(1, Basic.Ack(tags[1], multiple=True), Basic.Nack(tags[3], multiple=True, requeue=True), Basic.Ack(0, multiple=True))
    wait(lambda: peer.count(name) == 2)


def test_channel_end_requeues(peer):
    """what a channel held unsettled goes back when it ends"""
    name = peer.queue()
    peer.put(name, b"x")
    peer.get(name, no_ack=False)
    peer.call(Channel.Close(200, "", 0, 0))
    peer.call(Channel.Open())
    method, _, body = peer.get(name)
    assert body == b"x" and method.redelivered


def test_connection_end_requeues(peer, another):
    """what a connection held unsettled goes back when it ends"""
    peer.queue("conf.back", exclusive=False)
    for body in (b"1", b"2"):
        peer.put("conf.back", body)
    other = another()
    assert other.get("conf.back", no_ack=False)[2] == b"1"
    other.socket.close()
    wait(lambda: peer.count("conf.back") == 2)
    assert peer.bodies("conf.back", 2) == [b"1", b"2"]
    peer.call(Queue.Delete(queue="conf.back"))


def test_recover(peer):
    """basic.recover with requeue: all unsettled of the channel come again"""
    name = peer.queue()
    peer.put(name, b"x")
    peer.consume(name, no_ack=False)
    peer.delivered()
    peer.send(1, Basic.Recover(requeue=True))
    got = [peer.expect((Basic.RecoverOk, Basic.Deliver)) for _ in range(1)]
    if isinstance(got[0], Basic.Deliver):
        peer.expect_content()
        peer.expect(Basic.RecoverOk)
    else:
        got = [peer.delivered()[0]]
    assert got[0].redelivered


def test_cancel(peer):
    """after basic.cancel-ok nothing comes; what was delivered may still be settled"""
    name = peer.queue()
    peer.put(name, b"1")
    tag = peer.consume(name, no_ack=False)
    delivered = peer.delivered()[0].delivery_tag
    assert peer.call(Basic.Cancel(consumer_tag=tag)).consumer_tag == tag
    peer.put(name, b"2")
    assert peer.quiet()
    peer.send(1, Basic.Ack(delivered))
    wait(lambda: peer.count(name) == 1)
    peer.call(Basic.Cancel(consumer_tag="never"))


def test_cancel_notify(watching, another):
    """consumers of a queue that goes are sent basic.cancel, where the client can take it"""
    another().queue("conf.gone", exclusive=False)
    tag = watching.consume("conf.gone")
    another().call(Queue.Delete(queue="conf.gone"))
    assert watching.expect(Basic.Cancel).consumer_tag == tag


def test_single_active_consumer(another):
    """single active consumer: one gets all, the next takes over at once"""
    publisher, first, second = another(), another(), another()
    publisher.queue("conf.single", exclusive=False, single_active_consumer=True)
    first.consume("conf.single", no_ack=False)
    second.consume("conf.single", no_ack=False)
    for body in (b"1", b"2"):
        publisher.put("conf.single", body)
    assert [first.delivered()[2] for _ in range(2)] == [b"1", b"2"]
    assert second.quiet()
    first.socket.close()
    assert [second.delivered()[2] for _ in range(2)] == [b"1", b"2"]
    publisher.call(Queue.Delete(queue="conf.single"))


def test_exclusive_on_single_active(peer):
    """an exclusive consumer on a queue with a single active one: 403"""
    name = peer.queue(single_active_consumer=True)
    peer.send(1, Basic.Consume(queue=name, exclusive=True))
    peer.channel_closed(403)


# ---- delivery count ----

def test_delivery_count(peer):
    """x-delivery-count counts deliveries; above x-delivery-limit the message dies: delivery_limit"""
    grave = peer.queue()
    peer.call(Queue.Declare(queue="conf.limit", durable=True, arguments={
        "x-queue-type": "quorum", "x-delivery-limit": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": grave}))
    peer.put("conf.limit", b"x", delivery_mode=2)
    for count in range(3):
        method, properties, _ = peer.get("conf.limit", no_ack=False)
        assert (properties.headers or {}).get("x-delivery-count", 0) == count
        peer.send(1, Basic.Reject(method.delivery_tag, requeue=True))
    _, _, death = deaths(peer, grave)
    assert (death[0]["reason"], death[0]["queue"]) == ("delivery_limit", "conf.limit")
    peer.call(Queue.Delete(queue="conf.limit"))


# ---- dead letters ----

def test_rejected(peer):
    """a rejected message dies: x-death says queue, reason, count, exchange, routing-keys, time"""
    name, grave = dying(peer)
    peer.put(name, b"x", headers={"mine": 1})
    peer.send(1, Basic.Reject(peer.get(name, no_ack=False)[0].delivery_tag, requeue=False))
    properties, body, death = deaths(peer, grave)
    assert body == b"x" and properties.headers["mine"] == 1 and len(death) == 1
    assert {k: v for k, v in death[0].items() if k != "time"} == {
        "count": 1, "exchange": "", "queue": name, "reason": "rejected", "routing-keys": [name]}
    assert death[0]["time"] is not None


def test_first_death(peer):
    """x-first-death-reason, -queue, -exchange stay those of the first death"""
    grave = peer.queue()
    second = peer.queue(dead_letter_exchange="", dead_letter_routing_key=grave)
    first = peer.queue(dead_letter_exchange="", dead_letter_routing_key=second, message_ttl=20)
    peer.put(first, b"x")
    peer.send(1, Basic.Reject(peer.get(second, no_ack=False)[0].delivery_tag, requeue=False))
    properties, _, death = deaths(peer, grave)
    headers = properties.headers
    assert (headers["x-first-death-reason"], headers["x-first-death-queue"], headers["x-first-death-exchange"]) == \
        ("expired", first, "")
    assert [(d["queue"], d["reason"]) for d in death] == [(second, "rejected"), (first, "expired")]


def test_deaths_are_counted(peer):
    """a second death of the same reason in the same queue counts up, and comes first"""
    name, grave = dying(peer)
    peer.put(name, b"x")
    for count in (1, 2, 3):
        peer.send(1, Basic.Reject(peer.get(name, no_ack=False)[0].delivery_tag, requeue=False))
        _, properties, body = peer.get(grave)
        assert properties.headers["x-death"][0]["count"] == count and len(properties.headers["x-death"]) == 1
        peer.put(name, body, headers=properties.headers)


def test_expired(peer):
    """an expired message dies without its expiration, which stands as original-expiration in x-death"""
    name, grave = dying(peer)
    peer.put(name, b"x", expiration="50")
    properties, _, death = deaths(peer, grave)
    assert death[0]["reason"] == "expired" and properties.expiration is None
    assert death[0]["original-expiration"] == "50"


def test_maxlen(peer):
    """a message that a newer one pushed out dies: maxlen"""
    name, grave = dying(peer, max_length=1)
    peer.put(name, b"old")
    peer.put(name, b"new")
    _, body, death = deaths(peer, grave)
    assert (body, death[0]["reason"]) == (b"old", "maxlen")


def test_reject_publish_dlx(peer):
    """reject-publish-dlx: the refused message is nacked and dies: maxlen"""
    name, grave = dying(peer, max_length=1, overflow="reject-publish-dlx")
    peer.confirming()
    peer.sure(name, b"1")
    assert isinstance(peer.sure(name, b"2"), Basic.Nack)
    _, body, death = deaths(peer, grave)
    assert (body, death[0]["reason"]) == (b"2", "maxlen")


def test_dead_letter_keeps_its_key(peer):
    """without a dead-letter routing key the dead letter keeps its own; the exchange is the new one"""
    grave = peer.queue()
    bind(peer, grave, exchange(peer, "conf.dlx", "direct"), "key")
    name = peer.queue(dead_letter_exchange="conf.dlx")
    bind(peer, name, "amq.direct", "key")
    peer.put("key", b"x", exchange="amq.direct")
    peer.send(1, Basic.Reject(peer.get(name, no_ack=False)[0].delivery_tag, requeue=False))
    method, properties, _ = peer.get(grave)
    assert (method.exchange, method.routing_key) == ("conf.dlx", "key")
    assert properties.headers["x-death"][0]["exchange"] == "amq.direct"


def test_cycle_without_rejection(peer):
    """a cycle of dead letters without a rejection in it is dropped"""
    name = peer.confirming().queue("conf.cycle", message_ttl=30, dead_letter_exchange="", dead_letter_routing_key="conf.cycle")
    peer.sure(name, b"x")
    wait(lambda: peer.count(name) == 0)
    time.sleep(0.1)
    assert peer.count(name) == 0


def test_cycle_with_rejection(peer):
    """a cycle of dead letters with a rejection in it goes on"""
    name = peer.queue("conf.cycle2", dead_letter_exchange="", dead_letter_routing_key="conf.cycle2")
    peer.put(name, b"x")
    for count in range(3):
        method, properties, _ = peer.get(name, no_ack=False)
        assert count == 0 or properties.headers["x-death"][0]["count"] == count
        peer.send(1, Basic.Reject(method.delivery_tag, requeue=False))


def test_dead_letters_of_cc(peer):
    """CC and BCC: the dead letter of each copy has the keys of all; BCC is not seen"""
    grave = peer.queue()
    bind(peer, grave, exchange(peer, "conf.ccdlx", "fanout"))
    name = peer.queue(dead_letter_exchange="conf.ccdlx")
    peer.put(name, b"x", headers={"CC": ["other"], "BCC": ["secret"]})
    peer.send(1, Basic.Reject(peer.get(name, no_ack=False)[0].delivery_tag, requeue=False))
    properties, _, death = deaths(peer, grave)
    assert sorted(death[0]["routing-keys"]) == sorted([name, "other"])
    assert "BCC" not in properties.headers


def test_dead_letters_are_routed_by_cc(peer):
    """a dead letter that keeps its keys is routed by those of CC too"""
    first, second = peer.queue(), peer.queue()
    exchange(peer, "conf.keys", "direct")
    bind(peer, second, "conf.keys", "other")
    name = peer.queue(dead_letter_exchange="conf.keys")
    bind(peer, first, "conf.keys", name)
    peer.put(name, b"x", headers={"CC": ["other"]})
    peer.send(1, Basic.Reject(peer.get(name, no_ack=False)[0].delivery_tag, requeue=False))
    assert peer.get(first)[2] == b"x" and peer.get(second) is not None


def test_dead_letters_with_new_key_lose_cc(peer):
    """a dead-letter routing key takes the CC header away"""
    name, grave = dying(peer)
    peer.put(name, b"x", headers={"CC": ["other"]})
    peer.send(1, Basic.Reject(peer.get(name, no_ack=False)[0].delivery_tag, requeue=False))
    assert "CC" not in deaths(peer, grave)[0].headers


def test_headers_exchange_takes_dead_letters(peer):
    """a headers exchange as dead-letter exchange matches on the message's headers"""
    grave = peer.queue()
    bind(peer, grave, exchange(peer, "conf.hdlx", "headers"), **{"x-match": "all", "kind": "bill"})
    name = peer.queue(dead_letter_exchange="conf.hdlx")
    for kind in ("note", "bill"):
        peer.put(name, kind.encode(), headers={"kind": kind})
        peer.send(1, Basic.Reject(peer.get(name, no_ack=False)[0].delivery_tag, requeue=False))
    assert peer.get(grave)[2] == b"bill" and peer.count(grave) == 0


def kill_rejected(peer, name):
    peer.send(1, Basic.Reject(peer.get(name, no_ack=False)[0].delivery_tag, requeue=False))


def kill_delivered_too_often(peer, name):
    for _ in range(2):
        peer.send(1, Basic.Reject(peer.get(name, no_ack=False)[0].delivery_tag, requeue=True))


def kill_by_next(peer, name):
    peer.put(name, b"next")


@pytest.mark.parametrize("reason, arguments, kill", [
    ("rejected", {}, kill_rejected), ("expired", {"x-message-ttl": 1}, None), ("maxlen", {"x-max-length": 1}, kill_by_next),
    ("delivery_limit", {"x-queue-type": "quorum", "x-delivery-limit": 1}, kill_delivered_too_often)])
def test_headers_exchange_takes_dead_letters_of(peer, reason, arguments, kill):
    """a headers exchange as dead-letter exchange: whatever the reason, and it sees x-first-death-reason"""
    own, why = peer.queue(), peer.queue()
    exchange(peer, "conf.why", "headers")
    bind(peer, own, "conf.why", **{"x-match": "all", "kind": "bill"})
    bind(peer, why, "conf.why", **{"x-match": "any-with-x", "x-first-death-reason": reason})
    name = peer.call(Queue.Declare(queue=f"conf.why.{reason}", durable=True, arguments={
        "x-dead-letter-exchange": "conf.why", "x-dead-letter-routing-key": "k", **arguments})).queue
    peer.put(name, b"x", delivery_mode=2, headers={"kind": "bill"})
    if kill:
        kill(peer, name)
    for grave in (own, why):
        _, properties, body = peer.get(grave)
        assert body == b"x" and properties.headers["kind"] == "bill" and properties.headers["x-first-death-reason"] == reason
    peer.call(Queue.Delete(queue=name))


def test_headers_and_keys_over_two_deaths(peer):
    """headers and CC keys still route a dead letter when it dies again"""
    grave, waiting, copies = peer.queue(), "conf.hop2", peer.queue()
    bind(peer, grave, exchange(peer, "conf.hop.h", "headers"), **{"x-match": "all", "kind": "bill"})
    exchange(peer, "conf.hop.f", "fanout")
    exchange(peer, "conf.hop.d", "direct", alternate="conf.hop.h")
    peer.queue(waiting, dead_letter_exchange="conf.hop.d")
    bind(peer, waiting, "conf.hop.f")
    name = peer.queue("conf.hop1", dead_letter_exchange="conf.hop.f")
    for copy in (True, False):
        if copy:
            bind(peer, copies, "conf.hop.d", "copy")
        peer.put(name, b"x", headers={"kind": "bill", "CC": ["copy"]})
        kill_rejected(peer, name)
        kill_rejected(peer, waiting)
        assert peer.get(copies if copy else grave)[2] == b"x"
        if copy:
            assert peer.count(grave) == 0
            peer.call(Queue.Unbind(queue=copies, exchange="conf.hop.d", routing_key="copy"))
            exchange(peer, "conf.hop.d", "direct", alternate="conf.hop.h")


def test_dead_letters_are_routed_by_bcc(peer):
    """a dead letter that keeps its keys is routed by those of BCC too"""
    second = peer.queue()
    exchange(peer, "conf.bcckeys", "direct")
    bind(peer, second, "conf.bcckeys", "secret")
    name = peer.queue(dead_letter_exchange="conf.bcckeys")
    peer.put(name, b"x", headers={"BCC": ["secret"]})
    kill_rejected(peer, name)
    assert peer.get(second)[2] == b"x"


def test_refused_by_length_is_routed_by_headers(peer):
    """overflow reject-publish-dlx: what is refused is routed by its headers and CC keys too"""
    grave, copies = peer.queue(), peer.queue()
    exchange(peer, "conf.refh", "headers")
    bind(peer, grave, "conf.refh", **{"x-match": "all", "kind": "bill"})
    exchange(peer, "conf.refd", "direct", alternate="conf.refh")
    bind(peer, copies, "conf.refd", "copy")
    for dlx, target in (("conf.refh", grave), ("conf.refd", copies)):
        name = peer.queue(max_length=1, overflow="reject-publish-dlx", dead_letter_exchange=dlx)
        peer.put(name, b"1")
        peer.put(name, b"x", headers={"kind": "bill", "CC": ["copy"]})
        assert peer.get(target)[2] == b"x"
        assert peer.count(name) == 1


def test_missing_dead_letter_exchange(peer):
    """a dead-letter exchange that is not there: the message is dropped, no error"""
    name = peer.queue(dead_letter_exchange="conf.nowhere")
    peer.put(name, b"x")
    peer.send(1, Basic.Reject(peer.get(name, no_ack=False)[0].delivery_tag, requeue=False))
    assert peer.count(name) == 0


# ---- time and room ----

def test_smaller_ttl_wins(peer):
    """of the queue's and the message's time to live the smaller wins"""
    for of_queue, own in ((100, "600000"), (600000, "100")):
        name = peer.confirming().queue(message_ttl=of_queue)
        peer.sure(name, b"x", expiration=own)
        wait(lambda: peer.count(name) == 0)


def test_no_time_to_live(peer):
    """expiration 0: gone unless a consumer takes it at once"""
    name = peer.queue()
    peer.put(name, b"x", expiration="0")
    wait(lambda: peer.count(name) == 0)
    assert peer.get(name, timeout=0) is None
    peer.consume(name)
    peer.put(name, b"y", expiration="0")
    assert peer.delivered()[2] == b"y"


def test_queue_expires(peer):
    """x-expires: an unused queue goes"""
    peer.call(Queue.Declare(queue="conf.expires", arguments={"x-expires": 100}))

    def gone():
        time.sleep(0.3)  # asking is using
        peer.send(1, Queue.Declare(queue="conf.expires", passive=True))
        if isinstance(peer.expect((Queue.DeclareOk, Channel.Close)), Queue.DeclareOk):
            return False
        peer.send(1, Channel.CloseOk(), Channel.Open())
        peer.expect(Channel.OpenOk)
        return True
    wait(gone)


def test_length_in_bytes(peer):
    """x-max-length-bytes drops the oldest"""
    name = peer.confirming().queue(max_length_bytes=10)
    for body in (b"aaaaa", b"bbbbb", b"ccccc"):
        peer.sure(name, body)
    assert peer.bodies(name, 2) == [b"bbbbb", b"ccccc"]


def test_message_priority(peer):
    """x-max-priority: strict, first come first served within one, above the maximum is the maximum"""
    name = peer.confirming().queue(max_priority=5)
    for body, priority in ((b"1", 1), (b"5a", 5), (b"none", None), (b"9", 9), (b"3", 3)):
        peer.sure(name, body, priority=priority)
    assert peer.bodies(name, 5) == [b"5a", b"9", b"3", b"1", b"none"]


# ---- exchanges ----

def test_topic(peer):
    """topic: * is one word, # any number of them"""
    exchange(peer, "conf.topic", "topic")
    queues = {key: peer.queue() for key in ("a.*", "a.#", "#", "*.*.c", "a.b")}
    for key, name in queues.items():
        bind(peer, name, "conf.topic", key)
    peer.confirming()
    for key in ("a", "a.b", "a.b.c", "x", ""):
        peer.sure(key, key.encode(), exchange="conf.topic")
    counts = {key: peer.count(name) for key, name in queues.items()}
    assert counts == {"a.*": 1, "a.#": 3, "#": 5, "*.*.c": 1, "a.b": 1}


@pytest.mark.parametrize("match,headers,matches", [
    ("all", {"a": "1", "b": 2}, True), ("all", {"a": "1"}, False), ("any", {"a": "1"}, True), ("any", {"a": "2"}, False),
    ("all", {"a": "1", "b": 2, "c": 3}, True), ("any", {}, False)])
def test_headers(peer, match, headers, matches):
    """headers: x-match all and any"""
    name = peer.confirming().queue()
    bind(peer, name, "amq.headers", **{"x-match": match, "a": "1", "b": 2})
    peer.sure("", b"x", exchange="amq.headers", headers=headers)
    assert peer.count(name) == matches


@pytest.mark.parametrize("match,headers,matches", [
    ("all-with-x", {"x-a": "1", "b": 2}, True), ("all-with-x", {"b": 2}, False), ("any-with-x", {"x-a": "1"}, True),
    ("all", {"b": 2}, True), ("any", {"x-a": "1"}, False)])
def test_headers_with_x(peer, match, headers, matches):
    """headers: all-with-x and any-with-x look at headers that begin with x-, all and any do not"""
    name = peer.confirming().queue()
    bind(peer, name, "amq.headers", **{"x-match": match, "x-a": "1", "b": 2})
    peer.sure("", b"x", exchange="amq.headers", headers=headers)
    assert peer.count(name) == matches


def test_headers_void(peer):
    """headers: a binding without a value matches any value of that header"""
    name = peer.confirming().queue()
    bind(peer, name, "amq.headers", **{"x-match": "all", "a": None})
    for headers in ({"a": 5}, {"b": 5}):
        peer.sure("", b"x", exchange="amq.headers", headers=headers)
    assert peer.count(name) == 1


def test_once_per_queue(peer):
    """each queue gets a message once, however many bindings lead to it"""
    exchange(peer, "conf.inner", "fanout")
    name = peer.confirming().queue()
    bind(peer, name, "amq.topic", "conf.#")
    bind(peer, name, "amq.topic", "conf.once")
    bind(peer, name, "conf.inner")
    peer.call(Exchange.Bind(destination="conf.inner", source="amq.topic", routing_key="#"))
    peer.sure("conf.once", b"x", exchange="amq.topic", headers={"CC": ["conf.twice"]})
    assert peer.count(name) == 1


def test_exchange_cycle(peer):
    """exchanges bound in a circle end"""
    for name in ("conf.c1", "conf.c2"):
        exchange(peer, name, "fanout")
    peer.call(Exchange.Bind(destination="conf.c1", source="conf.c2"))
    peer.call(Exchange.Bind(destination="conf.c2", source="conf.c1"))
    name = peer.confirming().queue()
    bind(peer, name, "conf.c2")
    peer.sure("", b"x", exchange="conf.c1")
    assert peer.count(name) == 1
    peer.call(Exchange.Delete(exchange="conf.c1"))


def test_alternate(peer):
    """what an exchange cannot route goes to its alternate-exchange"""
    name = peer.confirming().queue()
    exchange(peer, "conf.alternate", "fanout")
    bind(peer, name, "conf.alternate")
    peer.call(Exchange.Declare(exchange="conf.main", type="direct", arguments={"alternate-exchange": "conf.alternate"}))
    peer.sure("nobody", b"x", exchange="conf.main", mandatory=True)
    assert peer.bodies(name, 1) == [b"x"]
    peer.call(Exchange.Delete(exchange="conf.main"))


def test_copies(peer):
    """CC and BCC headers route as further keys; BCC is taken out, CC stays"""
    to, copy, blind = peer.queue(), peer.queue(), peer.queue()
    peer.put(to, b"x", headers={"CC": [copy], "BCC": [blind]})
    for name in (to, copy, blind):
        headers = peer.get(name)[1].headers
        assert headers["CC"] == [copy] and "BCC" not in headers


def test_returned_without_its_copies(peer):
    """a message that nobody got is returned as it was published, but without BCC"""
    peer.put("conf.nobody", b"x", mandatory=True, headers={"CC": ["conf.nothing"], "BCC": ["conf.never"], "h": 1}, message_id="7")
    peer.expect(Basic.Return)
    properties, body = peer.expect_content()
    assert (properties.headers, properties.message_id, body) == ({"CC": ["conf.nothing"], "h": 1}, "7", b"x")


def test_consistent_hash(peer):
    """x-consistent-hash: the same key to the same queue, shares by the weight in the binding key"""
    peer.confirming()
    exchange(peer, "conf.hash", "x-consistent-hash")
    light, heavy = peer.queue(), peer.queue()
    bind(peer, light, "conf.hash", "10")
    bind(peer, heavy, "conf.hash", "30")
    for number in range(400):
        peer.put(f"key{number}", b"x", exchange="conf.hash")
    wait(lambda: peer_count(peer, light) + peer_count(peer, heavy) == 400)
    assert 40 < peer_count(peer, light) < 200
    before = peer_count(peer, light)
    for _ in range(10):
        peer.put("key1", b"x", exchange="conf.hash")
    wait(lambda: peer_count(peer, light) + peer_count(peer, heavy) == 410)
    assert peer_count(peer, light) - before in (0, 10)


def peer_count(peer, name):
    """With confirms in between."""
    peer.send(1, Queue.Declare(queue=name, passive=True))
    got = peer.expect((Basic.Ack, Queue.DeclareOk))
    while isinstance(got, Basic.Ack):
        got = peer.expect((Basic.Ack, Queue.DeclareOk))
    return got.message_count


def test_auto_delete_exchange(peer):
    """an auto-delete exchange goes with its last binding"""
    exchange(peer, "conf.auto", "fanout")
    name = peer.queue()
    bind(peer, name, "conf.auto")
    peer.call(Queue.Unbind(queue=name, exchange="conf.auto"))
    peer.send(1, Exchange.Declare(exchange="conf.auto", type="fanout", passive=True))
    peer.channel_closed(404)


# ---- queues ----

def test_server_named(peer):
    """an empty name makes a queue amq.gen-..., another one each time"""
    name = peer.queue()
    assert name.startswith("amq.gen-") and len(name) > 20 and peer.queue() != name


def test_empty_name_is_the_last(peer):
    """an empty queue name in bind, consume, get, purge is the last one declared on the channel"""
    name = peer.queue("conf.last")
    bind(peer, "", "amq.direct", "conf.last")
    peer.put("conf.last", b"x", exchange="amq.direct")
    wait(lambda: peer.count(name) == 1)
    assert peer.call(Queue.Purge(queue="")).message_count == 1


def test_exclusive_goes(another):
    """an exclusive queue goes with its connection"""
    owner, other = another(), another()
    owner.queue("conf.mine")
    owner.call(Connection.Close(200, "", 0, 0), channel=0)

    def gone():
        other.send(1, Queue.Declare(queue="conf.mine", passive=True))
        closed = other.expect(Channel.Close)
        other.send(1, Channel.CloseOk(), Channel.Open())
        other.expect(Channel.OpenOk)
        return closed.reply_code == 404
    wait(gone)


def test_auto_delete_queue(peer):
    """an auto-delete queue goes with its last consumer, not before its first"""
    name = peer.queue(exclusive=False, auto_delete=True)
    assert peer.count(name) == 0
    peer.call(Basic.Cancel(consumer_tag=peer.consume(name)))
    peer.send(1, Queue.Declare(queue=name, passive=True))
    peer.channel_closed(404)


def test_counts(peer):
    """declare-ok, delete-ok, purge-ok and get-ok count messages and consumers"""
    name = peer.confirming().queue()
    for _ in range(3):
        peer.sure(name, b"x")
    peer.call(Channel.Close(200, "", 0, 0))
    peer.call(Channel.Open())
    assert peer.get(name)[0].message_count == 2
    peer.send(1, Basic.Consume(queue=name, consumer_tag="c", no_ack=False))
    peer.expect(Basic.ConsumeOk)
    for _ in range(2):
        peer.delivered()
    declared = peer.call(Queue.Declare(queue=name, passive=True))
    assert (declared.message_count, declared.consumer_count) == (0, 1)
    assert peer.call(Queue.Purge(queue=name)).message_count == 0
    assert peer.call(Queue.Delete(queue=name)).message_count == 0


def test_unknown_arguments_are_kept(peer):
    """unknown x- arguments are accepted"""
    peer.queue("conf.unknown", whatever=1)
    peer.queue("conf.unknown", whatever=1)


def test_no_wait(peer):
    """methods with no-wait are not answered"""
    peer.send(1, Queue.Declare(queue="conf.nowait", exclusive=True, nowait=True),
              Queue.Bind(queue="conf.nowait", exchange="amq.direct", routing_key="k", nowait=True),
              Basic.Consume(queue="conf.nowait", consumer_tag="n", no_ack=True, nowait=True))
    peer.put("k", b"x", exchange="amq.direct")
    assert peer.delivered()[2] == b"x"


# ---- the rest ----

def test_direct_reply(peer, another):
    """direct reply-to: an answer to amq.rabbitmq.reply-to.* reaches the channel that asked"""
    service = another()
    service.queue("conf.service", exclusive=False, auto_delete=True)
    service.consume("conf.service")
    peer.consume("amq.rabbitmq.reply-to")
    peer.put("conf.service", b"6 * 7", reply_to="amq.rabbitmq.reply-to", correlation_id="1")
    to = service.delivered()[1].reply_to
    assert to.startswith("amq.rabbitmq.reply-to.")
    service.put(to, b"42", correlation_id="1")
    method, properties, body = peer.delivered()
    assert (body, properties.correlation_id, method.exchange, method.routing_key) == (b"42", "1", "", to)


def test_tx(peer, another):
    """tx: nothing is seen before commit, rollback forgets publishes and settlements"""
    watcher = another()
    watcher.queue("conf.tx", exclusive=False)
    peer.call(Tx.Select())
    peer.put("conf.tx", b"1")
    assert watcher.get("conf.tx", timeout=0.1) is None
    peer.call(Tx.Rollback())
    peer.put("conf.tx", b"2")
    peer.call(Tx.Commit())
    method, _, body = peer.get("conf.tx", no_ack=False)
    assert body == b"2"
    peer.send(1, Basic.Ack(method.delivery_tag))
    peer.call(Tx.Rollback())
    peer.send(1, Basic.Ack(method.delivery_tag))
    peer.call(Tx.Commit())
    assert watcher.call(Queue.Delete(queue="conf.tx")).message_count == 0


@pytest.mark.parametrize("end", ["channel", "error", "connection"])
@pytest.mark.parametrize("settle", [Basic.Ack, Basic.Nack, Basic.Reject])
def test_uncommitted_settlements(peer, another, settle, end):
    """tx: what was acknowledged or rejected but not committed goes back when its channel or connection ends"""
    name, other = peer.queue(f"conf.tx.{end}", exclusive=False), another()
    other.put(name, b"x")
    peer.call(Tx.Select())
    method = peer.get(name, no_ack=False)[0]
    peer.send(1, settle(method.delivery_tag) if settle is Basic.Ack else settle(method.delivery_tag, requeue=False))
    assert other.count(name) == 0
    if end == "channel":
        peer.call(Channel.Close(200, "", 0, 0))
    elif end == "error":
        peer.send(1, Queue.Declare(queue="conf.nowhere", passive=True))
        peer.channel_closed(404)
    else:
        peer.socket.close()
    again = other.get(name)
    other.call(Queue.Delete(queue=name))
    assert again[2] == b"x" and again[0].redelivered


def test_confirm_select_twice(peer):
    """confirm.select may be repeated"""
    peer.call(Confirm.Select())
    peer.call(Confirm.Select())


def test_flow_on(peer):
    """channel.flow on is answered"""
    assert peer.call(Channel.Flow(True)).active is True


def test_vhosts_are_apart(broker, peer, another):
    """a queue of one vhost is not there in another"""
    broker.define("conf-eve", vhost="conf-vhost")
    peer.queue("conf.apart")
    other = another(vhost="conf-vhost", response="\0conf-eve\0secret")
    other.send(1, Queue.Declare(queue="conf.apart", passive=True))
    other.channel_closed(404)


def test_permissions(broker, connect):
    """configure, write and read patterns: outside of them 403"""
    broker.define("conf-bob", configure="^bob\\.", write="^(bob\\.|amq\\.default$)", read="^bob\\.")
    peer = connect().open(response="\0conf-bob\0secret")
    peer.queue("bob.q")
    for method in (Queue.Declare(queue="alice.q"), Queue.Bind(queue="bob.q", exchange="amq.fanout"),
                   Basic.Get(queue="alice.q"), Exchange.Declare(exchange="alice.x", type="fanout")):
        peer.send(1, method)
        peer.channel_closed(403)
    peer.put("k", b"x", exchange="amq.fanout")
    peer.channel_closed(403)


@pytest.fixture
def alarm(broker, request):
    if request.param == "memory" and os.environ.get("SLUICE_SANITIZED"):
        pytest.skip("what a sanitizer takes of memory is beyond what the alarm is set to")
    made = broker.alarm(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("alarm", ["disk", "memory"], indirect=True)
def test_blocked(alarm, connect):
    """connection.blocked at a publish while an alarm is on, unblocked when it is gone; consuming goes on"""
    publisher, consumer = (connect(alarm.port).open(capabilities=["connection.blocked"]) for _ in range(2))
    name = consumer.queue("conf.blocked", exclusive=False)
    publisher.confirming().sure(name, b"before")
    alarm.on()
    tag, got = 1, None
    while not isinstance(got, Connection.Blocked):  # connections are told a moment later
        publisher.put(name, b"during")
        tag, got = tag + 1, publisher.expect((Connection.Blocked, Basic.Ack, Basic.Nack))
    assert consumer.get(name)[2] == b"before" and publisher.quiet()
    alarm.off()
    publisher.expect(Connection.Unblocked)
    publisher.expect(Basic.Ack, delivery_tag=tag)
    assert consumer.get(name)[2] == b"during"
    consumer.call(Queue.Delete(queue=name))


def test_delivery_mode(peer):
    """persistent and transient messages arrive with their delivery mode"""
    name = peer.queue()
    for mode in (1, 2):
        peer.put(name, b"x", delivery_mode=mode)
        assert peer.get(name)[1].delivery_mode == mode


# ---- policies ----

@pytest.fixture
def policy(broker):
    """Defines a policy, or an operator policy, by the management API, for the time of the test."""
    made = []

    def define(name, pattern, kind="policies", priority=0, apply_to="queues", **definition):
        made.append(f"{kind}/%2F/{name}")
        broker.put(made[-1], **{"pattern": pattern, "priority": priority, "apply-to": apply_to,
                                "definition": {key.replace("_", "-"): value for key, value in definition.items()}})
    yield define
    for path in made:
        broker.ask("DELETE", path)


def holds_one(peer, name):
    """Whether the queue drops its head when there is a second message; the policy may need a moment to get there."""
    peer.call(Queue.Purge(queue=name))
    peer.sure(name, b"1")
    peer.sure(name, b"2")
    return peer.count(name) == 1


def test_policies(peer, policy):
    """a policy sets what its pattern names, of queues that are there and of those that come; without it all is as before"""
    peer.confirming()
    before, other = peer.queue("conf.policy.before"), peer.queue("conf.none")
    policy("conf", r"^conf\.policy\.", max_length=1)
    after = peer.queue("conf.policy.after")
    wait(lambda: holds_one(peer, before) and holds_one(peer, after))
    assert not holds_one(peer, other)


def test_policy_priority(peer, policy):
    """of the policies that match only the one of highest priority applies, and besides it one operator policy: the smaller limit"""
    peer.confirming()
    name = peer.queue("conf.policy")
    policy("conf-low", r"^conf\.policy$", priority=1, max_length=1)
    policy("conf-high", r"^conf\.policy$", priority=2, max_length=100)
    wait(lambda: not holds_one(peer, name))
    policy("conf-operator", r"^conf\.policy$", kind="operator-policies", max_length=1)
    wait(lambda: holds_one(peer, name))


def test_policy_of_an_exchange(peer, policy):
    """a policy gives an exchange its alternate-exchange, unless it has one of its own"""
    policy("conf-alternate", r"^conf\.source", apply_to="exchanges", alternate_exchange="conf.lost")
    lost, own = peer.queue(), peer.queue()
    bind(peer, lost, exchange(peer, "conf.lost", "fanout"))
    bind(peer, own, exchange(peer, "conf.lost.own", "fanout"))
    bind(peer, own, exchange(peer, "conf.source", "direct"), "never")
    bind(peer, own, exchange(peer, "conf.source.own", "direct", alternate="conf.lost.own"), "never")

    def arrives(source, where):
        peer.put("nobody", b"x", exchange=source)
        return peer.get(where, timeout=0.5) is not None
    wait(lambda: arrives("conf.source", lost))
    wait(lambda: arrives("conf.source.own", own))


# ---- over a restart; the last, since it ends the connections of others ----

def test_what_a_restart_forgets(broker, connect):
    """over a kill: durable queues stay with their persistent messages, queues that are not durable do not"""
    peer = connect().open().confirming()
    peer.queue("conf.stays", exclusive=False, durable=True)
    peer.queue("conf.goes", exclusive=False)
    for name in ("conf.stays", "conf.goes"):
        peer.sure(name, b"x", delivery_mode=2)
    broker.server.kill()
    broker.server.start()
    peer = connect().open()
    assert peer.get("conf.stays")[2] == b"x"
    peer.call(Queue.Delete(queue="conf.stays"))
    peer.send(1, Queue.Declare(queue="conf.goes", passive=True))
    peer.channel_closed(404)
