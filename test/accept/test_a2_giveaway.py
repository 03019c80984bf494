"""A2, gift-voucher giveaway (reduced): opens on the second, one per member, ends when the target is used up; a provider that
allows so many a second, fails now and then, refuses some for good; the server is killed in the middle. Afterwards the
clients' answers are compared with what the provider saw."""
import datetime
import random
import time

from support.crowd import in_parallel
from support.wait import until

VOUCHERS, SAFETY, MEMBERS, LIMIT = 220, 20, 600, 200
FOR_SALE = VOUCHERS - SAFETY


def provider_of(member):
    """What the provider thinks of a member, the same at every attempt."""
    return "refuses" if member % 50 == 7 else "stumbles" if member % 20 == 3 else "takes"


def answer(seen, times):
    fate = provider_of(int(seen.json["member"].split("-")[1]))
    if fate == "refuses":
        return 422
    return 503 if fate == "stumbles" and times == 0 else 200


def define_all(client, url):
    client.define("destinations", "sms", url=url, allowPrivateAddresses=True, timeout="60s",
                  rateLimits={"maxDispatchesPerSecond": LIMIT, "mode": "strict", "maxConcurrentDispatches": 32})
    client.define("queues", "vouchers", destination="sms",
                  retryConfig={"minBackoff": "0.1s", "maxBackoff": "0.5s", "maxAttempts": 20})
    client.define("stocks", "vouchers", total=VOUCHERS, onSale=True)


def open_in(client, **when):
    opens_at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**when)
    client.define("campaigns", "giveaway", stock="vouchers", queue="vouchers", memberPointer="/member",
                  safetyStock=SAFETY, opensAt=opens_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                  onFailure="release")


class Crowd:
    """Members who press the button until they are answered, and keep what they were told."""

    def __init__(self, client):
        self.client, self.receipts, self.numbers, self.refused = client, {}, {}, {}

    def press(self, number):
        member = f"member-{number}"
        while True:
            try:
                reply = self.client.enter("giveaway", member, survey=[1, 4, 2])
            except OSError:
                self.client.close()
                time.sleep(0.05)  # the server is away; whether the entry counts is not known
                continue
            except Exception:  # half an answer
                self.client.close()
                continue
            if reply.status == 503 or reply.status == 425:
                time.sleep(0.02)
                continue
            self.keep(member, reply)
            return

    def keep(self, member, reply):
        if reply.status == 202 or (reply.status == 409 and reply.problem == "already-claimed"):
            receipt = reply.json["receipt"]
            assert self.receipts.setdefault(member, receipt) == receipt, "another receipt for the same member"
        else:
            self.refused[member] = reply.problem

    def rush(self, numbers):
        in_parallel(self.press, numbers, threads=24)


def settled(client):
    stats = client.queue("vouchers")["stats"]
    return sum(stats[name] for name in ("ready", "delayed", "inFlight", "blocked")) == 0


def entries(client):
    listed, token = [], ""
    while True:
        page = client.get(f"/v1/campaigns/giveaway/entries?page_size=100{token}").json
        listed += page["entries"]
        if not page.get("nextPageToken"):
            return listed
        token = f"&page_token={page['nextPageToken']}"


def test_giveaway(make_server, make_provider):
    provider = make_provider(answer, delay=0.01)
    server = make_server().start()
    client = server.client
    define_all(client, provider.url)
    open_in(client, hours=1)

    early = client.enter("giveaway", "member-0")
    assert (early.status, early.problem) == (425, "not-open-yet") and "Retry-After" in early.headers
    open_in(client, seconds=0.5)

    crowd = Crowd(client)
    first_wave = list(range(MEMBERS // 2)) * 2  # everybody presses twice
    random.Random(2).shuffle(first_wave)
    import threading
    killer = threading.Thread(target=lambda: (time.sleep(1.6), server.kill(), server.start()))
    killer.start()
    crowd.rush(first_wave)
    killer.join()
    assert "sold-out" in crowd.refused.values()

    # What was refused for good comes back into stock and is won by others, until everything is sent.
    for _ in range(10):
        until(lambda: settled(client), 30, "an empty queue")
        if client.stock("vouchers")["stats"]["used"] == FOR_SALE:
            break
        crowd.rush(range(MEMBERS))

    audit(client, crowd, provider)


def audit(client, crowd, provider):
    stats = client.stock("vouchers")["stats"]
    assert stats["used"] == FOR_SALE, "target used up, safety stock untouched"

    listed = entries(client)
    by_member = {entry["member"]: entry for entry in listed}
    assert len(by_member) == len(listed), "one entry per member"
    for member, receipt in crowd.receipts.items():
        assert by_member[member]["receipt"] == receipt, f"{member} was told {receipt}"
    assert set(by_member) == set(crowd.receipts), "everybody who is in was told so"

    sent = [entry for entry in listed if entry["state"] == "sent"]
    failed = [entry for entry in listed if entry["state"] == "failed"]
    assert len(sent) == FOR_SALE and len(sent) + len(failed) == len(listed)
    assert sorted(entry["number"] for entry in sent) == list(range(1, FOR_SALE + 1)), "winners are 1..N without a gap"

    effects = [seen.json["member"] for seen in provider.effects.values()]
    assert sorted(effects) == sorted(entry["member"] for entry in sent), "each winner had it once in effect"
    assert all(provider_of(int(entry["member"].split("-")[1])) == "refuses" for entry in failed)
    assert provider.most_in_any(1.0) <= LIMIT
