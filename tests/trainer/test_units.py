import copy

import pytest
import torch
from torch import Tensor, nn

from purespike.trainer.data import digits, loader
from purespike.trainer.data.samples import collate
from purespike.trainer.networks.configuration import NeuronConfig
from purespike.trainer.networks.models import build_network
from purespike.trainer.networks.units import SpikingUnit
from purespike.trainer.nn.encoders import encode

STEPS = 4


def train(model: nn.Module, x: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
    """One training step's logits and gradients; running statistics move in the model."""
    logits = model.train()(x)
    sum(value.square().sum() for value in logits.values()).backward()
    return logits, [p.grad for p in model.parameters()]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fsnn-18", {"size": (32, 32)}),  # 7x7 with stride 2, max pooling behind
        ("cifar-resnet-20", {}),
        ("cifar-resnet-18", {"aap": True, "gate": "or"}),
        ("vgg-16", {"size": (16, 16)}),
        ("spikformer-4-384", {"size": (16, 16)}),
    ],
)
def test_a_static_image_passes_the_stem_once(name: str, options: dict[str, object]) -> None:
    model = build_network(name, width=0.125, steps=STEPS, classes=5, seed=1, **options).double()
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(3, 3, *model.config.size, generator=generator, dtype=torch.float64)
    still = image.expand(STEPS, *image.shape)
    written = still.clone()
    assert still.stride(0) == 0 and written.stride(0) != 0
    twin = copy.deepcopy(model)
    sizes: list[int] = []
    for one in (model, twin):
        one.stem[0].register_forward_hook(lambda m, i, o: sizes.append(len(o)))
    found, gradients = train(model, still)
    expected, others = train(twin, written)
    assert sizes == [1, STEPS]
    assert found.keys() == expected.keys()
    for key, logits in found.items():
        torch.testing.assert_close(logits, expected[key], rtol=1e-9, atol=1e-9)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)
    assert gradients[0].abs().max() > 0
    assert model.stem[2].firing_rate == twin.stem[2].firing_rate > 0
    torch.testing.assert_close(
        model.stem[1].running_mean, twin.stem[1].running_mean, rtol=1e-12, atol=1e-12
    )
    # Bessel's correction counts n values, where T copies of them would count T n.
    n = model.stem[0](image[None]).numel() / model.stem[0].out_channels
    moved, theirs = model.stem[1].running_var - 0.9, twin.stem[1].running_var - 0.9
    ratio = torch.full_like(moved, (n - 1 / STEPS) / (n - 1))
    torch.testing.assert_close(moved / theirs, ratio, rtol=1e-9, atol=0.0)
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        now, then = model.eval()(still)["main"], twin.eval()(written)["main"]
    torch.testing.assert_close(now, then, rtol=1e-12, atol=1e-12)


def test_spikes_of_the_digits_codes_are_those_of_copies() -> None:
    """Bit planes are the same at every step and latencies are not; in float32, to the bit."""
    images = torch.arange(17, dtype=torch.uint8).repeat(8)[: 2 * 64].view(2, 1, 8, 8)
    for code, runs in (("bit_plane", 1), ("latency", STEPS)):
        x = encode(code, images, STEPS)
        unit = SpikingUnit(x.shape[2], 6, NeuronConfig()).eval()
        sizes: list[int] = []
        unit[0].register_forward_hook(lambda m, i, o, sizes=sizes: sizes.append(len(o)))
        assert torch.equal(unit(x), unit(x.clone()))
        assert sizes == [runs, STEPS]


def test_batches_of_images_come_as_one_storage_for_all_steps() -> None:
    data = digits()
    images, labels = data.train_images[:8], data.train_labels[:8]
    (x, _), *_ = loader(images, labels, "bit_plane", STEPS, batch_size=4, seed=1, shift=True)
    assert x.shape[:2] == (STEPS, 4) and x.stride(0) == 0
    photographs, _ = collate([(torch.rand(3, 8, 8), 0), (torch.rand(3, 8, 8), 1)], STEPS)
    assert photographs.shape[:2] == (STEPS, 2) and photographs.stride(0) == 0


def test_what_is_not_a_static_sequence_goes_every_step() -> None:
    unit = SpikingUnit(2, 3, NeuronConfig(decay=0.5))
    sizes: list[int] = []
    unit[0].register_forward_hook(lambda m, i, o: sizes.append(len(o)))
    moving = torch.rand(STEPS, 2, 2, 4, 4, generator=torch.Generator().manual_seed(3))
    unit(moving)
    unit(moving[:1])
    unit(moving[:, :1].expand(STEPS, 2, 2, 4, 4))  # one image for all samples, moving
    assert sizes == [STEPS, 1, STEPS]
    assert torch.equal(unit(moving[:1].expand(3, 2, 2, 4, 4)), unit(moving[[0, 0, 0]]))
