"""Squeeze-and-excitation: channels weighed by what the whole signal holds."""

from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate in (0, 1) computed from the time averages of all channels (Hu et al. 2018)."""

    def __init__(self, n_channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(n_channels, n_channels // reduction, bias=False),
            nn.ReLU(),
            nn.Linear(n_channels // reduction, n_channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, time), gated."""
        return x * self.fc(x.mean(dim=-1))[..., None]
