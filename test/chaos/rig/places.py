"""Small file systems to run out of room on, or to take the power from.

    tmpfs   in a name space of its own (unshare): needs no privilege where user name spaces are
            allowed. It is gone with its holder.
    ext4    on a loop device: needs root. The kernel's own "shutdown" of a mounted file system drops what was
            not flushed, as a power cut does: nothing reaches the device any more, and the next mount replays the journal.
"""
import fcntl
import os
import pathlib
import shutil
import struct
import subprocess

SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN
NO_LOG_FLUSH = 2       # not even the journal's own buffer


def quiet(*command):
    return subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False, timeout=120)


class Tmpfs:
    """`prefix` before a command lets it see the file system at `path`; `outside` is where others see it."""

    def __init__(self, path, size_bytes):
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True)
        self.holder = subprocess.Popen(
            ["unshare", "-Urm", "sh", "-c",
             f"mount -t tmpfs -o size={size_bytes} none '{self.path}' && echo mounted && exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.works = self.holder.stdout.readline() == b"mounted\n"
        self.prefix = ["nsenter", "--preserve-credentials", "-U", "-m", "-t", str(self.holder.pid), "--"]
        self.outside = pathlib.Path(f"/proc/{self.holder.pid}/root{self.path}")

    def free_bytes(self):
        st = os.statvfs(self.outside)
        return st.f_bavail * st.f_frsize

    def close(self):
        self.holder.stdin.close()
        self.holder.wait(10)


class Ext4:
    prefix = []

    def __init__(self, folder, size_bytes):
        self.folder = pathlib.Path(folder)
        self.image, self.path = self.folder / "image", self.folder / "mount"
        self.path.mkdir(parents=True)
        with open(self.image, "wb") as file:
            file.truncate(size_bytes)
        self.works = (os.geteuid() == 0 and shutil.which("mkfs.ext4") is not None and
                      quiet("mkfs.ext4", "-q", "-F", self.image).returncode == 0 and self.mount())

    def mount(self):
        return quiet("mount", "-o", "loop", self.image, self.path).returncode == 0

    def free_bytes(self):
        st = os.statvfs(self.path)
        return st.f_bavail * st.f_frsize

    def power_off(self):
        """From now on every write and flush fails; what was not flushed is lost."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def power_on(self):
        self.close()
        assert self.mount(), "the file system does not mount after a power cut"

    def close(self):
        if os.path.ismount(self.path):
            result = quiet("umount", self.path)
            assert result.returncode == 0, result
