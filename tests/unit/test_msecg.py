"""MSECG: the published layer table, its checkpoint's names, and the upsampling parts."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ecgbench.models.layers.pixelshuffle1d import pixel_shuffle_1d
from ecgbench.models.layers.squeeze_excite import SqueezeExcite
from ecgbench.models.layers.upsample import cell_centred, grid_aligned
from ecgbench.models.msecg import MSECG

BLOCK = {
    "mixer.A_log": (256, 16),
    "mixer.D": (256,),
    "mixer.in_proj.weight": (512, 128),
    "mixer.conv1d.weight": (256, 1, 4),
    "mixer.conv1d.bias": (256,),
    "mixer.x_proj.weight": (40, 256),
    "mixer.dt_proj.weight": (256, 8),
    "mixer.dt_proj.bias": (256,),
    "mixer.out_proj.weight": (128, 256),
    "norm.weight": (128,),
}
CONVOLUTIONS = {
    "conv_in.0.weight": (128, 12, 15),
    "conv_in.0.bias": (128,),
    "conv_merge.0.weight": (128, 256, 15),
    "conv_merge.0.bias": (128,),
    "conv_merge.1.weight": (128,),
    "conv_merge.1.bias": (128,),
    "conv_merge.1.running_mean": (128,),
    "conv_merge.1.running_var": (128,),
    "conv_merge.1.num_batches_tracked": (),
    "conv_ps1.weight": (120, 128, 15),
    "conv_ps1.bias": (120,),
}
GATES = {
    "conv_in.2.fc.0.weight": (16, 128),
    "conv_in.2.fc.2.weight": (128, 16),
    "conv_merge.2.fc.0.weight": (16, 128),
    "conv_merge.2.fc.2.weight": (128, 16),
}


def published_names() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published checkpoint: 111 tensors."""
    blocks = {
        f"mamba.{direction}_blocks.{layer}.{name}": shape
        for direction in ("forward", "backward")
        for layer in range(5)
        for name, shape in BLOCK.items()
    }
    return blocks | CONVOLUTIONS


def small(**options: object) -> MSECG:
    torch.manual_seed(0)
    return MSECG(n_leads=2, upscale=4, width=16, n_layer=2, scan_backend="torch", **options).eval()


def signal(time: int = 20) -> Tensor:
    return torch.randn(3, 2, time, generator=torch.Generator().manual_seed(1))


def test_published_checkpoint_loads() -> None:
    """A file with the published names and shapes, read with weights_only, fits strictly."""
    names = published_names()
    assert len(names) == 111
    file = io.BytesIO()
    torch.save({name: torch.full(shape, 0.5) for name, shape in names.items()}, file)
    file.seek(0)
    model = MSECG(n_leads=12, upscale=10)
    model.load_state_dict(torch.load(file, weights_only=True))
    assert all((value == 0.5).all() for name, value in model.state_dict().items() if "tracked" not in name)


def test_gated_variant_has_the_published_names() -> None:
    """The first release adds four matrices, 8,192 numbers."""
    with torch.device("meta"):
        state = MSECG(n_leads=12, upscale=10, squeeze_excite=True).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == published_names() | GATES


def test_forward_is_the_published_layer_table() -> None:
    """Recomputed layer by layer, with the backward branch as flip, blocks, flip."""
    model, x = small(), signal()
    conv = {name: dict(model.named_modules())[name] for name in ("conv_in.0", "conv_merge.0", "conv_ps1")}
    norm = model.conv_merge[1]
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)

    def apply(name: str, h: Tensor) -> Tensor:
        return F.conv1d(F.pad(h, (7, 7)), conv[name].weight, conv[name].bias)

    def run(blocks: torch.nn.ModuleList, h: Tensor) -> Tensor:
        for block in blocks:
            h = h + block.mixer(block.norm(h))
        return h

    with torch.no_grad():
        first = F.leaky_relu(apply("conv_in.0", x), 0.01)
        both = [run(model.mamba.forward_blocks, first), run(model.mamba.backward_blocks, first.flip(-1)).flip(-1)]
        merged = apply("conv_merge.0", torch.cat(both, 1))
        scale = (norm.running_var + 1e-5).rsqrt()[:, None]
        merged = (merged - norm.running_mean[:, None]) * scale * norm.weight[:, None] + norm.bias[:, None]
        phases = apply("conv_ps1", merged + first)
        expected = torch.stack([phases[:, k::4] for k in range(4)], -1).flatten(2) + cell_centred(x, 4)
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("skip", "upsample"), [("cell_centred", cell_centred), ("grid_aligned", grid_aligned)])
def test_a_silent_network_returns_the_interpolated_input(skip: str, upsample: Callable) -> None:
    """With the last convolution at zero only the outer skip is left."""
    model, x = small(skip=skip), signal()
    torch.nn.init.zeros_(model.conv_ps1.weight)
    torch.nn.init.zeros_(model.conv_ps1.bias)
    assert torch.equal(model(x), upsample(x, 4))


def test_unknown_skip_is_refused_with_the_choices() -> None:
    """In one sentence that names the key."""
    with pytest.raises(ValueError, match=r"model.skip='none' is not known: choose one of cell_centred, grid_aligned\."):
        MSECG(n_leads=2, upscale=4, skip="none")


def test_gates_are_computed_from_the_averages_over_time() -> None:
    """Each channel is multiplied by sigmoid(W2 relu(W1 average)), Hu et al. 2018, equations 2 to 4, in NumPy."""
    torch.manual_seed(0)
    gate, x = SqueezeExcite(16), torch.randn(3, 16, 20) + 1
    w1, w2 = (weight.detach().double().numpy() for weight in gate.parameters())
    averages = x.double().mean(-1).numpy()
    expected = 1 / (1 + np.exp(-np.maximum(averages @ w1.T, 0) @ w2.T))
    np.testing.assert_allclose((gate(x) / x).detach().numpy(), np.repeat(expected[..., None], 20, -1), rtol=1e-5)


def test_gates_follow_the_first_and_the_merging_convolution() -> None:
    """With gates shut (sigmoid of a large negative number) only the last bias and the outer skip are left."""
    model, x = small(squeeze_excite=True), signal()
    assert isinstance(model.conv_in[2], SqueezeExcite)
    assert isinstance(model.conv_merge[2], SqueezeExcite)
    for gate in (model.conv_in[2], model.conv_merge[2]):
        gate.fc[1] = torch.nn.Sigmoid()
        torch.nn.init.constant_(gate.fc[2].weight, -1e4)
    expected = pixel_shuffle_1d(model.conv_ps1.bias.view(1, -1, 1).expand(3, -1, 20), 4) + cell_centred(x, 4)
    torch.testing.assert_close(model(x), expected)


def test_pixel_shuffle_interleaves_neighbouring_channels() -> None:
    """Sample 3 t + k of lead c is channel 3 c + k at time t."""
    x = torch.arange(12).reshape(1, 6, 2)
    expected = [[[0, 2, 4, 1, 3, 5], [6, 8, 10, 7, 9, 11]]]
    assert pixel_shuffle_1d(x, 3).tolist() == expected


def test_cell_centred_interpolation_lags_by_half_a_cell() -> None:
    """Samples 0, 4, 8 by two: a quarter and three quarters of the way between neighbours, ends held."""
    assert cell_centred(torch.tensor([[[0.0, 4.0, 8.0]]]), 2).tolist() == [[[0.0, 1.0, 3.0, 5.0, 7.0, 8.0]]]


@pytest.mark.parametrize("upscale", [2, 7, 10])
def test_grid_aligned_interpolation_is_numpy_interp(upscale: int) -> None:
    """Low-rate sample k stays at k * upscale; what follows the last one is held."""
    x = signal().double()
    grid = np.arange(20) * upscale
    expected = [[np.interp(np.arange(20 * upscale), grid, lead) for lead in record] for record in x.numpy()]
    np.testing.assert_allclose(grid_aligned(x, upscale).numpy(), np.array(expected), rtol=1e-12, atol=1e-12)
