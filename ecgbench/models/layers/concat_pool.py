"""The classification head that the convolutional networks of the PTB-XL benchmark share (Strodthoff et al. 2021)."""

import torch
from torch import Tensor, nn


class ConcatPoolHead(nn.Module):
    """Logits (batch, class) from features (batch, channel, time) of any length.

    The maximum and the mean over time side by side, then twice batch normalisation, dropout and a linear layer, with
    a ReLU between the two. `dropout` holds the two probabilities, `width` the features between the layers. Training
    takes batches of two records or more, as batch normalisation over single vectors needs.
    """

    def __init__(
        self, in_channels: int, n_classes: int, width: int = 128, dropout: tuple[float, float] = (0.25, 0.5)
    ) -> None:
        super().__init__()
        first, second = dropout
        self.hidden = nn.Sequential(
            nn.BatchNorm1d(2 * in_channels), nn.Dropout(first), nn.Linear(2 * in_channels, width), nn.ReLU()
        )
        self.out = nn.Sequential(nn.BatchNorm1d(width), nn.Dropout(second), nn.Linear(width, n_classes))

    def forward(self, x: Tensor) -> Tensor:
        """One logit per class."""
        return self.out(self.hidden(torch.cat([x.amax(dim=2), x.mean(dim=2)], dim=1)))
