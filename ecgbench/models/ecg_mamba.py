"""ECG-Mamba: two strided convolutions, then a Vim encoder with its class token in the middle (Jiang et al. 2025).

IEEE JTEHM 13:461-470, doi 10.1109/JTEHM.2025.3613609. The published system has 12 leads, 8192 samples at 500 Hz,
26 classes, width 384, 24 blocks: 26,091,290 parameters.
"""

from torch import Tensor, nn

from ecgbench.models.layers.vim import VimClassifier, check_signal

FIRST = {"kernel_size": 14, "stride": 3, "padding": 2}
SECOND = {"kernel_size": 15, "stride": 4, "padding": 100}


def _length(n_samples: int, kernel_size: int, stride: int, padding: int) -> int:
    """Samples after a convolution."""
    return (n_samples + 2 * padding - kernel_size) // stride + 1


def _layer(in_channels: int, out_channels: int, batch_norm: bool, shape: dict[str, int]) -> nn.Sequential:
    """A convolution, its normalisation where wanted, and ReLU."""
    norm = nn.BatchNorm1d(out_channels) if batch_norm else nn.Identity()
    return nn.Sequential(nn.Conv1d(in_channels, out_channels, **shape), norm, nn.ReLU())


class EcgMamba(nn.Module):
    """(batch, lead, time) -> logits (batch, class); time must be `n_samples`, since positions are learned.

    8192 samples give 2728 and then 729 tokens. Each block reads both ways with weights of its own (Vim v2) and halves
    the sum. `stem_width` is the number of channels between the convolutions. Copies of the authors' code disagree on
    the stem's batch normalisation; `stem_batch_norm=False` leaves it out. `drop_path` is the probability of leaving
    out the last block for a record, earlier ones' rise linearly to it.

    Raises:
        ValueError: `n_samples` is shorter than the first kernel, or an option is out of its range.
    """

    tasks = ("classification",)

    def __init__(
        self,
        n_leads: int,
        n_classes: int,
        n_samples: int,
        d_model: int = 384,
        n_layer: int = 24,
        stem_width: int = 128,
        stem_batch_norm: bool = True,
        drop_path: float = 0.1,
        d_state: int = 16,
        scan_backend: str = "auto",
    ) -> None:
        super().__init__()
        shortest = FIRST["kernel_size"] - 2 * FIRST["padding"]
        if n_samples < shortest:
            raise ValueError(
                f"n_samples={n_samples} is shorter than the first convolution of ecg_mamba, which needs {shortest}: "
                f"give records of at least {shortest} samples."
            )
        self.n_leads, self.n_samples = n_leads, n_samples
        self.stem = nn.Sequential(
            _layer(n_leads, stem_width, stem_batch_norm, FIRST),
            _layer(stem_width, d_model, stem_batch_norm, SECOND),
        )
        n_tokens = _length(_length(n_samples, **FIRST), **SECOND)
        self.vim = VimClassifier(
            d_model,
            n_tokens,
            n_classes,
            n_layer,
            class_token="middle",
            direction="both",
            divide=True,
            drop_path=drop_path,
            d_state=d_state,
            scan_backend=scan_backend,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, class)."""
        check_signal(x, self.n_leads, self.n_samples)
        return self.vim(self.stem(x))
