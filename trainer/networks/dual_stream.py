"""What all networks share: stem, blocks on two streams, classifier, and training-only heads.

Networks differ in their stem and blocks; :mod:`purespike.trainer.networks.models` and
:mod:`purespike.trainer.networks` build those.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from purespike.trainer.networks.blocks import DualStreamBlock
from purespike.trainer.networks.configuration import ModelConfig, NetworkConfig
from purespike.trainer.networks.units import draw_weights
from purespike.trainer.nn.auxiliary import (
    AuxiliaryLinear,
    PooledFeatures,
    ShortcutBranch,
    auxiliary_modules,
    is_auxiliary,
)
from purespike.trainer.nn.layers import Flatten, GlobalAvgPool2d, TimeMean

__all__ = ["DualStreamNetwork"]

_CERTAIN = 1.001  # just above the threshold, whatever rounding does to the product


class DualStreamNetwork(nn.Module):
    """A network whose deployed part carries nothing but spikes.

    Spikes in, stem, blocks, and the classifier on the mean over space and time. Beside it, only for
    training, the accumulation pathway (AAP paper, Eq. 11 and 12) and the shortcut branches
    (shortcut paper, Eq. 6); the logits of ``'main'`` do not depend on them, and the weights of the
    main path are the same for one seed whether they are built or not. With ``config.dsnn`` the
    accumulation pathway is what ``'main'`` reads, and is no longer marked as training-only.

    Args:
        config: what is built; kept for checkpoints.
        stem: from the input to the first spikes, (T, B, C, H, W); a convolution comes first.
        blocks: modules ``(s, a) -> (s', a')`` with ``out_channels``.
        branch_at: indices of the blocks that shortcut branches hang on.
        seed: of the initial weights.
    """

    def __init__(
        self,
        config: ModelConfig | NetworkConfig,
        stem: nn.Module,
        blocks: Sequence[nn.Module],
        *,
        branch_at: Sequence[int],
        seed: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        channels = [int(block.out_channels) for block in blocks]  # type: ignore[arg-type]
        self.pool = GlobalAvgPool2d()
        self.flatten = Flatten()
        self.time_mean = TimeMean()
        self.fc = nn.Linear(channels[-1], config.classes)
        if config.aap:
            self.aap_features = PooledFeatures()
            if config.aap_own_classifier:
                self.aap_fc = AuxiliaryLinear(channels[-1], config.classes)
        self.branch_at = tuple(branch_at)
        self.branches = nn.ModuleList(
            ShortcutBranch(channels[index], config.classes) for index in self.branch_at
        )
        self._initialize(torch.Generator().manual_seed(seed))
        if config.dsnn:
            self._deploy_pathway()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Classify a sequence of binary spike images.

        Args:
            x: spikes, (T, B, C, H, W), values 0 and 1.

        Returns:
            Logits, each (B, classes): ``'main'`` always; ``'aap'`` if built with the accumulation
            pathway (with ``dsnn`` that is ``'main'``, and the spike stream's is ``'spike'``);
            ``'shortcut.<l>'`` for each block ``l`` with a shortcut branch.
        """
        s = self.stem(x)
        a = s if self.config.aap else None
        logits: dict[str, Tensor] = {}
        for index, block in enumerate(self.blocks):
            s, a = block(s, a)
            if index in self.branch_at:
                branch = self.branches[self.branch_at.index(index)]
                logits[f"shortcut.{index}"] = branch(s)
        spike = self.fc(self.time_mean(self.flatten(self.pool(s))))
        if not self.config.aap:
            return {**logits, "main": spike}
        classifier = self.aap_fc if self.config.aap_own_classifier else self.fc
        accumulated = classifier(self.aap_features(a))
        if self.config.dsnn:
            return {**logits, "main": accumulated, "spike": spike}
        return {**logits, "main": spike, "aap": accumulated}

    def _initialize(self, generator: torch.Generator) -> None:
        """Draw the weights, main path first, so that auxiliary paths cannot change its draws."""
        main: list[nn.Module] = []
        auxiliary: list[nn.Module] = []
        training_only = auxiliary_modules(self)
        for name, module in self.named_modules():
            (auxiliary if name in training_only else main).append(module)
        draw_weights((*main, *auxiliary), generator)
        if self.config.zero_init_residual:
            for module in main:
                if isinstance(module, DualStreamBlock):
                    self._identity_mapping(module)

    def _identity_mapping(self, block: DualStreamBlock) -> None:
        """Silence the residual function, or for AND let it fire always (AAP paper, Sec. 4.2)."""
        nn.init.zeros_(block.last_norm.weight)
        if block.gate_kind == "and":
            neuron = self.config.neuron
            nn.init.constant_(
                block.last_norm.bias, _CERTAIN * neuron.threshold / neuron.input_scale
            )

    def _deploy_pathway(self) -> None:
        for module in self.modules():
            if is_auxiliary(module) and not isinstance(module, ShortcutBranch):
                module.auxiliary = False  # type: ignore[assignment]
