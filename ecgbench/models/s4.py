"""S4 for ECG (Mehari & Strodthoff 2023, "Towards quantitative precision for ECG analysis"), with diagonal systems.

Four bidirectional state-space layers over the projected leads, then the mean over time. What differs from the
published network, which runs on the DPLR form of S4 (Gu, Goel & Ré 2022):

* the state matrix is diagonal (S4D), without the low-rank term and without an input vector B of its own, and is
  discretised by zero-order hold, not by the bilinear rule;
* it starts at the S4D-Inv poles, which resemble the eigenvalues of the published HiPPO-LegS matrix;
* step sizes and poles are trained, where the published code trains the output vectors C and D only;
* the backward run sees the present sample as the forward run does; the published one begins one sample later.

With 12 leads it has 2,178,586 parameters for 26 classes and 2,201,671 for 71: of these, 4 x 512 x (1 + 2 x 4) are the
trained step sizes and poles, without which the count is that of the published code, 2,183,239 for 71 classes.
"""

from typing import Literal

from torch import Tensor, nn

from ecgbench.models.layers.s4d import S4D


class S4Block(nn.Module):
    """(batch, d_model, time) -> the same shape: state-space layer, GELU and gated mixing of channels, then the norm.

    The norm follows the residual sum. Dropout takes whole channels of a record.
    """

    def __init__(self, d_model: int, d_state: int, poles: Literal["inv", "lin"], dropout: float) -> None:
        super().__init__()
        self.ssm = S4D(d_model, d_state, poles)
        self.mix = nn.Sequential(
            nn.GELU(),
            nn.Dropout1d(dropout),
            nn.Conv1d(d_model, 2 * d_model, kernel_size=1),
            nn.GLU(dim=1),
            nn.Dropout1d(dropout),
        )
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        """The input, refined."""
        return self.norm((x + self.mix(self.ssm(x))).transpose(1, 2)).transpose(1, 2)


class S4(nn.Module):
    """Logits (batch, class) from (batch, lead, time), of any length; published for 250 samples at 100 Hz.

    `d_model` is the number of channels, `d_state` the even number of states of each, `dropout` the probability that
    a channel is left out, twice in every layer.
    """

    tasks = ("classification",)

    def __init__(
        self,
        n_leads: int,
        n_classes: int,
        d_model: int = 512,
        d_state: int = 8,
        n_layer: int = 4,
        poles: Literal["inv", "lin"] = "inv",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(n_leads, d_model, kernel_size=1)
        self.blocks = nn.Sequential(*[S4Block(d_model, d_state, poles, dropout) for _ in range(n_layer)])
        self.head = nn.Linear(d_model, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """One logit per class."""
        return self.head(self.blocks(self.encoder(x)).mean(dim=2))
