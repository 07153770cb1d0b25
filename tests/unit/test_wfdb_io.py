"""The WFDB readers against the wfdb package on real recordings, and against hand-made files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgbench.data.record import RecordError
from ecgbench.data.wfdb_io import read_annotations, read_header, read_wfdb

RECORDINGS = [
    "ptb-xl/records500/00000/00001_hr",  # format 16, gain(baseline)/unit
    "ptb-xl/records100/00000/00017_lr",
    "mitdb/100",  # format 212, ADC zero 1024, no baseline
    "mitdb/207",
    "nstdb/bw",  # format 212, gain 0
    "nstdb/118e_6",  # format 16, gain 200(1024), no unit
]


def write(folder: Path, header: str, data: bytes = b"") -> Path:
    """A record `r` in `folder`, from the text of its header and the bytes of its signals."""
    (folder / "r.hea").write_text(header)
    (folder / "r.dat").write_bytes(data)
    return folder / "r"


@pytest.fixture
def copy(shared_data: Path, tmp_path: Path) -> Path:
    """A copy of a 12-lead, 5,000-sample recording, to be damaged."""
    for suffix in (".hea", ".dat"):
        shutil.copyfile(shared_data / f"ptb-xl/records500/00000/00001_hr{suffix}", tmp_path / f"00001_hr{suffix}")
    return tmp_path / "00001_hr"


@pytest.mark.parametrize("name", RECORDINGS)
def test_real_recordings_equal_wfdb_bit_for_bit(shared_data: Path, name: str) -> None:
    expected = wfdb.rdrecord(str(shared_data / name))
    record = read_wfdb(shared_data / name)
    assert record.signal_mv.dtype == np.float32
    np.testing.assert_array_equal(record.signal_mv, expected.p_signal.T.astype(np.float32))
    assert record.fs_hz == expected.fs
    assert list(record.leads) == expected.sig_name


def test_signals_after_a_byte_offset_equal_wfdb(shared_data: Path) -> None:
    """Challenge records are .mat files whose header gives format 16+24."""
    path = next((shared_data / "cinc2021").rglob("*.hea")).with_suffix("")
    assert read_header(path).signals[0].layout.byte_offset == 24
    np.testing.assert_array_equal(read_wfdb(path).signal_mv, wfdb.rdrecord(str(path)).p_signal.T.astype(np.float32))


def test_other_formats_are_read_by_wfdb(tmp_path: Path) -> None:
    """Format 24, which only wfdb reads here: 100 and -250 steps of 1/1000 mV."""
    digital = np.array([[100], [-250], [7]])
    wfdb.wrsamp("r", 500, ["mV"], ["I"], d_signal=digital, fmt=["24"], adc_gain=[1000], baseline=[0],
                write_dir=str(tmp_path))  # fmt: skip
    np.testing.assert_allclose(read_wfdb(tmp_path / "r").signal_mv, [[0.1, -0.25, 0.007]], rtol=1e-6)


def test_format_212_by_hand(tmp_path: Path) -> None:
    """Two 12-bit values in three bytes: 1 = 0x001, -2 = 0xFFE; then 1000 = 0x3E8 alone in two bytes."""
    path = write(tmp_path, "r 1 360 3\nr.dat 212 100/mV", bytes([0x01, 0xF0, 0xFE, 0xE8, 0x03]))
    np.testing.assert_allclose(read_wfdb(path).signal_mv, [[0.01, -0.02, 10.0]])


@pytest.mark.parametrize(
    ("fields", "expected_mv"),
    [
        ("0 12 0", 5.0),  # gain 0 means 200 a mV
        ("", 5.0),  # so does none
        ("1000/mV", 1.0),
        ("200 11 600", 2.0),  # no baseline: the ADC zero is it
        ("200(800)/mV 11 600", 1.0),  # a baseline: it wins over the ADC zero
        ("2/uV 16 0", 0.5),
        ("2000000/V 16 0", 0.5),
        ("204.7/mV 16 0", 1000 / 204.7),  # a gain float32 cannot hold
    ],
)
def test_digital_1000_in_millivolts(tmp_path: Path, fields: str, expected_mv: float) -> None:
    path = write(tmp_path, f"r 1 500 1\nr.dat 16 {fields}", np.array([1000], "<i2").tobytes())
    assert read_wfdb(path).signal_mv[0, 0] == np.float32(expected_mv)


def test_missing_samples_are_nan(tmp_path: Path) -> None:
    """-32768 marks them in format 16, -2048 (0x800) in format 212."""
    in_16 = write(tmp_path, "r 1 500 2\nr.dat 16 1000/mV", np.array([-32768, 500], "<i2").tobytes())
    np.testing.assert_array_equal(read_wfdb(in_16).signal_mv, np.float32([[np.nan, 0.5]]))
    in_212 = write(tmp_path, "r 1 500 2\nr.dat 212 1000/mV", bytes([0x00, 0x18, 0xF4]))
    np.testing.assert_array_equal(read_wfdb(in_212).signal_mv, np.float32([[np.nan, 0.5]]))


def test_length_comes_from_the_file_where_the_header_gives_none(tmp_path: Path) -> None:
    path = write(tmp_path, "r 2 500\nr.dat 16 1000/mV\nr.dat 16 1000/mV", np.arange(6, dtype="<i2").tobytes())
    np.testing.assert_allclose(read_wfdb(path).signal_mv, [[0, 0.002, 0.004], [0.001, 0.003, 0.005]])


def test_truncated_signals_are_refused(copy: Path) -> None:
    """12 leads of 2 bytes: 60,000 bytes are 2,500 samples."""
    dat = copy.with_suffix(".dat")
    dat.write_bytes(dat.read_bytes()[:60_000])
    with pytest.raises(RecordError, match=r"record 1: truncated: 00001_hr.dat holds 2500 of 5000 samples.*download"):
        read_wfdb(copy, "1")


@pytest.mark.parametrize("suffix", [".dat", ".hea"])
def test_missing_files_are_refused(copy: Path, suffix: str) -> None:
    copy.with_suffix(suffix).unlink()
    with pytest.raises(RecordError, match=f"missing file 00001_hr{suffix}"):
        read_wfdb(copy)


def test_one_changed_bit_breaks_the_checksum(copy: Path) -> None:
    """The header promises 11561 for lead II, the second in each frame; bit 0 of its first sample adds or takes 1."""
    data = bytearray(copy.with_suffix(".dat").read_bytes())
    data[2] ^= 1
    copy.with_suffix(".dat").write_bytes(data)
    with pytest.raises(RecordError, match=r"checksum of lead II is 1156[02], its header says 11561"):
        read_wfdb(copy)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "malformed header"),
        ("# only a comment\n", "malformed header"),
        ("r twelve 500 1\n", "malformed header"),
        ("r 1 0 1\nr.dat 16 1000/mV", "rate '0' is not a positive"),
        ("r 2 500 1\nr.dat 16 1000/mV", "truncated header: 1 of 2 signal lines"),
        ("r 1 500 1\nr.dat sixteen 1000/mV", "format 'sixteen'"),
        ("r 1 500 1\nr.dat 16 much", "gain 'much'"),
        ("r 1 500 1\nr.dat", "malformed header"),
        ("r 1 500 1\nr.dat 16 1000/mmHg", "unit 'mmHg'"),
    ],
)
def test_malformed_headers_are_refused_with_the_record_and_the_reason(tmp_path: Path, header: str, reason: str) -> None:
    with pytest.raises(RecordError, match=f"record r: .*{reason}"):
        read_wfdb(write(tmp_path, header, b"\x00\x00"))


def test_layouts_wfdb_cannot_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="record r: wfdb cannot read it"):
        read_wfdb(write(tmp_path, "r 1 500 9\nr.dat 999 1000/mV", b"\x00\x00"))


def test_annotations_count_the_beats_of_record_100(shared_data: Path) -> None:
    """2,239 normal, 33 atrial premature and 1 ventricular premature beat: MIT-BIH Database Directory."""
    marks = read_annotations(shared_data / "mitdb/100")
    counts = {symbol: int((marks.symbol == symbol).sum()) for symbol in "NAV"}
    assert counts == {"N": 2239, "A": 33, "V": 1}
    assert (np.diff(marks.sample) > 0).all()
    assert marks.sample[-1] < 650_000


def test_missing_annotations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"record 999: missing file 999\.atr"):
        read_annotations(tmp_path / "999")
