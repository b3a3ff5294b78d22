"""Too little memory: what says so, in whose words, and what makes a run smaller. Plain Python."""

from __future__ import annotations

import errno
import os
import resource

from purespike.compiler.errors import UsageError
from purespike.compiler.wording import Advice

__all__ = ["LEAST", "SMALLER", "TooLittleMemory", "ran_out", "require_addresses", "said"]

SMALLER = Advice(
    "run fewer samples ({golden}), fewer at a time ({jobs}) or fewer steps ({steps}), where the "
    "command has these, or raise the limit (ulimit -v, or the container's)"
)

LEAST = 256 << 20  # bytes of address space: a command takes 180 MiB before it reads anything
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
# Python, its threads, the loader, torch and ONNX Runtime have no error in common.
_WORDS = (
    "MemoryError",
    "can't start new thread",
    "Cannot allocate memory",
    "can't allocate memory",
    "Failed to allocate memory",
    "std::bad_alloc",
)


class TooLittleMemory(UsageError):
    """The process, or one that it started, got no more memory.

    Args:
        what: What needed it.
        where: For which file or layer.
    """

    def __init__(self, what: str = "", where: str = "") -> None:
        limit = _limit()
        most = f"at most {limit >> 20} MiB of address space (ulimit -v)" if limit else ""
        super().__init__(
            "there is too little memory for this",
            where=where,
            found="; ".join(filter(None, (what, most))),
            remedy=SMALLER,
        )


def said(text: str) -> bool:
    """Do these words of another process, or of a library, say that memory ran out?"""
    return any(words in text for words in _WORDS)


def ran_out(error: BaseException | None) -> bool:
    """Is this error for want of memory, or because of one that was?"""
    while error is not None:
        if (
            isinstance(error, MemoryError)
            or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
            or (isinstance(error, RuntimeError | ImportError) and said(str(error)))
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def require_addresses() -> None:
    """Refuse a limit of address space in which numpy cannot be loaded.

    Its OpenBLAS asks for room again and again, without end, when it gets none. With a limit it has
    one thread, unless the user says otherwise: each takes 40 MiB more.

    Raises:
        TooLittleMemory: If there is such a limit.
    """
    if (limit := _limit()) and limit < LEAST:
        error = TooLittleMemory()
        error.allowed = f"at least {LEAST >> 20} MiB"
        error.remedy = "raise the limit (ulimit -v)"
        raise error
    if limit and not any(name in os.environ for name in _THREADS):
        os.environ[_THREADS[0]] = "1"


def _limit() -> int:
    """Bytes of address space that this process may have; 0 for all."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return 0 if soft == resource.RLIM_INFINITY else soft
