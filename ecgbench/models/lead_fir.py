"""Linear filters from lead to lead, fitted by ridge regression: the fair linear comparator of a convolutional network.

The regression's rows are all real samples of all training windows, its columns the given leads at every tap, with
zeros beyond a window's real samples, exactly what the filters meet when they are applied. Its normal equations are
built from correlations by FFT: summed over all times they are Toeplitz, and the few rows outside a window that such a
sum also contains are taken off again with the second moments of the window's two ends.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgbench.models.layers.presence import given_leads, lead_sets


def _valid_samples(mask: Tensor) -> Tensor:
    """int64, (batch,): how many samples are real; ValueError unless they are the first ones of each window."""
    valid = mask.sum(dim=1)
    if not torch.equal(mask, torch.arange(mask.shape[1], device=mask.device) < valid[:, None]):
        raise ValueError("lead_fir got a mask with padding before real samples: pad windows at their end only.")
    return valid


def _outside_rows(edge: Tensor) -> Tensor:
    """(lead, tap, lead, tap): what the rows before a window add to the normal equations.

    `edge` is (lead, sample, lead, sample), second moments of the window's first samples, `radius` of them. The
    row u samples before the window sees its first samples at the taps from radius + u on.
    """
    n_leads, radius = edge.shape[:2]
    rows = edge.new_zeros(n_leads, 2 * radius + 1, n_leads, 2 * radius + 1)
    for u in range(1, radius + 1):
        seen = radius + 1 - u
        rows[:, radius + u :, :, radius + u :] += edge[:, :seen, :, :seen]
    return rows


class LeadFir(nn.Module):
    """(batch, lead, time) with absent leads zero -> all leads, (batch, lead, time), in mV; no parameters.

    For any set of given leads, an offset and one centred filter of `n_taps` (odd) per given lead and predicted lead.
    `ridge`, above 0, is added to the variances, in parts of their mean over the given leads. Without a given lead it
    predicts the training means. The filters of a set are solved when first needed, and kept until the next `solve`.
    """

    tasks = ("reconstruction",)
    reads_presence = True
    """Absent leads are told by their zeros, so copies in their place would be taken for given ones."""
    lags: Tensor
    first: Tensor
    last: Tensor
    solved: Tensor

    def __init__(self, n_leads: int, n_taps: int = 65, ridge: float = 1e-4) -> None:
        super().__init__()
        if n_taps < 1 or n_taps % 2 == 0:
            raise ValueError(f"model.n_taps={n_taps} has no centre: give an odd number, 1 or more.")
        if not ridge > 0:
            raise ValueError(f"model.ridge={ridge:g} leaves dependent leads without a solution: give more than 0.")
        self.n_leads = n_leads
        self.radius = n_taps // 2
        self.ridge = ridge
        n_edge = n_leads * self.radius
        # The mask is correlated like one more lead: that gives the column of ones its products with all others.
        self.register_buffer("lags", torch.zeros(n_leads + 1, n_leads + 1, 2 * n_taps - 1, dtype=torch.float64))
        self.register_buffer("first", torch.zeros(n_edge, n_edge, dtype=torch.float64))
        self.register_buffer("last", torch.zeros(n_edge, n_edge, dtype=torch.float64))
        self.register_buffer("solved", torch.tensor(False))
        self._filters: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._filters.clear()
        super()._load_from_state_dict(*args, **kwargs)

    def sums(self) -> list[Tensor]:
        """What has been accumulated; several processes add theirs up, in place, before `solve`."""
        return [self.lags, self.first, self.last]

    @torch.no_grad()
    def accumulate(self, y: Tensor, mask: Tensor) -> None:
        """Takes in full targets (batch, lead, time), in mV, where `mask`, bool (batch, time), is True.

        Raises ValueError for a mask that is not True up to some sample and False from there on.
        """
        valid = _valid_samples(mask)
        signal = torch.where(mask[:, None], y, 0.0).double()
        self.lags += self._lag_products(torch.cat([signal, mask[:, None].double()], dim=1))
        self.first += self._edge_products(signal)
        at = (valid[:, None] - 1 - torch.arange(signal.shape[-1], device=valid.device)) % signal.shape[-1]
        self.last += self._edge_products(signal.gather(2, at[:, None].expand_as(signal)))

    def _lag_products(self, signal: Tensor) -> Tensor:
        """(a, b, lag), lags within 2 radius: the sum over batch and time of signal_a(t + lag) signal_b(t)."""
        reach = 2 * self.radius
        n_fft = 1 << (max(signal.shape[-1], reach + 1) + reach - 1).bit_length()
        spectrum = torch.fft.rfft(signal, n_fft).permute(2, 1, 0)
        products = torch.fft.irfft(spectrum @ spectrum.mH, n_fft, dim=0)
        return products.roll(reach, 0)[: 2 * reach + 1].permute(1, 2, 0)

    def _edge_products(self, signal: Tensor) -> Tensor:
        """(lead x sample, lead x sample): second moments of the first `radius` samples."""
        edge = functional.pad(signal, (0, self.radius))[..., : self.radius].flatten(1)
        return edge.T @ edge

    @torch.no_grad()
    def solve(self) -> None:
        """Makes every set of given leads solvable; ValueError when nothing was accumulated."""
        if self.lags[-1, -1, 2 * self.radius] == 0:
            raise ValueError("no training sample was accumulated: pass the training targets to accumulate first.")
        self._filters.clear()
        self.solved.fill_(True)

    def _normal_equations(self, given: list[int]) -> tuple[Tensor, Tensor]:
        """Products of the columns, (lead, tap, lead, tap), and with targets and ones, (lead, tap, target)."""
        radius = self.radius
        tap = torch.arange(2 * radius + 1, device=self.lags.device)
        lags = self.lags[given].double()
        inner = lags[:, given][..., tap[:, None] - tap + 2 * radius].permute(0, 2, 1, 3).contiguous()
        shape = (self.n_leads, radius, self.n_leads, radius)
        first, last = (edge.double().view(shape)[given][:, :, given] for edge in (self.first, self.last))
        inner -= _outside_rows(first) + _outside_rows(last).flip(1, 3)
        return inner, lags[..., radius : 3 * radius + 1].transpose(1, 2)

    @torch.no_grad()
    def filters(self, leads: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """float64 filters (lead, given lead, tap) and offsets (lead,), in mV, from the given channels `leads` to all.

        Tap k weighs the sample k - n_taps // 2 later.
        """
        centre = self.lags[:, -1, 2 * self.radius].double()
        mean, count = centre[:-1] / centre[-1], centre[-1]
        if not leads:
            return centre.new_zeros(self.n_leads, 0, 2 * self.radius + 1), mean
        n_columns = len(leads) * (2 * self.radius + 1)
        inner, outer = (products.reshape(n_columns, -1) for products in self._normal_equations(list(leads)))
        column_mean = outer[:, -1] / count
        inner = inner / count - torch.outer(column_mean, column_mean)
        variance = inner.diagonal().mean()
        # A set of leads that are all flat in training has nothing to weigh: any ridge gives filters of zero.
        inner.diagonal().add_(self.ridge * variance if variance > 0 else 1.0)
        weights = torch.linalg.solve(inner, outer[:, :-1] / count - torch.outer(column_mean, mean))
        return weights.T.reshape(self.n_leads, len(leads), -1), mean - column_mean @ weights

    def forward(self, x: Tensor) -> Tensor:
        """All leads by their filters from the given ones; RuntimeError before `solve`."""
        if not self.solved:
            raise RuntimeError("lead_fir has no filters yet: accumulate the training targets, then solve.")
        prediction = torch.empty_like(x)
        for leads, rows in lead_sets(given_leads(x)):
            if leads not in self._filters:
                self._filters[leads] = self.filters(leads)
            weights, offsets = (tensor.to(x) for tensor in self._filters[leads])
            if leads:
                prediction[rows] = functional.conv1d(x[rows][:, list(leads)], weights, offsets, padding=self.radius)
            else:
                prediction[rows] = offsets[:, None]
        return prediction
