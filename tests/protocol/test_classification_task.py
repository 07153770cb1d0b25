"""What the task makes of a model: windows of long records, the loss over processes, validation scores, heads."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from torch import Tensor, nn

from ecgbench.data.record import EcgBatch
from ecgbench.models.majority import Majority
from ecgbench.scoring.classification import ClassificationScoring, head_names
from ecgbench.tasks import classification
from ecgbench.tasks.classification import Classification
from ecgbench.tasks.losses import BinaryCrossEntropy


class FirstSample(nn.Module):
    """Logits from the input itself: class 0 the first sample of lead 0, class 1 its negative; sees windows' starts."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0, 0], -x[:, 0, 0]], 1)


class TwoHeads(FirstSample):
    """A second head with the opposite answer."""

    heads = ("probability", "logits")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(x), -super().forward(x)


class Wide(nn.Module):
    """Logits that are the facts beside the signal."""

    inputs = ("x", "wide")

    def forward(self, x: Tensor, wide: Tensor) -> Tensor:
        return wide + x.mean((1, 2))[:, None]


def batch_of(x: Tensor, y: Tensor | None = None, mask: Tensor | None = None, wide: Tensor | None = None) -> EcgBatch:
    """A batch with what is not given filled in: no label, no padding, no facts."""
    n = len(x)
    return EcgBatch(
        x=x,
        y=torch.zeros(n, 2) if y is None else y,
        mask=torch.ones(n, x.shape[-1], dtype=torch.bool) if mask is None else mask,
        row=torch.arange(n),
        condition=torch.zeros(n, dtype=torch.long),
        wide=torch.zeros(n, 0) if wide is None else wide,
    )


def task_of(model: nn.Module, **changes: Any) -> Classification:
    """A task with windows of 4 samples every 3."""
    options = {"loss": BinaryCrossEntropy(), "mix": None, "n_samples": 4, "stride_samples": 3, "aggregate": "max"}
    return Classification(
        model=model, make_optimizer=None, make_schedule=None, seed=0, **{**options, **changes}  # type: ignore[arg-type]
    )  # fmt: skip


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


RAMP = torch.arange(12.0).view(1, 1, 12) - 5
"""One record, one lead, -5 to 6: windows of 4 every 3 start at 0, 3, 6 and, to reach the end, at 8."""
STARTS = (-5.0, -2.0, 1.0, 3.0)
"""The samples that those windows begin with."""


@pytest.mark.parametrize(("aggregate", "join"), [("max", max), ("mean", lambda p: sum(p) / len(p))])
def test_windows_become_one_probability(aggregate: str, join: Any) -> None:
    """The maximum, or the mean, of the windows' probabilities by class; the last window ends with the record."""
    found = task_of(FirstSample(), aggregate=aggregate).probabilities(FirstSample(), batch_of(RAMP))[""]
    expected = [join([sigmoid(s) for s in STARTS]), join([sigmoid(-s) for s in STARTS])]
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)


@pytest.mark.parametrize("aggregate", ["max", "mean"])
def test_a_window_of_padding_alone_does_not_count(aggregate: str) -> None:
    """Real samples 0 to 4: the windows at 0 and 3 count, those at 6 and 8 hold nothing but zeros and do not."""
    x, mask = RAMP.clone(), torch.arange(12)[None] < 5
    x[..., 5:] = 0
    found = task_of(FirstSample(), aggregate=aggregate).probabilities(FirstSample(), batch_of(x, mask=mask))[""]
    real = np.array([[sigmoid(s), sigmoid(-s)] for s in STARTS[:2]])
    np.testing.assert_allclose(found[0], real.max(0) if aggregate == "max" else real.mean(0), rtol=1e-6)


def test_records_of_a_batch_keep_to_themselves() -> None:
    """Three long records at once have the probabilities that each has alone, and their own facts beside each window."""
    x = torch.cat([RAMP, RAMP.flip(-1), RAMP * 0.3])
    wide = torch.tensor([[1.0, -1.0], [3.0, 0.0], [0.0, 2.0]])
    for model in (FirstSample(), Wide()):
        task = task_of(model, aggregate="mean")
        together = task.probabilities(model, batch_of(x, wide=wide))[""]
        alone = [task.probabilities(model, batch_of(x[i : i + 1], wide=wide[i : i + 1]))[""][0] for i in range(3)]
        torch.testing.assert_close(together, torch.stack(alone))
    assert len(set(together[:, 0].tolist())) == 3


def test_a_short_sample_is_one_window() -> None:
    """Of the model's own length: its sigmoid and nothing else."""
    found = task_of(FirstSample()).probabilities(FirstSample(), batch_of(RAMP[..., :4]))[""]
    np.testing.assert_allclose(found[0], [sigmoid(-5), sigmoid(5)], rtol=1e-6)


@pytest.mark.parametrize("stride", [0, -1, 5])
def test_a_stride_that_skips_samples_is_refused(stride: int) -> None:
    """Windows of 4 samples every 5 would leave every fifth one out."""
    with pytest.raises(ValueError, match=rf"stride_samples is {stride} and n_samples 4; needed are 1 <= stride"):
        task_of(FirstSample(), stride_samples=stride)


def test_every_head_is_a_system() -> None:
    """The first head has the model's name, the second its own in brackets; each has its own probabilities."""
    assert head_names({"net": TwoHeads(), "majority": Majority(2)}) == ["net", "net (logits)", "majority"]
    found = task_of(TwoHeads()).probabilities(TwoHeads(), batch_of(RAMP[..., :4]))
    assert list(found) == ["probability", "logits"]
    np.testing.assert_allclose(found["logits"], 1 - found["probability"], atol=1e-6)


def test_loss_parts_of_processes_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven samples as five and two, each part knowing of seven: the sum is the mean cross-entropy of all seven."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(7, 1, 4, generator=generator), torch.randint(0, 2, (7, 2), generator=generator).float()
    losses = []
    for part in (slice(7), slice(5), slice(5, 7)):
        task = task_of(FirstSample())
        monkeypatch.setattr(task, "log", lambda *args, **options: None)
        monkeypatch.setattr(classification, "n_over_processes", lambda y: 7)
        losses.append(float(task.training_step(batch_of(x[part], y[part]), 0)))
    expected = log_loss(y[:, 0], torch.sigmoid(x[:, 0, 0])) + log_loss(y[:, 1], torch.sigmoid(-x[:, 0, 0]))
    assert losses[0] == pytest.approx(expected / 2, rel=1e-5)
    assert losses[1] + losses[2] == pytest.approx(losses[0], rel=1e-5)


def validate(task: Classification, batches: list[EcgBatch], monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the task logs of a validation epoch."""
    logged: dict[str, float] = {}
    monkeypatch.setattr(task, "log", lambda name, value, **options: logged.update({name: float(value)}))
    for i, batch in enumerate(batches):
        task.validation_step(batch, i)
    task.on_validation_epoch_end()
    return logged


def validation_batches(n_classes_with_positives: int) -> list[EcgBatch]:
    """Thirty records in batches of 8, 8, 8 and 6."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(30, 1, 4, generator=generator)
    y = torch.randint(0, 2, (30, 2), generator=generator).float()
    y[:, n_classes_with_positives:] = 0
    return [batch_of(x[i : i + 8], y[i : i + 8]) for i in range(0, 30, 8)]


def test_validation_scores_are_scikit_learn_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Macro AUROC, macro average precision and cross-entropy over all batches together, epoch by epoch anew."""
    batches = validation_batches(2)
    task = task_of(FirstSample())
    logged = [validate(task, batches, monkeypatch) for _ in range(2)]
    y = torch.cat([b.y for b in batches]).numpy()
    score = torch.cat([torch.sigmoid(FirstSample()(b.x)) for b in batches]).double().numpy()
    expected = {
        "val/loss": np.mean([log_loss(y[:, k], score[:, k]) for k in (0, 1)]),
        "val/auroc_macro": roc_auc_score(y, score, average="macro"),
        "val/auprc_macro": average_precision_score(y, score, average="macro"),
    }
    assert logged[0] == pytest.approx(expected, rel=1e-5)
    assert logged[1] == logged[0]


def test_classes_without_positives_are_left_out_of_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of the one class that has any, not NaN and not half of it."""
    batches = validation_batches(1)
    logged = validate(task_of(FirstSample()), batches, monkeypatch)
    y, score = torch.cat([b.y for b in batches])[:, 0], torch.cat([b.x for b in batches])[:, 0, 0]
    assert logged["val/auroc_macro"] == pytest.approx(roc_auc_score(y, score))
    assert logged["val/auprc_macro"] == pytest.approx(average_precision_score(y, score))


def test_a_model_that_broke_down_has_no_validation_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """One NaN among the inputs: no score is finite, so that no checkpoint of it is chosen for one."""
    batches = validation_batches(2)
    batches[1].x[3, 0, 0] = torch.nan
    logged = validate(task_of(FirstSample()), batches, monkeypatch)
    assert set(logged) == {"val/loss", "val/auroc_macro", "val/auprc_macro"}
    assert all(np.isnan(value) for value in logged.values())


def test_the_first_head_is_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second head answers the opposite, so its AUROC is one minus the first's."""
    batches = validation_batches(2)
    first, plain = (validate(task_of(m), batches, monkeypatch) for m in (TwoHeads(), FirstSample()))
    assert first == plain


def test_only_training_batches_are_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mixer gets the batch, the epoch and a key that tells batches apart; validation never calls it."""
    calls = []

    def mix(x: Tensor, y: Tensor, epoch: int, key: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        calls.append((epoch, key))
        return x * 0, y * 0

    task = task_of(FirstSample(), mix=mix)
    batches = validation_batches(2)
    validate(task, batches, monkeypatch)
    task.probabilities(task.model, batches[0])
    assert not calls
    monkeypatch.setattr(task, "log", lambda *args, **options: None)
    losses = [float(task.training_step(batches[i], i)) for i in (0, 1)]
    assert calls == [(0, (0, 0, 0)), (0, (0, 0, 1))]
    assert losses == pytest.approx([np.log(2)] * 2)  # logits 0, targets 0


def test_class_weights_and_prevalences_come_from_training_labels() -> None:
    """The loss and the trivial row see the training split's labels, once, before anything else."""

    @dataclasses.dataclass
    class Labels:
        asked: list[str]

        def labels(self, split: str) -> Tensor:
            self.asked.append(split)
            return torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])

    examples = Labels([])
    data = type("Data", (), {"examples": examples})()
    loss, majority = BinaryCrossEntropy(pos_weight="balanced"), Majority(2)
    task_of(FirstSample(), loss=loss).prepare({"net": FirstSample(), "majority": majority}, data)
    assert set(examples.asked) == {"train"}
    assert loss.pos_weight is not None
    assert loss.pos_weight.tolist() == pytest.approx([1 / 3, 1e3])  # 1 negative to 3; none present: capped
    np.testing.assert_allclose(torch.sigmoid(majority.logits), [0.75, 1e-6], rtol=1e-3)


@pytest.mark.parametrize(
    ("labels", "thresholds", "fits"),
    [
        ("cinc2021", "challenge_2021", True),
        ("cinc2020_unmerged", "challenge_2020", True),
        ("cinc2020", "challenge_2021", False),
        ("ptbxl_form", "challenge_2020", False),
        (["NORM", "AFIB"], "challenge_2021", False),
        (["NORM", "AFIB"], "fixed", True),
    ],
)
def test_thresholds_of_a_challenge_need_its_classes(labels: Any, thresholds: str, fits: bool) -> None:
    """Asked for others they are refused with what would fit, not after the training."""
    options = {"labels": labels, "thresholds": thresholds}
    if fits:
        assert thresholds in ClassificationScoring(**options).protocol("")
        return
    with pytest.raises(ValueError, match=rf"task\.thresholds={thresholds} is for the label set cinc.*use task\.thres"):
        ClassificationScoring(**options)
