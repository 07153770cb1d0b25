"""Training batches whose records are blended with one another (MixUp, Zhang et al. 2018)."""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Beta


class NonUniformMix:
    """MixUp for a share of each batch that grows by epoch, as ECG-Mamba's Non-Uniform-Mix (Jiang et al. 2025).

    A blended record is c times itself plus 1 - c times another record of the batch, and so is its target; c is drawn
    for each from Beta(alpha, alpha).

    Args:
        alpha: 1 draws c evenly from 0 to 1; a smaller one leaves most blends close to one of the two records. The
            authors published none.
        shares: share of blended records in the first, second, ... epoch; the last holds from there on. Published:
            0.2, 0.4, 0.6, 0.8.

    Raises:
        ValueError: alpha is not above 0, or shares is empty or leaves 0 to 1.
    """

    def __init__(self, alpha: float, shares: Sequence[float]) -> None:
        if not 0 < alpha < math.inf:
            raise ValueError(f"mixing alpha={alpha:g} is no parameter of a Beta distribution: give a number above 0.")
        if len(shares) == 0 or not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"mixing shares={list(shares)}: give one or more numbers from 0 to 1, one for each epoch.")
        self.alpha = alpha
        self.shares = tuple(shares)

    def share(self, epoch: int) -> float:
        """The share of blended records in an epoch, counted from 0."""
        return self.shares[min(epoch, len(self.shares) - 1)]

    def __call__(self, x: Tensor, y: Tensor, epoch: int, generator_seed: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Blended inputs (batch, lead, time) and targets (batch, class); the arguments are not changed.

        The draws depend on `generator_seed`, `epoch` (from 0) and the batch size alone, so the seed must tell batches
        apart: (seed of the run, process, batch index). They touch no global generator. Where share times batch size is
        no whole number, it is rounded up or down by chance, so that the mean share holds. A record alone in its batch
        stays as it is.
        """
        n = len(x)
        if n < 2:
            return x, y
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(_seed(*generator_seed, epoch))
            mixed = torch.randperm(n)[: int(self.share(epoch) * n + torch.rand(()).item())]
            partner = (mixed + torch.randint(1, n, mixed.shape)) % n
            keep = torch.ones(n)
            keep[mixed] = Beta(self.alpha, self.alpha).sample(mixed.shape)
        other = torch.arange(n)
        other[mixed] = partner
        return _blend(x, other, keep), _blend(y, other, keep)


def _seed(*key: int) -> int:
    """A 64-bit seed that differs for every key (BLAKE2b)."""
    return int.from_bytes(hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest(), "little")


def _blend(values: Tensor, other: Tensor, keep: Tensor) -> Tensor:
    """Each row `keep` times itself plus the rest times the row `other`; rows with keep = 1 come back unchanged."""
    share = keep.to(values).view(-1, *[1] * (values.ndim - 1))
    return torch.lerp(values[other.to(values.device)], values, share)
