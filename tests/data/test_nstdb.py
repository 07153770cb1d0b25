"""The noise records of the MIT-BIH Noise Stress Test Database."""

from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgbench.data.nstdb import Nstdb


@pytest.mark.parametrize("kind", ["bw", "em", "ma"])
def test_noise_is_the_file_in_millivolts(shared_data: Path, kind: str) -> None:
    """The headers give gain 0: 200 steps a mV."""
    noise_mv = Nstdb(shared_data / "nstdb").noise(kind)
    digital = wfdb.rdrecord(str(shared_data / "nstdb" / kind), physical=False).d_signal
    assert (noise_mv.shape, noise_mv.dtype) == ((2, 650_000), np.float32)
    np.testing.assert_array_equal(noise_mv, (digital.T / 200).astype(np.float32))


def test_a_missing_folder_is_told_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no bw.hea; .*python -m ecgbench.fetch nstdb"):
        Nstdb(tmp_path / "nowhere").noise("bw")


def test_an_unknown_kind_is_refused(shared_data: Path) -> None:
    with pytest.raises(ValueError, match="noise kind 'pl' is not in NSTDB; choose among bw, em, ma"):
        Nstdb(shared_data / "nstdb").noise("pl")
