"""MSECG: bidirectional Mamba blocks between convolutions, upsampled by a 1-D pixel shuffle (Lin et al. 2024).

The published system has 12 leads, 50 -> 500 Hz, width 128, 5 + 5 blocks: 1,911,672 parameters. Names of its state
dict are those of the published checkpoint.
"""

from torch import Tensor, nn

from ecgbench.models.layers.bidirectional import MambaBranches
from ecgbench.models.layers.pixelshuffle1d import pixel_shuffle_1d
from ecgbench.models.layers.squeeze_excite import SqueezeExcite
from ecgbench.models.layers.upsample import cell_centred, grid_aligned

SKIPS = {"cell_centred": cell_centred, "grid_aligned": grid_aligned}


def _conv(in_channels: int, out_channels: int) -> nn.Conv1d:
    """A convolution 15 samples wide that keeps the length."""
    return nn.Conv1d(in_channels, out_channels, kernel_size=15, padding=7)


def _gate(width: int, wanted: bool) -> list[nn.Module]:
    """A squeeze-and-excitation layer, or nothing."""
    return [SqueezeExcite(width)] if wanted else []


class MSECG(nn.Module):
    """(batch, lead, time) at the low rate -> (batch, lead, time * upscale), in the unit of the input.

    `skip` says how the input is carried to the output: `cell_centred` is the published interpolation, (upscale - 1) / 2
    samples late, `grid_aligned` a variant of ours without that delay. `squeeze_excite` adds channel gates after the
    first and the merging convolution, as in the model's first release.
    """

    tasks = ("superres",)

    def __init__(
        self,
        n_leads: int,
        upscale: int,
        width: int = 128,
        n_layer: int = 5,
        bidirectional: bool = True,
        squeeze_excite: bool = False,
        skip: str = "cell_centred",
        scan_backend: str = "auto",
    ) -> None:
        super().__init__()
        if skip not in SKIPS:
            raise ValueError(f"model.skip={skip!r} is not known: choose one of {', '.join(SKIPS)}.")
        self.upscale = upscale
        self.skip = SKIPS[skip]
        self.mamba = MambaBranches(width, n_layer, bidirectional, scan_backend)
        self.conv_in = nn.Sequential(_conv(n_leads, width), nn.LeakyReLU(0.01), *_gate(width, squeeze_excite))
        self.conv_merge = nn.Sequential(
            _conv(self.mamba.out_channels, width), nn.BatchNorm1d(width), *_gate(width, squeeze_excite)
        )
        self.conv_ps1 = _conv(width, n_leads * upscale)

    def forward(self, x: Tensor) -> Tensor:
        """The signal at `upscale` times its rate."""
        features = self.conv_in(x)
        features = features + self.conv_merge(self.mamba(features))
        return pixel_shuffle_1d(self.conv_ps1(features), self.upscale) + self.skip(x, self.upscale)
