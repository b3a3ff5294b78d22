"""Being told to end is an interrupt: what was half written is removed, as after Ctrl-C.

By default SIGTERM (a batch system, `timeout`, `docker stop`) and SIGHUP (a lost terminal) end
Python at once, and a hidden folder with half a bundle stays beside the output.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

MEANT = ("SIGTERM", "SIGHUP")  # the second is not known everywhere


class Stopped(SystemExit):
    """A signal asked this process to end; the exit code is 128 and its number, as in a shell."""


def stop_cleanly() -> None:
    """Raise `Stopped` where one of `MEANT` would end the process at once.

    What has a handler of its own, or is ignored, as under nohup, stays as it is; so do processes
    that are forked later.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    own = os.getpid()

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # the second time it is meant at once
        if os.getpid() != own:
            os.kill(os.getpid(), number)
        raise Stopped(128 + number)

    for name in MEANT:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)
