"""Blended training batches: how many, with what weights, and that a batch is the same whenever it is drawn again."""

import pytest
import torch
from torch import Tensor

from ecgbench.tasks.mixing import NonUniformMix

SHARES = (0.2, 0.4, 0.6, 0.8)


def batch(n: int) -> tuple[Tensor, Tensor]:
    """Records that are 1 in a place of their own, so that a blend shows its parts; the target is the same vector."""
    return torch.eye(n)[:, None].repeat(1, 2, 1), torch.eye(n)


def blended(weights: Tensor) -> Tensor:
    return (weights > 0).sum(1) > 1


@pytest.mark.parametrize(("epoch", "expected"), [(0, 6), (1, 12), (2, 18), (3, 24), (4, 24), (59, 24)])
def test_share_of_blended_records_grows_by_epoch(epoch: int, expected: int) -> None:
    """20, 40, 60, then 80 % of the published batch of 30."""
    for index in range(20):
        _, y = NonUniformMix(1.0, SHARES)(*batch(30), epoch=epoch, generator_seed=(0, index))
        assert int(blended(y).sum()) == expected


def test_a_share_that_is_no_whole_number_holds_on_average() -> None:
    """20 % of 8 records is 1.6: one or two of them, 1.6 in the mean of 500 batches."""
    mix = NonUniformMix(1.0, SHARES)
    counts = [int(blended(mix(*batch(8), 0, (0, index))[1]).sum()) for index in range(500)]
    assert set(counts) == {1, 2}
    assert sum(counts) / 500 == pytest.approx(1.6, abs=0.09)


def test_input_and_target_are_blended_with_the_same_two_weights() -> None:
    """Two records with weights that sum to one, in both leads and in the target; unblended ones are left to the bit."""
    x, y = batch(50)
    mixed_x, mixed_y = NonUniformMix(0.4, [0.8])(x, y, 0, (3,))
    torch.testing.assert_close(mixed_x, mixed_y[:, None].expand(-1, 2, -1))
    torch.testing.assert_close(mixed_y.sum(1), torch.ones(50))
    assert (mixed_y > 0).sum(1).max() == 2
    still = ~blended(mixed_y)
    assert torch.equal(mixed_x[still], x[still])
    assert mixed_y.diagonal().gt(0).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_weights_follow_the_beta_distribution(alpha: float) -> None:
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)) over 8000 blends."""
    mix = NonUniformMix(alpha, [1.0])
    weights = torch.cat([mix(*batch(100), 0, (index,))[1].diagonal() for index in range(80)]).double()
    assert float(weights.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(weights.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


def test_partners_are_all_the_other_records_alike() -> None:
    """Over 2000 batches of four, each record meets each other one in a third of the cases and never itself."""
    mix, met = NonUniformMix(5.0, [1.0]), torch.zeros(4, 4)
    for index in range(2000):
        met += (mix(*batch(4), 0, (index,))[1] > 0).float() / 2000
    off_diagonal = met[~torch.eye(4, dtype=torch.bool)]
    torch.testing.assert_close(off_diagonal, torch.full((12,), 1 / 3), atol=0.04, rtol=0)


def test_draws_depend_on_seed_epoch_and_batch_alone() -> None:
    """The same key gives the same batch, a change of any part another; global random numbers go on as if unused."""
    mix = NonUniformMix(1.0, [0.8])
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = mix(*batch(30), 2, (7, 1))[1]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, mix(*batch(30), 2, (7, 1))[1])
    for epoch, seed in ((3, (7, 1)), (2, (7, 2)), (2, (8, 1)), (1, (7, 2)), (2, (71,))):
        assert not torch.equal(first, mix(*batch(30), epoch, seed)[1])


def test_arguments_are_left_alone_and_types_kept() -> None:
    """float32 and float64 come back as they came."""
    for dtype in (torch.float32, torch.float64):
        x, y = (values.to(dtype) for values in batch(10))
        mixed_x, mixed_y = NonUniformMix(1.0, [0.8])(x, y, 0, (0,))
        assert mixed_x.dtype == mixed_y.dtype == dtype
        assert torch.equal(x, batch(10)[0].to(dtype))
        assert torch.equal(y, torch.eye(10, dtype=dtype))


@pytest.mark.parametrize("n", [0, 1])
def test_a_record_without_another_stays_as_it_is(n: int) -> None:
    """The last batch of an epoch may hold one record, or none."""
    x, y = torch.randn(n, 2, 5), torch.ones(n, 3)
    mixed_x, mixed_y = NonUniformMix(1.0, [1.0])(x, y, 0, (0,))
    assert torch.equal(mixed_x, x)
    assert torch.equal(mixed_y, y)


def test_no_share_changes_nothing() -> None:
    """An epoch with share 0 is training without mixing."""
    assert torch.equal(NonUniformMix(1.0, [0.0, 1.0])(*batch(10), 0, (0,))[0], batch(10)[0])


@pytest.mark.parametrize(
    ("alpha", "shares", "message"),
    [
        (0.0, SHARES, "alpha=0 .*above 0"),
        (float("nan"), SHARES, "alpha=nan .*above 0"),
        (1.0, [], r"shares=\[\]: give one or more"),
        (1.0, [0.5, 1.2], r"shares=\[0.5, 1.2\]: .* from 0 to 1"),
        (1.0, [-0.1], r"shares=\[-0.1\]: .* from 0 to 1"),
    ],
)
def test_impossible_settings_are_refused(alpha: float, shares: list[float], message: str) -> None:
    """With what was given and what is allowed."""
    with pytest.raises(ValueError, match=message):
        NonUniformMix(alpha, shares)
