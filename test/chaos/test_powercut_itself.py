"""The imitation of power cuts is itself tested: it knows each call by which the server writes, stops at one that it
does not know, and loses what a disk may lose and nothing else."""
import os
import random
import re
import shutil
import subprocess
import sys
import time

import pytest

from rig.loads import ChurnLoad, EntryLoad, Pressure
from rig.power import Kind, Loss
from test_kill_rounds import define

# What changes files; each is replaced by powercut.c, or changes nothing that a power cut could take back.
JOURNALLED = {"pwrite64", "pwritev", "fallocate", "ftruncate", "rename", "unlink", "mkdir", "fsync", "fdatasync",
              "openat", "open"}
HARMLESS = {"pread64", "preadv", "read", "readv", "close", "fstat", "newfstatat", "statx", "stat", "lstat", "statfs",
            "fstatfs", "getdents64", "lseek", "flock", "access", "faccessat", "faccessat2", "readlink", "execve",
            "fcntl", "fadvise64", "chmod", "fchmod", "utimensat"}


def test_every_call_that_writes_is_known(chaos, make_hurt, tmp_path, small_log):
    """strace sees all that the server does in its data folder, with or without the C library."""
    if shutil.which("strace") is None:
        pytest.skip("no strace here (scripts/install-deps chaos)")
    server, trace = make_hurt(small_log), tmp_path / "trace"
    server.prefix = ["strace", "-f", "-qq", "-y", "-e", "trace=%file,%desc", "-o", str(trace)]
    try:
        server.start()
    except AssertionError:
        pytest.skip("nothing may be traced here")
    loads = [EntryLoad(), ChurnLoad()]
    define(loads, server.client)
    with Pressure(server, loads, chaos.rng):
        time.sleep(3)
    server.client.close()
    server.signal(15)
    server.wait_end(30)
    calls = set()
    for line in trace.read_text(errors="replace").splitlines():
        match = re.match(r"\d+\s+(\w+)\(", line)
        if match and str(server.data) in line:
            calls.add(match[1])
    assert {"pwrite64", "fdatasync", "rename", "fsync"} <= calls, calls
    unknown = calls - JOURNALLED - HARMLESS
    assert not unknown, f"powercut.c does not know {unknown}"
    chaos.figures["calls seen"] = len(calls)


def run(disk, script):
    """A Python program whose changes below `root` are journalled; it kills itself in the end."""
    environment = dict(os.environ, ROOT=str(disk.root), **disk.environment(random.Random(1), flush_us=0))
    program = "import os\nos.chdir('/')\nROOT = os.environ['ROOT']\n" + script
    return subprocess.run([sys.executable, "-S", "-c", program], env=environment, start_new_session=True,
                          capture_output=True, text=True, timeout=120)


WRITE = """
f = os.open(ROOT + '/a', os.O_RDWR | os.O_CREAT)
os.pwrite(f, b'1' * 2048, 0)
os.fsync(f)
d = os.open(ROOT, os.O_RDONLY)
os.fsync(d)
os.pwrite(f, b'2' * 1024, 512)
os.pwrite(f, b'3' * 1024, 2048)
assert os.pread(f, 4096, 0) == b'1' * 512 + b'2' * 1024 + b'1' * 512 + b'3' * 1024, 'one reads what one wrote'
"""


@pytest.mark.short(0)
def test_unflushed_bytes(power):
    seen = set()
    for seed in range(40):
        for loss in Loss:
            disk = power(f"{loss.value}{seed}")
            result = run(disk, WRITE)
            assert result.returncode == 0, result
            disk.cut(random.Random(seed), loss)
            content = (disk.root / "a").read_bytes()
            assert content[:512] == b"1" * 512 and content[1536:2048] == b"1" * 512, "flushed bytes are gone"
            if loss == Loss.DROP:
                assert content == b"1" * 2048
            if loss == Loss.KEEP:
                assert len(content) == 3072
            for sector in range(512, len(content), 512):
                assert len(set(content[sector:sector + 512])) == 1, "torn within a sector"
            seen.add((loss, content))
        if seed >= 3 and len(seen) > 8:
            break
    assert len([1 for loss, _ in seen if loss == Loss.SCATTER]) > 2, "it scatters"


@pytest.mark.short(0)
def test_unflushed_names(power):
    disk = power()
    result = run(disk, WRITE + """
os.mkdir(ROOT + '/folder')
os.rename(ROOT + '/a', ROOT + '/b')
os.close(os.open(ROOT + '/c', os.O_RDWR | os.O_CREAT))
os.unlink(ROOT + '/b')
""")
    assert result.returncode == 0, result
    assert [r.kind for r in disk.records()][-4:] == [Kind.MKDIR, Kind.RENAME, Kind.CREATE, Kind.UNLINK]
    disk.cut(random.Random(1), Loss.DROP)
    assert [path.name for path in disk.root.iterdir()] == ["a"], "what was not flushed happened to no name"
    assert (disk.root / "a").read_bytes()[:512] == b"1" * 512


@pytest.mark.short(0)
@pytest.mark.parametrize("call", [
    "os.write(f, b'x')", "os.writev(f, [b'x'])", "os.truncate(ROOT + '/a', 5)", "os.link(ROOT + '/a', ROOT + '/z')",
    "import mmap; mmap.mmap(f, 1024)", "os.open(ROOT + '/s', os.O_RDWR | os.O_CREAT | os.O_SYNC)", "os.dup2(f, 77)"])
def test_unknown_ways_to_write_are_refused(call, power):
    result = run(power(), WRITE + call)
    assert result.returncode != 0 and "does not know" in result.stderr, result
