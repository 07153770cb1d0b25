"""Losses of the classification task: against loops written from the definitions, over processes, and at the corners."""

import math

import pytest
import torch
from torch import Tensor

from ecgbench.data.label_sets import LABEL_SETS
from ecgbench.tasks.losses import BinaryCrossEntropy, ChallengeMixture, balanced_weights, reward_matrix

N, CLASSES = 7, ("a", "b", "c", "d")


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of both heads and targets, (7, 4) float64; the first record has no label."""
    generator = torch.Generator().manual_seed(seed)
    p_logits, logits = torch.randn(2, N, 4, generator=generator, dtype=torch.float64)
    target = (torch.rand(N, 4, generator=generator) < 0.4).double()
    target[0] = 0
    return p_logits, logits, target


TRAINING = torch.tensor([[1, 0, 0, 1], [1, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 1]])
"""Positives 2, 0, 1 and 4 of four: negatives / positives 1, infinite, 3 and 0."""
WEIGHTS = [1.0, 50.0, 3.0, 0.02]
"""The same with cap 50."""


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def looped_cross_entropy(logits: Tensor, target: Tensor, weights: list[float]) -> float:
    """Mean over samples and classes."""
    terms = [
        -(w * y * math.log(sigmoid(z)) + (1 - y) * math.log(1 - sigmoid(z)))
        for row_z, row_y in zip(logits.tolist(), target.tolist(), strict=True)
        for z, y, w in zip(row_z, row_y, weights, strict=True)
    ]
    return sum(terms) / len(terms)


def looped_score(p_logits: Tensor, target: Tensor, weights: Tensor) -> float:
    """The soft Challenge score, summed over the records: cell by cell."""
    score = 0.0
    for row_z, row_y in zip(p_logits.tolist(), target.tolist(), strict=True):
        p = [sigmoid(z) for z in row_z]
        union = sum(y + q - y * q for y, q in zip(row_y, p, strict=True)) + 1e-6
        for j, y in enumerate(row_y):
            for k, q in enumerate(p):
                score += weights[j, k].item() * y * q / union
    return score


def looped_undecided(p_logits: Tensor) -> float:
    terms = [4 * sigmoid(z) * (1 - sigmoid(z)) for z in p_logits.flatten().tolist()]
    return sum(terms) / len(terms)


def test_cross_entropy_is_the_mean_over_samples_and_classes() -> None:
    _, logits, target = batch()
    loss = BinaryCrossEntropy()(logits, target, N)
    assert loss.item() == pytest.approx(looped_cross_entropy(logits, target, [1.0] * 4))


def test_balanced_cross_entropy_weighs_positives_by_the_training_split() -> None:
    """The weights of the batch itself play no part."""
    _, logits, target = batch()
    loss = BinaryCrossEntropy("balanced", cap=50.0)
    loss.observe(TRAINING)
    assert loss(logits, target, N).item() == pytest.approx(looped_cross_entropy(logits, target, WEIGHTS), rel=1e-6)


def test_class_weights_are_capped_where_a_class_has_no_positives_or_no_negatives() -> None:
    torch.testing.assert_close(balanced_weights(TRAINING, 50.0), torch.tensor(WEIGHTS))
    with pytest.raises(ValueError, match="one training record or more, got none"):
        balanced_weights(torch.zeros(0, 4), 50.0)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(
    ("labels", "weights"), [("cinc2021", "challenge_2021"), ("cinc2020", "challenge_2020"), ("cinc2021", "identity")]
)
def test_mixture_is_the_three_terms_of_its_definition(labels: str, weights: str, reduction: str) -> None:
    """Weighted cross-entropy of the logits - soft score of p + mean of 4 p (1 - p), each by a loop."""
    n_classes = len(LABEL_SETS[labels])
    generator = torch.Generator().manual_seed(1)
    p_logits, logits = 2 * torch.randn(2, N, n_classes, generator=generator, dtype=torch.float64)
    target = (torch.rand(N, n_classes, generator=generator) < 0.1).double()
    loss = ChallengeMixture(labels, weights, reduction, cap=10.0)
    loss.observe(target)
    positives = target.sum(0).tolist()
    pos_weight = [min(max((N - p) / p if p else math.inf, 0.1), 10.0) for p in positives]
    score = looped_score(p_logits, target, reward_matrix(labels, weights)) / (N if reduction == "mean" else 1)
    expected = looped_cross_entropy(logits, target, pos_weight) - score + looped_undecided(p_logits)
    assert loss((p_logits, logits), target, N).item() == pytest.approx(expected, rel=1e-6)


def test_each_head_learns_from_its_own_terms() -> None:
    """Cross-entropy moves the logits only; the score and the decidedness move p only."""
    p_logits, logits, target = (t.requires_grad_() for t in batch())
    loss = ChallengeMixture(CLASSES, "identity", "sum", 50.0)
    loss.observe(TRAINING)
    loss((p_logits, logits), target.detach(), N).backward()
    bce = BinaryCrossEntropy("balanced", 50.0)
    bce.observe(TRAINING)
    expected = torch.autograd.grad(bce(logits, target.detach(), N), logits)[0]
    torch.testing.assert_close(logits.grad, expected)
    assert p_logits.grad is not None
    assert p_logits.grad.abs().min() > 0


@pytest.mark.parametrize("cuts", [(3, 4), (1, 6), (2, 2, 3)])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_parts_of_a_batch_sum_to_the_loss_of_the_whole(cuts: tuple[int, ...], reduction: str) -> None:
    """What several processes add up is what one computes, for both losses, in unequal parts."""
    p_logits, logits, target = batch()
    bce, mixture = BinaryCrossEntropy("balanced"), ChallengeMixture(CLASSES, "identity", reduction)
    for loss, heads in ((bce, (logits,)), (mixture, (p_logits, logits))):
        loss.observe(TRAINING)

        def value(*parts: Tensor, loss: torch.nn.Module = loss) -> Tensor:
            *outputs, y = parts
            return loss(outputs[0] if len(outputs) == 1 else tuple(outputs), y, N)

        parts = zip(*(t.split(cuts) for t in (*heads, target)), strict=True)
        torch.testing.assert_close(sum(value(*part) for part in parts), value(*heads, target))


def test_everything_stays_finite_for_an_absent_class_and_extreme_logits() -> None:
    """Loss and gradients, for a class that training lacks, records without label, and logits of 1e4 either way."""
    p_logits, logits, target = batch()
    p_logits, logits = (p_logits * 1e4).float().requires_grad_(), (logits * 1e4).float().requires_grad_()
    loss = ChallengeMixture(CLASSES, "identity")
    loss.observe(torch.zeros(5, 4))
    value = loss((p_logits, logits), target.float(), N)
    value.backward()
    assert value.isfinite()
    assert p_logits.grad is not None
    assert logits.grad is not None
    assert p_logits.grad.isfinite().all()
    assert logits.grad.isfinite().all()


def test_rewards_are_in_the_order_of_the_columns() -> None:
    """Published in 2021: sinus rhythm and Q wave .15, sinus rhythm and bradycardia .45, in any order of the classes."""
    classes = tuple(reversed(LABEL_SETS["cinc2021"]))
    rewards = reward_matrix(classes, "challenge_2021")
    normal = classes.index("NSR")
    assert rewards[normal, classes.index("QAb")].item() == pytest.approx(0.15)
    assert rewards[classes.index("Brady"), normal].item() == pytest.approx(0.45)
    assert rewards.diagonal().tolist() == [1.0] * 26


def test_raw_codes_that_are_scored_as_one_reward_each_other_fully() -> None:
    """The 27 codes of 2020: 27 on the diagonal and 6 for three pairs, 33 ones in all."""
    assert (reward_matrix("cinc2020_unmerged", "challenge_2020") == 1).sum() == 33


def test_identity_rewards_the_right_class_of_any_label_set() -> None:
    torch.testing.assert_close(reward_matrix("ptbxl_superdiagnostic", "identity"), torch.eye(5))
    torch.testing.assert_close(reward_matrix(["x", "y", "x"], "identity"), torch.eye(2))  # listed twice: one class


@pytest.mark.parametrize(
    ("labels", "weights", "message"),
    [
        ("ptbxl_superdiagnostic", "challenge_2021", "is for the label set cinc2021 and this one is ptbxl_superdiagn"),
        ("cinc2021", "challenge_2020", "is for the label set cinc2020 .* use loss.weights=identity"),
        (["AF", "NSR"], "challenge_2021", "this one is 2 classes: AF, NSR"),
        ("cinc2022", "identity", "label set is 'cinc2022'; use one of cinc2021"),
        ("cinc2021", "official", "loss.weights is 'official'; use one of challenge_2020, challenge_2021, identity"),
    ],
)
def test_weights_of_another_label_set_are_refused(labels: str | list[str], weights: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChallengeMixture(labels, weights)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"loss.pos_weight is 'yes'; use one of none, balanced"):
        BinaryCrossEntropy("yes")
    with pytest.raises(ValueError, match=r"loss.reduction is 'max'; use one of sum, mean"):
        ChallengeMixture(CLASSES, "identity", "max")
    for cap in (0.5, math.inf, math.nan):
        with pytest.raises(ValueError, match="it must be finite and 1 or more"):
            BinaryCrossEntropy("balanced", cap)


def test_a_loss_says_which_models_it_is_for() -> None:
    """One head and two heads are told apart, and the other loss is named."""
    p_logits, logits, target = batch()
    mixture = ChallengeMixture(CLASSES, "identity")
    with pytest.raises(ValueError, match="model returned 2; use loss=challenge_mixture"):
        BinaryCrossEntropy()((p_logits, logits), target, N)
    with pytest.raises(ValueError, match="model returned one; use loss=bce"):
        mixture(logits, target, N)


def test_class_weights_are_asked_for_before_the_first_batch() -> None:
    p_logits, logits, target = batch()
    with pytest.raises(ValueError, match=r"call observe\(targets\)"):
        BinaryCrossEntropy("balanced")(logits, target, N)
    with pytest.raises(ValueError, match=r"call observe\(targets\)"):
        ChallengeMixture(CLASSES, "identity")((p_logits, logits), target, N)


def test_weights_move_with_the_module_and_stay_out_of_checkpoints() -> None:
    """After `observe`, so that a checkpoint loads before and after it."""
    loss = ChallengeMixture(CLASSES, "identity")
    loss.observe(TRAINING)
    assert {b.device.type for b in loss.to("meta").buffers()} == {"meta"}
    assert len(list(loss.buffers())) == 2
    assert not loss.state_dict()


def test_half_precision_logits_are_summed_in_single() -> None:
    """512 samples of 26 classes: the loss of bfloat16 logits is that of the same numbers in float32."""
    generator = torch.Generator().manual_seed(2)
    p_logits, logits = torch.randn(2, 512, 26, generator=generator).bfloat16()
    target = (torch.rand(512, 26, generator=generator) < 0.1).float()
    loss = ChallengeMixture("cinc2021", "challenge_2021")
    loss.observe(target)
    half = loss((p_logits, logits), target, 512)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss((p_logits.float(), logits.float()), target, 512), rtol=1e-6, atol=0)
