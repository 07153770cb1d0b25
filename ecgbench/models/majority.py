"""The trivial row of every table: each class at its prevalence in training, whatever the recording."""

import torch
from torch import Tensor, nn


class Majority(nn.Module):
    """(batch, lead, time) -> logits (batch, class), the same for every record; no parameters.

    Until `observe` has seen the training targets every class has probability one half.
    """

    tasks = ("classification",)
    logits: Tensor

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("logits", torch.zeros(n_classes))

    def observe(self, targets: Tensor) -> None:
        """Takes the prevalences from the training targets (record, class), held within 1e-6 and 1 - 1e-6.

        Raises ValueError when there is no record.
        """
        if not len(targets):
            raise ValueError("majority got no training record, and needs one or more; check the training split")
        prevalence = targets.double().mean(dim=0).clamp(1e-6, 1 - 1e-6)
        self.logits.copy_(torch.logit(prevalence))

    def forward(self, x: Tensor) -> Tensor:
        """The prevalences as logits, (batch, class), in the type of `x`."""
        return self.logits.to(x.dtype).expand(len(x), -1)
