"""The other half of powercut.c: after a kill, takes back what was not flushed, as the journal tells it.

For each file the sectors that were written since its last flush may each be as before any of these writes or as
after the last; its size and the names in a folder likewise. Which, is drawn from a seed, in one of the manners of
Loss.
"""
import collections
import contextlib
import enum
import os
import pathlib
import shutil
import struct

SECTOR = 512
START = 4096
HEAD = struct.Struct("<IIQQQQII")


class Kind(enum.IntEnum):
    WRITE, SIZE, CREATE, RENAME, UNLINK, MKDIR, FLUSH, FLUSH_DIR = range(1, 9)


class Loss(enum.Enum):
    DROP = "drop"        # nothing of it arrived
    TEAR = "tear"        # of each file and folder what came first
    SCATTER = "scatter"  # any sectors, any names
    KEEP = "keep"        # all of it, as after a kill


class Record:
    __slots__ = ("at", "kind", "inode", "a", "b", "c", "names", "payload")

    def __init__(self, journal, at):
        size, kind, self.inode, self.a, self.b, self.c, name_bytes, payload_bytes = HEAD.unpack_from(journal, at)
        self.at, self.kind = at, Kind(kind)
        start = at + HEAD.size
        names = journal[start:start + name_bytes].decode()
        self.names = names.split("\0") if names else []
        self.payload = journal[start + name_bytes:start + name_bytes + payload_bytes]

    def __repr__(self):
        return f"<{self.at}: {self.kind.name} {self.inode} {self.a} {self.b} {self.c} {self.names}>"


class PowerCut:
    """`folder` holds data/, which the server gets; journal and graveyard stand beside it."""

    def __init__(self, folder, library, root=None):
        self.folder, self.library = pathlib.Path(folder), library
        self.root = pathlib.Path(root or self.folder / "disk")
        self.journal_path = self.folder / "journal"
        self.graveyard = self.folder / "graveyard"
        self.root.mkdir(parents=True, exist_ok=True)
        self.figures = collections.Counter()
        self.renew()

    def environment(self, rng, cut_at=0, flush_us=3000):
        return {"LD_PRELOAD": str(self.library), "POWERCUT_ROOT": str(self.root),
                "POWERCUT_JOURNAL": str(self.journal_path), "POWERCUT_GRAVEYARD": str(self.graveyard),
                "POWERCUT_SEED": str(rng.getrandbits(60)), "POWERCUT_AT": str(cut_at),
                "POWERCUT_FLUSH_US": str(flush_us)}

    def renew(self):
        """From here on what is on the disk counts as flushed."""
        self.journal_path.unlink(missing_ok=True)
        shutil.rmtree(self.graveyard, ignore_errors=True)
        self.graveyard.mkdir(parents=True)

    def records(self):
        if not self.journal_path.exists():
            return []
        with open(self.journal_path, "rb") as file:
            magic, end, _ = struct.unpack("<8sQQ", file.read(24).ljust(24, b"\0"))
            if end == 0:
                return []  # killed before it had begun the journal, and so before any change
            assert magic == b"PWRCUT01", magic
            file.seek(0)
            journal = file.read(end)
        records, at = [], START
        while at < end:
            records.append(Record(journal, at))
            at += HEAD.unpack_from(journal, at)[0]
        return records

    def arm(self, changes):
        """The power goes by itself at that change from now on."""
        with open(self.journal_path, "r+b") as file:
            now = struct.unpack("<8sQQ", file.read(24))[2]
            file.seek(24)
            file.write(struct.pack("<Q", now + changes))

    def survive(self):
        """The server was killed, the power stayed: what was not flushed is there, and still not flushed."""
        records = self.records()
        if records and records[-1].names and not happened(records[-1]):
            with open(self.journal_path, "r+b") as file:
                file.seek(8)
                file.write(struct.pack("<Q", records[-1].at))

    def cut(self, rng, loss):
        """The server is dead. Afterwards the folder is what a disk without power would have kept."""
        records = self.records()
        self.figures["changes"] += len(records)
        if loss != Loss.KEEP:
            lose_bytes(self, records, rng, loss)
            lose_names(self, records, rng, loss)
        self.figures["cuts"] += 1
        self.renew()


# ---- bytes ----

def unflushed_bytes(records):
    """inode -> its writes and changes of size that no flush covers."""
    flushed, pending = {}, collections.defaultdict(list)
    for record in records:
        if record.kind == Kind.FLUSH:
            flushed[record.inode] = max(flushed.get(record.inode, 0), record.a)
    for record in records:
        if record.kind in (Kind.WRITE, Kind.SIZE) and record.at >= flushed.get(record.inode, 0):
            pending[record.inode].append(record)
    return pending


def how_many(rng, loss, count):
    """How many of `count` versions in a row arrived."""
    return 0 if loss == Loss.DROP else rng.randint(0, count)


def inode_paths(*folders):
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                found[path.stat().st_ino] = path
    return found


def lose_bytes(power, records, rng, loss):
    paths = inode_paths(power.root, power.graveyard)
    for inode, pending in unflushed_bytes(records).items():
        if inode in paths:  # else it never came to be
            with open(paths[inode], "r+b") as file:
                lose_in_file(power.figures, file, pending, rng, loss)


def sectors_of(record):
    """(sector, what stood there) of a write or of what was cut off."""
    start = record.a if record.kind == Kind.WRITE else record.c
    payload = record.payload
    skip = -start % SECTOR  # a cut in the middle of a sector: its kept bytes are no version of their own
    for offset in range(skip, len(payload), SECTOR):
        yield (start + offset) // SECTOR, payload[offset:offset + SECTOR]


def lose_in_file(figures, file, pending, rng, loss):
    sizes = [record for record in pending if record.b != record.c]
    if loss == Loss.TEAR:  # the first changes of the file arrived, the rest did not; one of them by half
        arrived = rng.randint(0, len(pending))
        kept_sizes = sum(record.b != record.c for record in pending[:arrived])
    else:
        arrived = None
        kept_sizes = how_many(rng, loss, len(sizes))
    versions = collections.defaultdict(list)  # sector -> [(index of the change, bytes before it)]
    for index, record in enumerate(pending):
        for sector, before in sectors_of(record):
            versions[sector].append((index, before))
    torn_at = None
    if arrived is not None and arrived < len(pending) and pending[arrived].kind == Kind.WRITE:
        torn_at = rng.randint(0, len(pending[arrived].payload) // SECTOR)
    for sector, changes in versions.items():
        if arrived is None:
            keep = how_many(rng, loss, len(changes))
        else:
            keep = sum(index < arrived or (index == arrived and torn_at is not None and
                                           sector < pending[arrived].a // SECTOR + torn_at)
                       for index, _ in changes)
        if keep < len(changes):
            file.seek(sector * SECTOR)
            file.write(changes[keep][1])
            figures["sectors lost"] += 1
        else:
            figures["sectors kept"] += 1
    file.flush()
    os.ftruncate(file.fileno(), sizes[kept_sizes].b if kept_sizes < len(sizes) else pending[-1].c)


# ---- names ----

def unflushed_names(records):
    """folder -> its changes of names that no flush of it covers, in order."""
    flushed, pending = {}, collections.defaultdict(list)
    for record in records:
        if record.kind == Kind.FLUSH_DIR:
            flushed[record.names[0]] = max(flushed.get(record.names[0], 0), record.a)
    for record in records:
        if record.kind in (Kind.CREATE, Kind.RENAME, Kind.UNLINK, Kind.MKDIR):
            folders = {os.path.dirname(name) for name in record.names}
            assert len(folders) == 1, f"a rename from folder to folder: {record}"
            folder = folders.pop()
            if record.at >= flushed.get(folder, 0):
                pending[folder].append(record)
    return pending


def happened(record):
    """A kill may have come between the last record and its change."""
    if record.kind in (Kind.FLUSH, Kind.FLUSH_DIR):
        return True
    inode = inode_of(record.names[-1])
    if record.kind == Kind.UNLINK:
        return inode != record.inode
    return inode == record.inode


def inode_of(path):
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return None


def before(records):
    """name -> inode (None: nothing) before these changes, for each name that they touch."""
    names = {}
    for record in records:
        for name in record.names:
            if name in names:
                continue
            if record.kind == Kind.RENAME:
                names[name] = record.inode if name == record.names[0] else record.a or None
            else:
                names[name] = record.inode if record.kind == Kind.UNLINK else None
    return names


def apply(names, record):
    if record.kind == Kind.RENAME:
        names[record.names[0]] = None
        names[record.names[1]] = record.inode
    else:
        names[record.names[0]] = None if record.kind == Kind.UNLINK else record.inode


def kept_names(rng, loss, pending):
    if loss == Loss.SCATTER:
        return [record for record in pending if rng.random() < 0.5]
    return pending[:how_many(rng, loss, len(pending))]


def lose_names(power, records, rng, loss):
    unflushed = unflushed_names(records)
    for folder in sorted(unflushed, key=len, reverse=True):  # what is inside first
        pending = unflushed[folder]
        if not os.path.isdir(folder):
            continue
        if not happened(pending[-1]):
            pending = pending[:-1]
        kept = kept_names(rng, loss, pending)
        power.figures["names lost"] += len(pending) - len(kept)
        power.figures["names kept"] += len(kept)
        wanted = before(pending)
        for record in kept:
            apply(wanted, record)
        rename_all(power, wanted)


def rename_all(power, wanted):
    """Makes each name lead to its inode, or to nothing."""
    paths = inode_paths(power.root, power.graveyard)
    for inode in filter(None, wanted.values()):
        grave = power.graveyard / str(inode)
        if inode in paths and not grave.exists():
            os.link(paths[inode], grave)
    for name, inode in wanted.items():
        if inode_of(name) == inode:
            continue
        if os.path.isdir(name):
            shutil.rmtree(name)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        grave = power.graveyard / str(inode)
        if inode is not None and grave.exists():
            os.link(grave, name)
