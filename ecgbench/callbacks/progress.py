"""Training progress where no terminal can redraw a bar: one line per epoch."""

import time

import pytorch_lightning as pl
from rich.console import Console


class EpochLines(pl.Callback):
    """Prints epoch, losses and seconds after each validation."""

    def __init__(self) -> None:
        self._console, self._started = Console(stderr=True), 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One line on the first process."""
        if not trainer.is_global_zero:
            return
        values = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(("train/", "val/"))}
        text = "  ".join(f"{name} {value:.5g}" for name, value in sorted(values.items()))
        seconds = time.monotonic() - self._started
        line = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {text}  {seconds:.1f} s"
        self._console.print(line, soft_wrap=True, highlight=False)
