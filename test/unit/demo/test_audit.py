"""The audit must pass a flawless run, and fail each flaw by the line that names it."""

import random
import unittest

import audit
from audit import Click, Entry, Request

TOTAL, LIMIT = 20, 5
SECOND = audit.SECOND_NS


def flawless():
    """20 vouchers: member m5 is refused for good, and m20 gets its number, 6."""
    ledger, record, entries = [], [], []
    for i in range(TOTAL + 1):
        member, receipt, number = f"m{i}", f"r{i}", i + 1 if i < TOTAL else 6
        ledger.append(Click(i, member, "won", 202, "", receipt, number, 0, 10, 1))
        status = 422 if i == 5 else 200
        record.append(Request(i * SECOND // LIMIT, receipt, 1, status, member))
        entries.append(Entry(member, receipt, number, "failed" if i == 5 else "sent"))
    ledger.append(Click(21, "m30", "soldOut", 410, "sold-out", "", 0, 0, 10, 1))
    ledger.append(Click(22, "m3", "claimed", 409, "already-claimed", "r3", 4, 0, 10, 2))
    return ledger, record, entries


def failing(ledger, record, entries):
    rows = audit.audit(ledger, record, entries, 23, TOTAL, LIMIT)
    return {row.check.strip() for row in rows if row.ok is False}


class Audit(unittest.TestCase):
    def setUp(self):
        self.ledger, self.record, self.entries = flawless()

    def assert_fails(self, *words):
        found = failing(self.ledger, self.record, self.entries)
        for word in words:
            self.assertTrue(any(word in line for line in found), (word, found))

    def test_flawless(self):
        self.assertEqual(failing(self.ledger, self.record, self.entries), set())

    def test_lost_entry(self):
        del self.record[7]
        self.assert_fails("accepted entries sent", "vouchers sent", "1..20")

    def test_unanswered_click(self):
        del self.ledger[21]
        self.assert_fails("clicks answered")

    def test_sent_out_of_nowhere(self):
        self.record.append(Request(9 * SECOND, "r99", 1, 200, "m99"))
        self.assert_fails("sent without", "vouchers sent")

    def test_two_vouchers_for_one_member(self):
        self.record.append(Request(9 * SECOND, "r77", 1, 200, "m7"))
        self.assert_fails("two vouchers", "two Idempotency-Keys")

    def test_repeat_under_the_same_key_is_no_second_effect(self):
        self.record.append(Request(9 * SECOND, "r7", 2, 200, "m7"))
        self.assertEqual(failing(self.ledger, self.record, self.entries), set())

    def test_same_number_twice(self):
        self.ledger[8] = self.ledger[8]._replace(number=8)
        self.assert_fails("1..20", "receipt and number")

    def test_oversold(self):
        self.ledger[20] = self.ledger[20]._replace(number=21)
        self.assert_fails("highest number", "1..20", "refused vouchers")

    def test_refused_voucher_not_issued_again(self):
        del self.record[20], self.ledger[20], self.entries[20]
        self.assert_fails("refused vouchers", "1..20", "vouchers sent", "one more for each refused")

    def test_yes_twice(self):
        self.ledger[22] = self.ledger[22]._replace(answer="won")
        self.assert_fails("told yes twice")

    def test_other_receipt_on_the_second_click(self):
        self.ledger[22] = self.ledger[22]._replace(receipt="r999")
        self.assert_fails("two different receipts")

    def test_before_the_opening(self):
        self.ledger[0] = self.ledger[0]._replace(answered_us=-1)
        self.assert_fails("before the opening")

    def test_too_fast(self):
        self.record[10] = self.record[10]._replace(time_ns=self.record[9].time_ns)
        self.record[9] = self.record[9]._replace(time_ns=self.record[8].time_ns)
        self.record[11] = self.record[11]._replace(time_ns=self.record[9].time_ns + 1)
        self.record[12] = self.record[12]._replace(time_ns=self.record[9].time_ns + 2)
        self.assert_fails("any second")

    def test_limited(self):
        self.record.append(Request(9 * SECOND, "r8", 1, 429, "m8"))
        self.assert_fails("429")

    def test_server_forgets(self):
        del self.entries[4]
        self.assert_fails("server's own list")

    def test_server_disagrees_about_the_end(self):
        self.entries[4] = self.entries[4]._replace(state="failed")
        self.assert_fails("sent, by server", "refused, by server")


class MostInASecond(unittest.TestCase):
    def test_as_by_hand(self):
        rng = random.Random(4)
        for _ in range(200):
            times = [rng.randrange(4 * SECOND) // 10**7 * 10**7 for _ in range(rng.randrange(60))]
            by_hand = max((sum(0 <= t - start < SECOND for t in times) for start in times), default=0)
            self.assertEqual(audit.most_in_a_second(times), by_hand)


if __name__ == "__main__":
    unittest.main()
