"""A program that hands on its calls of the kernel: ``stopping_child.py SOCKET PROGRAM WORD...``.

Its seccomp(2) filter asks whoever has the listener before each call that changes files, opens one,
or starts a process, here and in all that it starts; `stopping` has it, through the socket.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys

# x86-64: write, open, pwrite64, writev, sendfile, clone, fork, vfork, execve, kill, flock, fsync,
# fdatasync, truncate, ftruncate, rename, mkdir, rmdir, creat, link, unlink, symlink, chmod, fchmod,
# openat, mkdirat, unlinkat, renameat, linkat, symlinkat, fallocate, pwritev, renameat2,
# copy_file_range, clone3, openat2
CALLS = (1, 2, 18, 20, 40, 56, 57, 58, 59, 62, *range(73, 78), *range(82, 89), 90, 91)
CALLS += (257, 258, 263, 264, 265, 266, 285, 296, 316, 326, 435, 437)

_SECCOMP, _MODE_FILTER, _NEW_LISTENER = 317, 1, 8
_NO_NEW_PRIVILEGES = 38
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # instructions of the classic BPF
_ASK, _ALLOW = 0x7FC00000, 0x7FFF0000
_NUMBER_AT = 0  # of a call, in struct seccomp_data


def listener() -> int:
    """Put the filter on; the file descriptor where its questions are read."""
    if platform.machine() != "x86_64":
        raise OSError(f"the numbers of the calls of {platform.machine()} are not known")
    steps = [struct.pack("HBBI", _LOAD, 0, 0, _NUMBER_AT)]
    for index, number in enumerate(CALLS):
        steps.append(struct.pack("HBBI", _EQUAL, len(CALLS) - index, 0, number))
    steps += [struct.pack("HBBI", _RETURN, 0, 0, answer) for answer in (_ALLOW, _ASK)]
    code = ctypes.create_string_buffer(b"".join(steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    found: int = libc.syscall(_SECCOMP, _MODE_FILTER, _NEW_LISTENER, program)
    if found < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return found


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as there:
        socket.send_fds(there, [b"."], [listener()])
    os.execv(sys.argv[2], sys.argv[2:])
