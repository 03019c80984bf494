"""A second reader of the log, by docs/format/log.md alone and without a line of the program: what the document says must be enough
to read a data folder."""
import dataclasses
import struct

HEADER = struct.Struct("<8sIIQQQ20sI")
RECORD = struct.Struct("<IIQQIIHHI")
FACT = struct.Struct("<HHI")
MASK = (1 << 64) - 1


def crc_table():
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        yield n


TABLE = tuple(crc_table())


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


@dataclasses.dataclass
class Fact:
    kind: int
    version: int
    payload: bytes


@dataclasses.dataclass
class Record:
    position: int
    time_ns: int
    address: int
    facts: list


def facts_of(data):
    at = 0
    while at < len(data):
        kind, version, length = FACT.unpack_from(data, at)
        at += FACT.size
        assert at + length <= len(data), "the facts fill the record exactly"
        yield Fact(kind, version, data[at:at + length])
        at += length


def segment_records(path):
    """The records of one segment up to its end mark; every checksum is looked at."""
    data = path.read_bytes()
    magic, version, number, first, _, folder, _, crc = HEADER.unpack_from(data)
    assert (magic, version) == (b"SLUICE\x01L", 1), path
    assert crc == crc32c(data[:60]) and first == int(path.stem, 16), path
    seed = mix(folder ^ mix(number)) & 0xFFFFFFFF
    at = HEADER.size
    while at + 4 <= len(data):
        length = int.from_bytes(data[at:at + 4], "little")
        if length == 0:
            return
        _, crc, position, time_ns, _, _, count, _, _ = RECORD.unpack_from(data, at)
        assert crc == crc32c(data[at + 8:at + length], seed), (path, at)
        facts = list(facts_of(data[at + RECORD.size:at + length]))
        assert len(facts) == count, (path, at)
        yield Record(position, time_ns, number << 32 | at, facts)
        at += length


def records(folder):
    """All records of a data folder, in order."""
    for path in sorted((folder / "log").glob("*.seg")):
        yield from segment_records(path)


def snapshot_sections(path):
    """(format of the file, format of the model's part, {module: version}) by docs/format/snapshot.md."""
    data = path.read_bytes()
    assert data[:8] == b"SLUICE\x01S" and data[-8:] == b"SLUICEnd", path
    size = int.from_bytes(data[-16:-8], "little")
    model = data[48:48 + size]
    assert model[:8] == b"SLUICE\x01M" and model[-8:] == b"SLUICE\x01E", path
    at, length = struct.unpack_from("<QQ", model, len(model) - 32)
    index, versions, done = model[at:at + length], {}, 0
    while done < length:
        module, version, _, _, chunks = struct.unpack_from("<IIQQI", index, done)
        versions[module] = version
        done += 28 + 8 * chunks
    return int.from_bytes(data[8:12], "little"), int.from_bytes(model[8:12], "little"), versions
