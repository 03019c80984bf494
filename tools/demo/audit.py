#!/usr/bin/env python3
"""Audit of a giveaway from the outside.

Compares three witnesses who do not trust each other:

  ledger   what the crowd was answered        (sluice-demo-crowd --ledger)
  record   what the provider saw and answered (sluice-demo-provider --record)
  entries  what the server says now           (GET /v1/campaigns/{name}/entries)

The first two are written by other processes than the server, so a server that loses, repeats or
invents an entry cannot talk its way out. Prints a table; exit status 1 when a line of it fails.
"""

import argparse
import collections
import json
import sys
import urllib.parse
import urllib.request

Click = collections.namedtuple(
    "Click", "click member answer status type receipt number due_us answered_us tries")
Request = collections.namedtuple("Request", "time_ns key attempt status member")
Entry = collections.namedtuple("Entry", "member receipt number state")
Row = collections.namedtuple("Row", "check expected seen ok")

SECOND_NS = 1_000_000_000


def read_lines(path, row, numbers):
    """Rows of a tab-separated file; a torn last line is an error, not data."""
    with open(path, encoding="utf-8") as file:
        for line_number, line in enumerate(file, 1):
            fields = line.rstrip("\n").split("\t")
            if len(fields) != len(row._fields) or not line.endswith("\n"):
                raise ValueError(f"{path}:{line_number}: not a whole line")
            for i in numbers:
                fields[i] = int(fields[i] or 0)
            yield row(*fields)


def read_ledger(path):
    return list(read_lines(path, Click, (0, 3, 6, 7, 8, 9)))


def read_record(path):
    return list(read_lines(path, Request, (0, 2, 3)))


def entry_from(item):
    receipt = item.get("receipt", item.get("id", ""))
    if isinstance(receipt, dict):
        receipt = receipt.get("id", "")
    return Entry(item.get("member", ""), receipt, item.get("number", 0), item.get("state", ""))


def fetch_entries(server, campaign):
    """All pages of the server's own list."""
    token, entries = "", []
    while True:
        query = urllib.parse.urlencode({"page_size": 1000, **({"page_token": token} if token else {})})
        url = f"{server}/v1/campaigns/{campaign}/entries?{query}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            page = json.load(answer)
        entries += [entry_from(item) for item in page.get("entries", page.get("items", []))]
        token = page.get("nextPageToken", "")
        if not token:
            return entries


def most_in_a_second(times_ns):
    """Largest number of requests in any half-open second, wherever it starts."""
    times, first, most = sorted(times_ns), 0, 0
    for last, time_ns in enumerate(times):
        while time_ns - times[first] >= SECOND_NS:
            first += 1
        most = max(most, last - first + 1)
    return most


class Witnesses:
    """What the ledger and the record say about each member."""

    def __init__(self, ledger, record):
        self.receipts = collections.defaultdict(set)  # member -> {(receipt, number)}
        self.wins = collections.Counter()             # member -> answers 202
        for click in ledger:
            if click.answer in ("won", "claimed"):
                self.receipts[click.member].add((click.receipt, click.number))
            if click.answer == "won":
                self.wins[click.member] += 1
        self.issued = collections.defaultdict(collections.Counter)  # member -> key -> answers 200
        self.refused, self.keys = set(), collections.defaultdict(set)
        for request in record:
            self.keys[request.member].add(request.key)
            if request.status == 200:
                self.issued[request.member][request.key] += 1
            elif request.status == 422:
                self.refused.add(request.member)

    def number(self, member):
        return min(number for _, number in self.receipts[member])

    def numbers_sent(self):
        return sorted(self.number(m) for m in self.issued if m in self.receipts)

    def repeats(self):
        return sum(count - 1 for keys in self.issued.values() for count in keys.values())


def equal(check, expected, seen):
    return Row(check, f"{expected:,}", f"{seen:,}", expected == seen)


def at_most(check, expected, seen):
    return Row(check, f"<= {expected:,}", f"{seen:,}", seen <= expected)


def note(check, seen):
    return Row(check, "", seen, None)


def rows_of_answers(ledger, witnesses, clicks):
    unexpected = sum(c.answer in ("other", "closed") for c in ledger)
    early = sum(c.answer == "won" and c.answered_us < 0 for c in ledger)
    disagree = sum(len(answers) > 1 for answers in witnesses.receipts.values())
    blank = sum(not receipt or number <= 0
                for answers in witnesses.receipts.values() for receipt, number in answers)
    return [
        equal("clicks answered", clicks, len({c.click for c in ledger})),
        equal("answers that nobody can explain", 0, unexpected),
        equal("entries accepted before the opening", 0, early),
        equal("members told yes twice", 0, sum(n > 1 for n in witnesses.wins.values())),
        equal("winners with two different receipts", 0, disagree),
        equal("winners without receipt or number", 0, blank),
    ]


def rows_of_sending(witnesses, total):
    winners, issued, refused = set(witnesses.receipts), set(witnesses.issued), witnesses.refused
    return [
        equal("accepted entries sent, or refused for good", len(winners),
              len(winners & (issued | refused))),
        equal("winners: one a voucher, and one more for each refused", total + len(refused), len(winners)),
        equal("sent without an accepted entry", 0, len((issued | refused) - winners)),
        equal("both sent and refused", 0, len(issued & refused)),
        equal("vouchers sent", total, sum(len(keys) for keys in witnesses.issued.values())),
        equal("members with two vouchers", 0, sum(len(k) > 1 for k in witnesses.issued.values())),
        equal("members under two Idempotency-Keys", 0,
              sum(len(k) > 1 for k in witnesses.keys.values())),
    ]


def rows_of_numbers(witnesses, total):
    sent = witnesses.numbers_sent()
    holders = set(sent)
    numbers = [witnesses.number(m) for m in witnesses.refused if m in witnesses.receipts]
    highest = max((witnesses.number(m) for m in witnesses.receipts), default=0)
    gapless = sent == list(range(1, total + 1))
    return [
        Row(f"vouchers sent, numbered 1..{total:,}, each once", "no gap",
            "no gap" if gapless else f"{len(holders):,} in {len(sent):,}", gapless),
        at_most("highest number given out (nothing oversold)", total, highest),
        equal("refused vouchers that went to somebody else", len(numbers),
              sum(number in holders for number in numbers)),
    ]


def rows_of_pace(record, limit):
    return [
        at_most("most requests that the provider saw in any second", limit,
                most_in_a_second(r.time_ns for r in record)),
        equal("requests beyond the limit (429)", 0, sum(r.status == 429 for r in record)),
    ]


def rows_of_server(entries, witnesses):
    by_member = {e.member: e for e in entries}
    agree = sum((e.receipt, e.number) in witnesses.receipts.get(e.member, ()) for e in entries)
    sent = {e.member for e in entries if e.state == "sent"}
    failed = {e.member for e in entries if e.state == "failed"}
    return [
        equal("entries in the server's own list", len(witnesses.receipts), len(by_member)),
        equal("  with the receipt and number that the member was told", len(entries), agree),
        equal("  sent, by server and provider alike", len(witnesses.issued),
              len(sent & set(witnesses.issued)) if len(sent) == len(witnesses.issued) else len(sent)),
        equal("  refused, by server and provider alike", len(witnesses.refused),
              len(failed & witnesses.refused)
              if len(failed) == len(witnesses.refused) else len(failed)),
    ]


def rows_of_notes(ledger, record, witnesses):
    asked_again = sum(c.tries > 1 for c in ledger)
    failed = sum(r.status == 503 for r in record)
    return [
        note("clicks sent again after a lost or busy answer", f"{asked_again:,}"),
        note("attempts that the provider failed (503), retried", f"{failed:,}"),
        note("attempts repeated after a crash, absorbed by their key", f"{witnesses.repeats():,}"),
    ]


def audit(ledger, record, entries, clicks, total, limit):
    witnesses = Witnesses(ledger, record)
    rows = rows_of_answers(ledger, witnesses, clicks)
    rows += rows_of_sending(witnesses, total)
    rows += rows_of_numbers(witnesses, total)
    rows += rows_of_pace(record, limit)
    if entries is not None:
        rows += rows_of_server(entries, witnesses)
    return rows + rows_of_notes(ledger, record, witnesses)


def format_table(rows, colour=False):
    marks = {True: "ok", False: "FAIL", None: ""}
    paint = {True: "\x1b[32m", False: "\x1b[1;31m", None: ""} if colour else dict.fromkeys(marks, "")
    reset = "\x1b[0m" if colour else ""
    head = ("", "expected", "seen", "")
    cells = [head] + [(r.check, r.expected, r.seen, marks[r.ok]) for r in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    rule = "  " + "-" * (sum(widths) + 6)
    lines = [f"  {c:<{widths[0]}}  {e:>{widths[1]}}  {s:>{widths[2]}}  " for c, e, s, _ in cells]
    body = [line + (paint[row.ok] + marks[row.ok] + reset if row.ok is not None else "")
            for line, row in zip(lines[1:], rows)]
    return "\n".join(line.rstrip() for line in [lines[0], rule, *body, rule])


def passed(rows):
    return all(row.ok is not False for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ledger", required=True)
    parser.add_argument("--record", required=True)
    parser.add_argument("--server", help="also compare with its list, e.g. http://127.0.0.1:8080")
    parser.add_argument("--campaign", default="giveaway")
    parser.add_argument("--clicks", type=int, default=200_000)
    parser.add_argument("--total", type=int, default=10_000)
    parser.add_argument("--limit", type=int, default=500)
    args = parser.parse_args()
    entries = fetch_entries(args.server, args.campaign) if args.server else None
    rows = audit(read_ledger(args.ledger), read_record(args.record), entries,
                 args.clicks, args.total, args.limit)
    print(format_table(rows, sys.stdout.isatty()))
    return 0 if passed(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
