"""Several processes that train one network, as torchrun starts them.

Every process makes the whole batch, so that shuffling, encoding and shifts are those of one
process, and trains on its share of it. Gradients are averaged with the weight of each share, and
the statistics of batch normalization are taken over all shares: the result is that of one process
with the same batch, up to the rounding of sums that are added in another order.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from functools import cache

from torch import distributed

from purespike.trainer.errors import ConfigError

__all__ = ["World", "leave_at_exit", "world"]


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes:
        rank: of this process; 0 writes files and shows progress.
        size: number of processes.
        per_machine: how many of them run on this machine.
    """

    rank: int = 0
    size: int = 1
    per_machine: int = 1

    @property
    def machines(self) -> int:
        """Machines that take part, each with as many processes."""
        return self.size // self.per_machine

    def share(self, count: int) -> slice:
        """Which samples of a batch of ``count`` this process takes."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def require(self, samples: int, batch_size: int) -> None:
        """Refuse batches that leave a process without work.

        Args:
            samples: to train on.
            batch_size: of all processes together.

        Raises:
            ConfigError: if a batch, the last one of an epoch too, has fewer samples than processes.
        """
        smallest = min(batch_size, samples % batch_size or batch_size)
        if smallest < self.size:
            raise ConfigError(
                "a batch has fewer samples than there are processes",
                found=f"{smallest} samples in a batch, {self.size} processes",
                allowed="at least one sample a process, in the last batch of an epoch too",
                where="TrainConfig(batch_size=...)",
                remedy="choose another batch_size, or start fewer processes",
            )


def world() -> World:
    """The processes that torchrun says there are; this one alone without it."""
    if not distributed.is_torchelastic_launched():
        return World()
    return World(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")))


@cache
def leave_at_exit() -> None:
    """Leave the group of processes while Python still runs, not when its modules are taken apart.

    Threads of the group that are left until then may abort a process that has done all its work
    ("terminate called without an active exception"). Further trainings in a process stay in it.
    """

    def leave() -> None:
        if distributed.is_initialized():
            distributed.destroy_process_group()

    atexit.register(leave)
