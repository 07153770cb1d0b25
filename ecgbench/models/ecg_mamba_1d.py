"""1DCNN-ECG-Mamba: one strided convolution, then Vim blocks over its outputs (Jiang et al. 2025, arXiv 2510.13046).

The published system has 12 leads, 8192 samples at 500 Hz, 26 classes, width 384, 16 blocks: 17,171,354 parameters.
Its comparisons "Mamba" and "AuM" differ by `direction` alone.
"""

from torch import Tensor, nn

from ecgbench.models.layers.vim import VimClassifier, check_signal


class EcgMamba1d(nn.Module):
    """(batch, lead, time) -> logits (batch, class); time must be `n_samples`, since positions are learned.

    `kernel` and `stride` are in samples: 8192 samples give 1023 tokens. `class_token` is "end" (published), "middle",
    "start" or "mean"; `direction` is "both" (published; Vim v2), "shared" (Vim v1, as in Audio Mamba) or "forward"
    (plain Mamba). The other options are those of `VimEncoder`.

    Raises:
        ValueError: an option has a value that does not exist, options contradict each other, or `n_samples` is shorter
            than the kernel.
    """

    tasks = ("classification",)

    def __init__(
        self,
        n_leads: int,
        n_classes: int,
        n_samples: int,
        d_model: int = 384,
        n_layer: int = 16,
        kernel: int = 16,
        stride: int = 8,
        direction: str = "both",
        class_token: str = "end",
        norm: str = "rms",
        divide: bool = False,
        drop_path: float = 0.0,
        dropout: float = 0.0,
        use_d: bool = True,
        d_state: int = 16,
        scan_backend: str = "auto",
    ) -> None:
        super().__init__()
        if n_samples < kernel:
            raise ValueError(
                f"n_samples={n_samples} is shorter than the first convolution, model.kernel={kernel}: "
                f"give records of at least {kernel} samples, or a smaller model.kernel."
            )
        self.n_leads, self.n_samples = n_leads, n_samples
        self.stem = nn.Conv1d(n_leads, d_model, kernel, stride=stride)
        self.vim = VimClassifier(
            d_model,
            (n_samples - kernel) // stride + 1,
            n_classes,
            n_layer,
            class_token,
            direction,
            norm=norm,
            divide=divide,
            drop_path=drop_path,
            dropout=dropout,
            use_d=use_d,
            d_state=d_state,
            scan_backend=scan_backend,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, class)."""
        check_signal(x, self.n_leads, self.n_samples)
        return self.vim(self.stem(x))
