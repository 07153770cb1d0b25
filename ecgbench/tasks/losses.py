"""Losses of the classification task, each split over processes: the processes' values sum to the batch's loss.

`loss(output, target, n_samples)` takes what the model returned for this process's samples, their 0/1 targets
(batch, class) and the number of samples of the batch over all processes. `loss.observe(targets)` takes the targets
(record, class) of the whole training split, once, before training.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgbench.data.label_sets import LABEL_SETS
from ecgbench.metrics.challenge import challenge_applies, challenge_weights, equivalent_columns

Output = Tensor | tuple[Tensor, Tensor]


class BinaryCrossEntropy(nn.Module):
    """Binary cross-entropy on logits, the mean over samples and classes.

    Args:
        pos_weight: "none", or "balanced": positives count as many times as there are negatives per positive in
            training.
        cap: largest such weight, and 1 / cap the smallest, so that a class without positives or without negatives in
            training keeps the loss finite.
    """

    pos_weight: Tensor | None

    n_heads = 1
    """Outputs of the model that it takes."""

    def __init__(self, pos_weight: str = "none", cap: float = 1e3) -> None:
        super().__init__()
        _check_choice("loss.pos_weight", pos_weight, ("none", "balanced"))
        _check_cap(cap)
        self.balanced, self.cap = pos_weight == "balanced", cap
        # Rebuilt from the training targets at every start, so not part of a checkpoint.
        self.register_buffer("pos_weight", None, persistent=False)

    def observe(self, targets: Tensor) -> None:
        """Sets the class weights from the training targets (record, class) if they are balanced."""
        if self.balanced:
            self.pos_weight = balanced_weights(targets, self.cap)

    def forward(self, output: Output, target: Tensor, n_samples: int) -> Tensor:
        """This process's part of the loss, a scalar; ValueError for the output of a model with two heads."""
        if not isinstance(output, Tensor):
            raise ValueError(
                f"loss=bce takes the logits of one head and the model returned {len(output)}; "
                "use loss=challenge_mixture"
            )
        if self.balanced and self.pos_weight is None:
            raise ValueError(_UNOBSERVED)
        return _cross_entropy(output, target, self.pos_weight) / (n_samples * target.shape[1])


class ChallengeMixture(nn.Module):
    """The three-part loss of ISIBrno-AIMT (Nejedly et al. 2021) for a model with the heads p and logits.

    Binary cross-entropy of the logits with balanced class weights, mean over samples and classes; minus the soft
    Challenge score of p; plus the mean of 4 p (1 - p), which pushes p to 0 and 1. As published the soft score is summed
    over the batch, so its weight grows with the batch; the published batch is 128.

    Args:
        labels: a name of `LABEL_SETS`, or the list of classes in the order of the columns.
        weights: "challenge_2020" or "challenge_2021", the Challenge's reward for taking one class for another, for its
            own classes only, merged or not; "identity", for any: no reward for a wrong class.
        reduction: of the soft score over the batch: "sum" (published) or "mean".
        cap: bound of the class weights, see `BinaryCrossEntropy`. Published: none, which is infinite for a class that
            training lacks.
    """

    weights: Tensor
    pos_weight: Tensor | None

    n_heads = 2
    """Outputs of the model that it takes."""

    def __init__(
        self, labels: str | Sequence[str], weights: str = "challenge_2021", reduction: str = "sum", cap: float = 1e3
    ) -> None:
        super().__init__()
        _check_choice("loss.reduction", reduction, ("sum", "mean"))
        _check_cap(cap)
        self.summed, self.cap = reduction == "sum", cap
        self.register_buffer("weights", reward_matrix(labels, weights), persistent=False)
        self.register_buffer("pos_weight", None, persistent=False)

    def observe(self, targets: Tensor) -> None:
        """Sets the class weights from the training targets (record, class)."""
        self.pos_weight = balanced_weights(targets, self.cap)

    def forward(self, output: Output, target: Tensor, n_samples: int) -> Tensor:
        """This process's part of the loss, a scalar; ValueError for the output of a model with one head."""
        if isinstance(output, Tensor):
            raise ValueError("loss=challenge_mixture takes two heads and the model returned one; use loss=bce")
        if self.pos_weight is None:
            raise ValueError(_UNOBSERVED)
        p_logits, logits = output
        p = torch.sigmoid(_at_least_single(p_logits))
        cross_entropy = _cross_entropy(logits, target, self.pos_weight)
        undecided = (4 * p * (1 - p)).sum()
        score = soft_challenge_score(p, target, self.weights).sum()
        if not self.summed:
            score = score / n_samples
        return (cross_entropy + undecided) / (n_samples * target.shape[1]) - score


def soft_challenge_score(p: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """What each record earns, (batch,): sum_jk W_jk L_j p_k / N with N = sum_k (L_k + p_k - L_k p_k) + 1e-6.

    The Challenge's unnormalised score with probabilities p for decisions (Nejedly et al. 2021); L is the target and N
    the soft size of the union of label and decision.
    """
    union = (target + p - target * p).sum(dim=1) + 1e-6
    return ((target @ weights.to(p)) * p).sum(dim=1) / union


def reward_matrix(labels: str | Sequence[str], weights: str) -> Tensor:
    """Reward (class, class) of deciding for the column's class where the row's is right, float32; see the losses.

    Raises ValueError when `weights` is unknown or is another label set's.
    """
    _check_choice("loss.weights", weights, ("challenge_2020", "challenge_2021", "identity"))
    if isinstance(labels, str):
        _check_choice("the label set", labels, tuple(LABEL_SETS))
    classes = (
        LABEL_SETS[labels] if isinstance(labels, str) else tuple(dict.fromkeys(labels))
    )  # dealt twice is one class
    if weights == "identity":
        return torch.eye(len(classes))
    year = int(weights.removeprefix("challenge_"))
    if not challenge_applies(classes, year):
        given = labels if isinstance(labels, str) else f"{len(classes)} classes: {', '.join(classes)}"
        raise ValueError(
            f"loss.weights={weights} is for the label set cinc{year} and this one is {given}; use "
            "loss.weights=identity, which rewards the right class only, or "
            f"dataset.labels=cinc{year}"
        )
    columns = equivalent_columns(classes, year)
    return torch.from_numpy(challenge_weights(year).weights[np.ix_(columns, columns)]).float()


def balanced_weights(targets: Tensor, cap: float) -> Tensor:
    """Negatives per positive of each class, float32 (class,), within 1 / cap and cap; ValueError without a record."""
    if not len(targets):
        raise ValueError("class weights need one training record or more, got none; check the training split")
    positives = targets.double().sum(dim=0)
    ratio = (len(targets) - positives) / positives
    return ratio.clamp(1 / cap, cap).float()


_UNOBSERVED = "class weights are not known yet: call observe(targets) with the training targets before the first batch"


def _cross_entropy(logits: Tensor, target: Tensor, pos_weight: Tensor | None) -> Tensor:
    """The sum over samples and classes."""
    logits = _at_least_single(logits)
    weights = None if pos_weight is None else pos_weight.to(logits)
    return functional.binary_cross_entropy_with_logits(logits, target.to(logits), pos_weight=weights, reduction="sum")


def _at_least_single(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if it is: sums over a batch are too much for half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _check_choice(key: str, given: str, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise ValueError(f"{key} is {given!r}; use one of {', '.join(allowed)}")


def _check_cap(cap: float) -> None:
    if not 1 <= cap < float("inf"):
        raise ValueError(f"loss.cap is {cap:g}; it must be finite and 1 or more")
