#!/usr/bin/python3
"""Our codec and that of a public client (pika) say the same of the same bytes, both ways.

Random methods, content headers and bodies are encoded by pika, read and written anew by codec_peer.c: what it read must be what was
meant, what it wrote must be the same bytes, and tables that our writer built must read the same with pika.

Usage: test_codec.py <codec_peer> <generate.py> <definition> [count [seed]]
"""
import datetime
import decimal
import importlib.util
import inspect
import json
import math
import random
import struct
import subprocess
import sys

from pika import data, frame, spec
from pika.compat import long

BODY_MAX = 20000
OTHER_NAMES = {"failed-class": "class-id", "failed-method": "method-id", "global": "global-qos"}  # ours: pika's


def parse_definition(generate, definition):
    module_spec = importlib.util.spec_from_file_location("generate", generate)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module.parse(definition)[1]


# ---- what is sent ----

def random_text(rng, most):
    size = rng.choice((0, 1, rng.randint(0, 20), rng.randint(0, most)))
    return "".join(rng.choice("aZ0._-/é☃ \0\n") for _ in range(size)).encode()[:most].decode(errors="ignore")


def random_value(rng, depth):
    scalars = [
        lambda: rng.random() < 0.5,
        lambda: rng.choice((0, -1, 2**31 - 1, -2**31, rng.randint(-2**31, 2**31 - 1))),
        lambda: long(rng.choice((0, 2**63 - 1, rng.randint(0, 2**63 - 1)))),
        lambda: rng.randint(2**31, 2**63 - 1),
        lambda: decimal.Decimal(rng.randint(-2**31, 2**31 - 1)).scaleb(-rng.randint(0, 9)).normalize(),
        lambda: datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=rng.randint(0, 2**33)),
        lambda: random_text(rng, 300),
        lambda: rng.randbytes(rng.randint(0, 300)),
        lambda: None,
    ]
    if depth > 0 and rng.random() < 0.3:
        if rng.random() < 0.5:
            return random_table(rng, depth - 1)
        return [random_value(rng, depth - 1) for _ in range(rng.randint(0, 5))]
    return rng.choice(scalars)()


def random_table(rng, depth=4):
    names = (random_text(rng, 255).replace("\0", "") for _ in range(rng.choice((0, 1, 3, 12))))  # our writer takes C strings
    return {name: random_value(rng, depth) for name in names}


def random_field(rng, kind):
    widths = {"octet": 8, "short": 16, "long": 32, "longlong": 64, "timestamp": 64}
    if kind == "bit":
        return rng.random() < 0.5
    if kind in widths:
        return rng.choice((0, 2**widths[kind] - 1, rng.getrandbits(widths[kind])))
    if kind == "table":
        return random_table(rng)
    return random_text(rng, 255 if kind == "shortstr" else 3000)


def random_method(rng, method, kind):
    """(arguments by their name in the definition, pika's method)"""
    unused = {"bit": False, "shortstr": "", "longstr": ""}
    names = list(inspect.signature(kind.__init__).parameters)[1:]
    assert len(names) == len(method.fields), f"{kind.NAME}: {names} and {method.fields}"
    said, arguments = {}, {}
    for (name, field), theirs in zip(method.fields, names):
        arguments[theirs] = unused.get(field, 0) if name == "-" else random_field(rng, field)
        if name != "-":
            assert theirs.replace("_", "") == OTHER_NAMES.get(name, name).replace("-", ""), f"{kind.NAME}: {theirs} is {name}?"
            said[name] = arguments[theirs]
    return said, kind(**arguments)


def random_header(rng, properties):
    chosen = {name: random_field(rng, kind) for name, kind in properties if rng.random() < 0.4 and name != "cluster-id"}
    return chosen, spec.BasicProperties(**{name.replace("-", "_"): value for name, value in chosen.items()})


# ---- what must be heard ----

def heard_value(value):
    """As codec_peer.c prints it; None: no letter for it."""
    if isinstance(value, bool):
        return "t", value
    if isinstance(value, long) or (isinstance(value, int) and not -2**31 <= value < 2**31):
        return "l", int(value)
    if isinstance(value, int):
        return "I", value
    if isinstance(value, decimal.Decimal):
        scale = max(0, -value.as_tuple().exponent)
        return "D", [scale, int(value.scaleb(scale)) % 2**32]
    if isinstance(value, datetime.datetime):
        return "T", int((value - datetime.datetime(1970, 1, 1)).total_seconds())
    if isinstance(value, str):
        return "S", value.encode().hex()
    if isinstance(value, bytes):
        return "x", value.hex()
    if isinstance(value, dict):
        return "F", heard_table(value)
    if isinstance(value, list):
        return "A", [["", *heard_value(item)] for item in value]
    return "V", None


def heard_table(table):
    return [[name.encode().hex(), *heard_value(value)] for name, value in table.items()]


def heard(value):
    if isinstance(value, dict):
        return heard_table(value)
    return value.encode().hex() if isinstance(value, str) else value


def tables_of(said):
    return [value for value in said.values() if isinstance(value, dict)]


def same(ours, theirs, what):
    if ours != theirs:
        sys.exit(f"{what}:\n  read  {ours}\n  meant {theirs}")


def check(answer, said, channel, sent, what):
    """One frame, but for bodies."""
    if "error" in answer:
        sys.exit(f"{what}: refused with {answer['error']}: {sent.hex()}")
    same(answer["fields"], {name: heard(value) for name, value in said.items()}, what)
    same(answer["channel"], channel, what)
    same(answer["again"], sent.hex(), what + ", written anew")
    for built, table in zip(answer["tables"], tables_of(said), strict=True):
        read, end = data.decode_table(bytes.fromhex(built), 0)
        same(end, len(built) // 2, what + ", a table's length")
        same(read, table, what + ", a table of ours read by pika")


def check_body(answer, body, channel):
    rest, whole = bytes.fromhex(answer["again"]), b""
    while rest:
        used, got = frame.decode_frame(rest)
        assert isinstance(got, frame.Body) and got.channel_number == channel and used <= spec.FRAME_MIN_SIZE, got
        rest, whole = rest[used:], whole + got.fragment
    same(whole, body, "a body")


# ---- doubles: pika writes none, and reads them as whole numbers ----

def check_doubles(peer, rng):
    def table(value):
        entry = b"\1x" + b"d" + struct.pack(">d", value)
        return struct.pack(">I", len(entry)) + entry
    values = [0.0, -0.5, 1e300, math.pi, rng.uniform(-1e9, 1e9)]
    start = struct.pack(">IBB", 0x000a000a, 0, 9)
    frames = [b"\1" + struct.pack(">HI", 0, len(payload)) + payload + b"\xce"
              for payload in (start + table(value) + struct.pack(">II", 0, 0) for value in values)]
    for value, answer in zip(values, exchange(peer, frames), strict=True):
        same(answer["fields"]["server-properties"], [["78", "d", value]], "a double")
        same(answer["tables"], [table(value).hex()], "a double, built anew")
        same(data.decode_table(bytes.fromhex(answer["tables"][0]), 0)[0], {"x": int(value)}, "a double of ours read by pika")


def exchange(peer, frames):
    text = b"".join(struct.pack(">I", len(sent)) + sent for sent in frames)
    result = subprocess.run([peer], input=text, capture_output=True, timeout=300)
    assert result.returncode == 0, result.stderr.decode(errors="replace")[-3000:]
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) == len(frames), f"{len(answers)} answers to {len(frames)} frames"
    return answers


def main():
    peer, generate, definition = sys.argv[1:4]
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 6000
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else random.SystemRandom().randrange(10**9)
    print(f"seed {seed}", flush=True)
    rng, classes = random.Random(seed), parse_definition(generate, definition)
    methods = [(m, spec.methods[m.owner["id"] << 16 | m.number]) for c in classes for m in c["methods"]
               if m.owner["id"] << 16 | m.number in spec.methods]
    properties = next(c["properties"] for c in classes if c["properties"])
    sent, checks = [], []
    for number in range(count):
        channel = rng.choice((0, 1, 65535))
        if number % 10 == 0:
            body = rng.randbytes(rng.choice((0, 1, 4088, 4089, rng.randint(0, BODY_MAX))))
            sent.append(frame.Body(channel, body).marshal())
            checks.append(lambda answer, _, body=body, channel=channel: check_body(answer, body, channel))
            continue
        if number % 10 < 3:
            said, theirs = random_header(rng, properties)
            what, bytes_ = "a header", frame.Header(channel, rng.getrandbits(63), theirs).marshal()
        else:
            method, kind = methods[number % len(methods)]
            said, theirs = random_method(rng, method, kind)
            what, bytes_ = kind.NAME, frame.Method(channel, theirs).marshal()
        sent.append(bytes_)
        checks.append(lambda answer, bytes_, said=said, channel=channel, what=what:
                      check(answer, said, channel, bytes_, what))
    for answer, bytes_, check_one in zip(exchange(peer, sent), sent, checks, strict=True):
        check_one(answer, bytes_)
    check_doubles(peer, rng)
    print(f"{count} frames, {len(methods)} methods, {sum(map(len, sent))} bytes: the same")


if __name__ == "__main__":
    main()
