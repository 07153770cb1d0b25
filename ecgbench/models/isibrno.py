"""ISIBrno-AIMT: a residual network with self-attention and two heads (Nejedly et al., CinC 2021), first of 2021.

With 12 leads and 26 classes it has 6,561,900 parameters, and 6,298,732 without the attention, which the authors took
out in 2022. A (batch, 12, 8192) input becomes 128 steps of 256 channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Isibrno(nn.Module):
    """(batch, lead, time) -> the logits of the second head and of the first, both (batch, class).

    The first pair member's sigmoid is the published score p, the second's is the probability that the classifier proper
    gives. The second head reads the first one's logits detached, so what is said about p trains that head only.

    Which leads are there is read off the input, as 12 flags beside the pooled features: a lead that is zero throughout
    is absent. A lead that is flat in the recording is zero after normalisation and so counts as absent too.

    Args:
        attention: whether self-attention stands between the residual blocks and the pooling.
        dropout: probability after the last residual block.
    """

    tasks = ("classification",)
    heads = ("probability", "logits")

    def __init__(
        self,
        n_leads: int,
        n_classes: int,
        width: int = 256,
        n_blocks: int = 5,
        attention: bool = True,
        n_head: int = 8,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(n_leads, width, 15, stride=2, padding=7, bias=False), nn.BatchNorm1d(width), nn.LeakyReLU()
        )
        self.blocks = nn.Sequential(*(_ResidualBlock(width) for _ in range(n_blocks)))
        self.dropout = nn.Dropout(dropout)
        self.attention = nn.MultiheadAttention(width, n_head, batch_first=True) if attention else None
        self.classifier = nn.Linear(width + n_leads, n_classes)
        self.second_head = nn.Sequential(
            nn.Linear(n_classes, 256), nn.BatchNorm1d(256), nn.LeakyReLU(), nn.Linear(256, n_classes)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of p and logits of the classifier, each (batch, class)."""
        steps = self.dropout(self.blocks(self.stem(x)))
        if self.attention is not None:
            steps = steps.transpose(1, 2)
            steps = self.attention(steps, steps, steps, need_weights=False)[0].transpose(1, 2)
        logits = self.classifier(torch.cat([steps.amax(dim=2), lead_present(x).to(steps.dtype)], dim=1))
        return self.second_head(logits.detach()), logits


def lead_present(x: Tensor) -> Tensor:
    """bool (batch, lead): True where a lead of (batch, lead, time) has a sample that is not zero."""
    return (x != 0).any(dim=2)


class _ResidualBlock(nn.Module):
    """Half the time, rounded up: two convolutions beside an averaged, projected shortcut; no activation after the sum.

    The first convolution has the stride. The shortcut averages the last, odd sample alone, so any length works.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(width, width, 9, stride=2, padding=4, bias=False),
            nn.BatchNorm1d(width),
            nn.LeakyReLU(),
            nn.Conv1d(width, width, 9, padding=4, bias=False),
            nn.BatchNorm1d(width),
            nn.LeakyReLU(),
        )
        self.projection = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.projection(functional.avg_pool1d(x, 2, ceil_mode=True))
