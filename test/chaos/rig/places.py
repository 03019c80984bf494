"""Small file systems to run out of room on, or to take the power from. Each is mounted in a name space of its own: mounted
for all to see, an unshare(1) of anybody would copy the mount, and what is unmounted here would live on there.

    tmpfs   needs no privilege where user name spaces are allowed. It is gone with its holder.
    ext4    on a loop device: needs root. The kernel's own "shutdown" of a mounted file system drops what was
            not flushed, as a power cut does: nothing reaches the device any more, and the next mount replays the journal.
            One thing it does that no power cut can: an fdatasync under way at that moment may still return 0 (seen with
            30 lines of C in 1 of 30 shutdowns, Linux 6.18). So what is answered from then on was never heard (server.dark).
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


class Place:
    """`prefix` before a command lets it see the file system at `path`; `outside` is where others see it."""

    def __init__(self, path, unshare, enter, first):
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True)
        self.holder = subprocess.Popen(["unshare", *unshare, "sh", "-c", f"{first} && echo held && exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.works = self.holder.stdout.readline() == b"held\n"
        self.prefix = ["nsenter", *enter, "-t", str(self.holder.pid), "--"]
        self.outside = pathlib.Path(f"/proc/{self.holder.pid}/root{self.path}")

    def free_bytes(self):
        st = os.statvfs(self.outside)
        return st.f_bavail * st.f_frsize

    def close(self):
        self.holder.stdin.close()
        self.holder.wait(10)


class Tmpfs(Place):
    def __init__(self, folder, size_bytes):
        super().__init__(folder, ["-Urm"], ["--preserve-credentials", "-U", "-m"],
                         f"mount -t tmpfs -o size={size_bytes} none '{folder}'")


class Ext4(Place):
    def __init__(self, folder, size_bytes):
        super().__init__(pathlib.Path(folder) / "mount", ["-m"], ["-m"], "true")
        self.image = pathlib.Path(folder) / "image"
        with open(self.image, "wb") as file:
            file.truncate(size_bytes)
        self.works = (self.works and os.geteuid() == 0 and shutil.which("mkfs.ext4") is not None and
                      quiet("mkfs.ext4", "-q", "-F", self.image).returncode == 0 and self.mount())

    def mount(self):
        return quiet(*self.prefix, "mount", "-o", "loop", self.image, self.path).returncode == 0

    def unmount(self):
        if os.path.ismount(self.outside):
            result = quiet(*self.prefix, "umount", self.path)
            assert result.returncode == 0, result

    def power_off(self, server):
        """From now on every write and flush fails; what was not flushed is lost."""
        server.dark = True
        folder = os.open(self.outside, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def power_on(self):
        self.unmount()
        assert self.mount(), "the file system does not mount after a power cut"

    def close(self):
        self.unmount()
        super().close()
