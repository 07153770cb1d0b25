"""The PhysioNet/Computing in Cardiology Challenge 2020: six sources, 24 classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ecgbench.data.cinc import Cinc, Labels
from ecgbench.data.cinc2021 import Cinc2021

NEW_IN_2021 = ("chapman_shaoxing", "ningbo")


@dataclass(kw_only=True)
class Cinc2020(Cinc):
    """The public training records of the Challenge 2020: 43,101 recordings with 12 leads from six sources.

    Data card:
        Source: Perez Alday et al. 2020, Physiol. Meas. 41:124003; physionet.org/content/challenge-2020. CC BY 4.0.
        Recorded: as in 2021, of whose records these are a part: a download of 2021 serves both years.
        Labels: SNOMED CT codes; 27 are scored, three pairs of them as one, which leaves 24 classes. LBBB stands alone.
        Known quirks: cpsc_2018 has no premature ventricular contraction though its own release has; most of Brady
            comes from cpsc_2018_extra and most of LPR from ptb-xl.
    """

    labels: Labels = "cinc2020"

    year: ClassVar[int] = 2020
    official: ClassVar[Mapping[str, int]] = {k: n for k, n in Cinc2021.official.items() if k not in NEW_IN_2021}
