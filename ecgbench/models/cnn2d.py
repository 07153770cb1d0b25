"""2D-CNN: the 12 leads as an image with one channel (Elyamani et al., Sci Rep 2024), 595,034 parameters.

That is with 12 leads and 26 classes; with the 5 PTB-XL super-classes it has 593,669. The published input is 10 s at
100 Hz, whose 1,000 samples shrink to 994, 493, 243, 118 and 55 before the average over time.
"""

from torch import Tensor, nn


class Cnn2d(nn.Module):
    """(batch, lead, time) -> logits (batch, class), for any time from 127 samples on.

    Kernels run along time only, until one convolution spans all leads. Batch normalisation and initial weights are
    torch's. Left out: the published L2 penalties on the two dense layers, .005 and .009, which are part of the
    objective and not of the network.

    Args:
        dropout: probability inside the residual blocks and after the first dense layer.
        last_dropout: probability after the second dense layer.
    """

    tasks = ("classification",)

    def __init__(self, n_leads: int, n_classes: int, dropout: float = 0.1, last_dropout: float = 0.15) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 32, (1, 7)), nn.BatchNorm2d(32), nn.ReLU())
        self.blocks = nn.Sequential(
            _ResidualBlock(32, 64, dropout, pre_activation=False),
            _ResidualBlock(64, 64, dropout),
            _ResidualBlock(64, 128, dropout),
            _ResidualBlock(128, 128, dropout),
        )
        self.across_leads = nn.Sequential(nn.Conv2d(128, 128, (n_leads, 1)), nn.BatchNorm2d(128), nn.ReLU())
        self.head = nn.Sequential(
            *_dense(128, 128, dropout),
            *_dense(128, 64, last_dropout),
            nn.Linear(64, n_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, class)."""
        image = self.across_leads(self.blocks(self.stem(x[:, None])))
        return self.head(image.mean(dim=(2, 3)))


class _ResidualBlock(nn.Module):
    """(batch, channel, lead, time) to (time - 9) // 2 + 1 samples: two convolutions over five samples, the second by 2.

    The shortcut is the maximum over the nine samples that the two convolutions see, and a 1 x 1 convolution where the
    number of channels changes.
    """

    def __init__(self, n_in: int, n_out: int, dropout: float, pre_activation: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *([nn.BatchNorm2d(n_in), nn.ReLU()] if pre_activation else []),
            nn.Conv2d(n_in, n_out, (1, 5)),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(n_out, n_out, (1, 5), stride=(1, 2)),
        )
        self.shortcut = nn.Sequential(
            nn.MaxPool2d((1, 9), stride=(1, 2)), nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


def _dense(n_in: int, n_out: int, dropout: float) -> list[nn.Module]:
    """A dense layer with batch normalisation, ReLU and dropout."""
    return [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU(), nn.Dropout(dropout)]
