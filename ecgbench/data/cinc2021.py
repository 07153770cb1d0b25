"""The PhysioNet/Computing in Cardiology Challenge 2021: eight sources, 26 classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ecgbench.data.cinc import Cinc, Labels


@dataclass(kw_only=True)
class Cinc2021(Cinc):
    """The public training records of the Challenge 2021: 88,253 recordings with 12 leads from eight sources.

    Data card:
        Source: Reyna et al. 2021, "Will Two Do?", Computing in Cardiology 48; physionet.org/content/challenge-2021.
            Licence CC BY 4.0.
        Recorded: 500 Hz but for 516 records at 1000 Hz (ptb) and 74 at 257 Hz (st_petersburg_incart); 5 to 144 s, the
            74 half an hour; 16 bit, 1 uV a step.
        Labels: SNOMED CT codes; 30 are scored, four pairs of them as one, which leaves 26 classes.
        Known quirks: cpsc_2018 has no premature ventricular contraction though its own release has; PRWP and CLBBB
            occur in ningbo only, where flutter (7,615) stands for what others call fibrillation (0); most of Brady, of
            LPR and of BBB come from one source each. A model can gain by telling the sources apart.
        Hidden sets: 6,630 validation and 36,266 test records were never released.
    """

    labels: Labels = "cinc2021"

    year: ClassVar[int] = 2021
    official: ClassVar[Mapping[str, int]] = {
        "chapman_shaoxing": 10_247,
        "cpsc_2018": 6_877,
        "cpsc_2018_extra": 3_453,
        "georgia": 10_344,
        "ningbo": 34_905,
        "ptb": 516,
        "ptb-xl": 21_837,
        "st_petersburg_incart": 74,
    }
