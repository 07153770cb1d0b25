"""The MIT-BIH Noise Stress Test Database: half an hour each of three kinds of noise met in ambulatory ECG."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ecgbench.data.wfdb_io import read_wfdb

FS_HZ = 360.0
KINDS = ("bw", "em", "ma")


@dataclass(frozen=True)
class Nstdb:
    """Noise records of the MIT-BIH Noise Stress Test Database; not a source of ECG.

    Data card:
        Source: Moody, Muldrow and Mark 1984, Computers in Cardiology 11:381-384; physionet.org/content/nstdb.
        Licence: ODC-By 1.0.
        Kinds: bw, baseline wander; em, electrode motion (with some of the others in it); ma, muscle artefact.
        Recorded: from electrodes on the limbs of volunteers, where no ECG shows; 2 channels, 650,000 samples, 360 Hz.
        Units: the headers give gain 0, which WFDB defines as 200 steps a mV.
    """

    root: str | Path
    """Folder that holds bw.hea, em.hea, ma.hea and their .dat files."""

    def noise(self, kind: Literal["bw", "em", "ma"]) -> np.ndarray:
        """One kind of noise, float32 mV, (channel, time) at 360 Hz; neither filtered nor centred.

        Raises ValueError for another kind, FileNotFoundError where `root` does not hold it, RecordError for a
        damaged file.
        """
        if kind not in KINDS:
            raise ValueError(f"noise kind {kind!r} is not in NSTDB; choose among {', '.join(KINDS)}")
        path = Path(self.root) / kind
        if not path.with_suffix(".hea").is_file():
            raise FileNotFoundError(
                f"noise root {self.root} holds no {kind}.hea; set it to the NSTDB folder that does, "
                "or get it with `python -m ecgbench.fetch nstdb`"
            )
        return read_wfdb(path, kind).signal_mv
