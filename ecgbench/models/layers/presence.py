"""Which leads a model is given: an absent lead is a channel of exact zeros."""

from collections.abc import Iterator

import torch
from torch import Tensor


def given_leads(x: Tensor) -> Tensor:
    """bool, (batch, lead): True where the channel of (batch, lead, time) holds any sample other than exactly zero.

    A given lead that is flat at zero throughout carries nothing and counts as absent.
    """
    return (x != 0).any(dim=-1)


def lead_sets(given: Tensor) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Each distinct set of given leads in a batch, as channel numbers, with the int64 rows that have it.

    `given` is bool, (batch, lead), from `given_leads`; every row comes once, and the empty set where a row has none.
    """
    sets, which = torch.unique(given, dim=0, return_inverse=True)
    for number, leads in enumerate(sets.tolist()):
        yield tuple(lead for lead, there in enumerate(leads) if there), torch.nonzero(which == number).squeeze(1)
