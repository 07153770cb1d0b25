"""Prna: a wide and deep transformer for 12-lead ECG (Natarajan et al., CinC 2020), first of the Challenge of 2020.

The deep part is six convolutions and eight transformer encoder layers; the wide part is 22 facts beside the signal.
With 12 leads, 27 classes and 22 wide features it has 13,643,885 parameters. 7,500 samples become 183 steps.
"""

import math

import torch
from torch import Tensor, nn

STEM = ((128, 14, 3, 2), (256, 14, 3, 0), (256, 10, 2, 0), (256, 10, 2, 0), (256, 10, 1, 0), (256, 10, 1, 0))
"""Channels, kernel, stride and padding of each convolution."""


class Prna(nn.Module):
    """(batch, lead, time) and (batch, feature) -> logits (batch, class).

    As published, padding is not masked: padded steps take part in the attention and in the mean over time. The encoder
    layers are initialised independently. At least 940 samples.

    Args:
        n_wide: width of the wide vector, joined to the 64 deep features before the last layer.
        dropout: probability after the position encoding and inside the encoder layers.
        head_dropout: probability after the 64 deep features.
    """

    tasks = ("classification",)
    inputs = ("x", "wide")

    def __init__(
        self,
        n_leads: int,
        n_classes: int,
        n_wide: int = 22,
        n_layer: int = 8,
        n_head: int = 8,
        feedforward: int = 2048,
        dropout: float = 0.1,
        head_dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.n_wide = n_wide
        self.stem = _stem(n_leads)
        width = STEM[-1][0]
        self.position_dropout = nn.Dropout(dropout)
        self.encoder = nn.Sequential(
            *(nn.TransformerEncoderLayer(width, n_head, feedforward, dropout, batch_first=True) for _ in range(n_layer))
        )
        self.deep = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Dropout(head_dropout))
        self.head = nn.Linear(64 + n_wide, n_classes)

    def forward(self, x: Tensor, wide: Tensor) -> Tensor:
        """Logits (batch, class); ValueError when `wide` is not (batch, n_wide)."""
        if wide.shape[1] != self.n_wide:
            raise ValueError(
                f"prna got {wide.shape[1]} wide features and model.n_wide is {self.n_wide}; "
                "give the data's number of features as model.n_wide"
            )
        steps = self.stem(x).transpose(1, 2)
        positions = sinusoidal_positions(steps.shape[1], steps.shape[2], steps.device).to(steps.dtype)
        steps = self.encoder(self.position_dropout(steps + positions))
        return self.head(torch.cat([self.deep(steps.mean(dim=1)), wide.to(steps.dtype)], dim=1))


def sinusoidal_positions(n_steps: int, width: int, device: torch.device) -> Tensor:
    """Position encoding (step, width), float64: sines in the even columns, cosines in the odd ones.

    sin(t / 10000^(2i / width)) in column 2i, the cosine of the same angle in column 2i + 1 (Vaswani et al. 2017, 3.5).
    """
    step = torch.arange(n_steps, device=device, dtype=torch.float64)
    pair = torch.arange(0, width, 2, device=device, dtype=torch.float64)
    angle = step[:, None] * torch.exp(-math.log(10000.0) * pair / width)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


def _stem(n_leads: int) -> nn.Sequential:
    """The convolutions, each with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    n_in = n_leads
    for n_out, kernel, stride, padding in STEM:
        conv = nn.Conv1d(n_in, n_out, kernel, stride, padding, bias=False)
        layers += [conv, nn.BatchNorm1d(n_out), nn.ReLU()]
        n_in = n_out
    return nn.Sequential(*layers)
