"""Challenge headers and signals: every published spelling is read, and nothing is misread in silence."""

import math
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from challenge_files import SPELLINGS, adc, header, v4_bytes, write_record
from scipy.io import loadmat, savemat

from ecgbench.data.cinc_files import read_header
from ecgbench.data.cinc_header import parse_age, parse_header, parse_sex
from ecgbench.data.cinc_signal import read_signal_mv
from ecgbench.data.record import LEADS, RecordError


def signal_of(path: Path) -> np.ndarray:
    """The record's signal, by way of its header."""
    return read_signal_mv(path.parent, read_header(path), path.stem)


class TestSpellings:
    @pytest.mark.parametrize("spelling", SPELLINGS)
    def test_every_generation_says_the_same(self, spelling):
        """Labels, gain, rate and length do not depend on the generation."""
        found = parse_header(header("A1", adc(), spelling, dx="59118001,284470004"), "A1")
        assert found.dx == ("59118001", "284470004")
        assert found.steps_per_mv == (1000.0,) * 12
        assert found.baseline == (0,) * 12
        assert (found.fs_hz, found.n_samples, found.file, found.leads) == (500.0, 500, "A1.mat", LEADS)
        assert (found.age_years, found.sex) == (56.0, "male")

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("\n", "\r\n"),
            ("#Dx: 1,2", "#Dx: 1, 2, ,"),
            ("#Dx: 1,2", "#Dx:1,2,  "),
            ("#Dx: 1,2", "# Dx : 1,2,1"),
            ("#Dx: 1,2", "#dx: 1\n#Dx: 2"),
            ("A1 12 500 500", "A1.mat 12 500 500"),
            ("A1 12 500 500", "A1 12 500.0 500"),
            ("A1 12 500 500 12-May-2020 12:33:59", "A1 12 500 500"),
            ("A1 12", "\ufeffA1 12"),
            ("1000/mV", "1000.0/mV"),
        ],
    )
    def test_small_differences_do_not_matter(self, old, new):
        """Line ends, blanks, commas, `.mat` in the name, time and date."""
        text = header("A1", adc(), dx="1,2")
        assert old in text
        assert parse_header(text.replace(old, new), "A1") == parse_header(text, "A1")

    def test_units_and_baseline_reach_the_scale(self):
        """1 step a microvolt is 1000 steps a millivolt; a baseline in brackets stands before the ADC zero."""
        text = header("A1", adc())
        assert parse_header(text.replace("1000/mV", "1/uV"), "A1").steps_per_mv[0] == 1000.0
        assert parse_header(text.replace("1000/mV", "1000(7)/mV"), "A1").baseline == (7,) * 12
        assert parse_header(text.replace("1000/mV 16 0", "1000/mV 16 5"), "A1").baseline == (5,) * 12

    @pytest.mark.parametrize(
        ("text", "years"),
        [("56", 56), (" 56.5 ", 56.5), ("56 years", 56), ("57Y", 57), (">89", 90), ("300", 90), ("0", 0)],
    )
    def test_ages(self, text, years):
        """Numbers in years; 'above 89' is 90."""
        assert parse_age(text) == years

    @pytest.mark.parametrize("text", ["NaN", "", "Unknown", "-1", "200", "old"])
    def test_ages_that_are_none(self, text):
        """Unknown, impossible and unreadable ages are NaN."""
        assert math.isnan(parse_age(text))

    @pytest.mark.parametrize(
        ("text", "sex"),
        [("M", "male"), ("Male", "male"), (" male", "male"), ("F", "female"), ("FEMALE", "female")]
        + [(text, "unknown") for text in ("NaN", "Unknown", "", "U")],
    )
    def test_sexes(self, text, sex):
        """Every spelling in use."""
        assert parse_sex(text) == sex

    def test_age_and_sex_may_be_missing(self):
        """Headers without these lines are whole."""
        found = parse_header(header("A1", adc(), age=None, sex=None), "A1")
        assert math.isnan(found.age_years)
        assert found.sex == "unknown"


class TestBadHeaders:
    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("#Dx: 426783006\n", "", "record A1: its header has no Dx line, so no labels; mend"),
            ("#Dx: 426783006", "#Dx:", "its Dx line '' does not list SNOMED CT codes"),
            ("#Dx: 426783006", "#Dx: AFIB", "its Dx line 'AFIB' does not list SNOMED CT codes"),
            ("1000/mV", "0/mV", "gain '0/mV' is not a positive number"),
            ("1000/mV", "x/mV", "gain 'x/mV' is not a positive number"),
            ("1000/mV", "-5/mV", "gain '-5/mV' is not a positive number"),
            ("1000/mV", "1000/mmHg", "unit 'mmHg' is not mV, uV or V"),
            ("16+24", "212", "format '212' is not 16"),
            ("16+24", "16x2+24", "format '16x2\\+24' is not 16"),
            ("A1 12 500 500", "A1 12 500", "its first line is 'A1 12 500 12-May"),
            ("A1 12 500 500", "A1 12 0 500", "500 samples at 0 Hz"),
            ("A1 12 500 500", "A1 13 500 500", "12 signal lines for 13 leads"),
            (" 0 V6", " V6", "8 fields, not 9, in the signal line"),
            ("A1.mat 16+24 1000/mV 16 0", "A2.mat 16+24 1000/mV 16 0", "leads lie in several files"),
        ],
    )
    def test_is_refused_with_the_reason(self, old, new, message):
        """One damage at a time."""
        text = header("A1", adc())
        assert old in text
        with pytest.raises(RecordError, match=message):
            parse_header(text.replace(old, new, 1), "A1")

    def test_an_empty_header_is_refused(self):
        """As after an interrupted download."""
        with pytest.raises(RecordError, match="record A1: malformed header: its first line is ''"):
            parse_header("", "A1")


class TestSignals:
    def test_the_samples_are_those_scipy_reads(self, tmp_path):
        """Through gain and baseline: (value - 3) / 500."""
        path = write_record(tmp_path, "A1", adc(777))
        path.write_text(path.read_text().replace("1000/mV", "500(3)/mV"))
        expected = (loadmat(tmp_path / "A1.mat")["val"].astype(float) - 3) / 500
        assert signal_of(path).dtype == np.float32
        np.testing.assert_allclose(signal_of(path), expected, rtol=1e-6)

    @pytest.mark.parametrize("compressed", [False, True])
    def test_matlab_5_files_are_read_too(self, tmp_path, compressed):
        """Plain and compressed."""
        path = write_record(tmp_path, "A1")
        expected = signal_of(path)
        savemat(tmp_path / "A1.mat", {"val": adc()}, do_compression=compressed)
        assert (tmp_path / "A1.mat").read_bytes().startswith(b"MATLAB 5.0")
        np.testing.assert_array_equal(signal_of(path), expected)

    def test_matlab_4_files_as_scipy_writes_them_are_read(self, tmp_path):
        """scipy writes doubles where it likes; the bytes made by hand are what it reads as int16."""
        file = BytesIO()
        savemat(file, {"val": adc().astype(float)}, format="4")
        path = write_record(tmp_path, "A1")
        expected = signal_of(path)
        (tmp_path / "A1.mat").write_bytes(file.getvalue())
        np.testing.assert_array_equal(signal_of(path), expected)
        assert loadmat(BytesIO(v4_bytes(adc())))["val"].dtype == np.int16

    def test_wfdb_mark_of_a_missing_sample_is_nan(self, tmp_path):
        """-32768 in format 16."""
        values = adc()
        values[3, 10:15] = -32768
        found = signal_of(write_record(tmp_path, "A1", values))
        assert np.argwhere(np.isnan(found)).tolist() == [[3, t] for t in range(10, 15)]

    @pytest.mark.parametrize(
        ("factor", "message"), [(1000, "microvolts or bare ADC steps taken for mV"), (1e-3, "volts taken for mV")]
    )
    def test_another_unit_is_told_by_the_amplitude(self, tmp_path, factor, message):
        """The beat is 1 mV high at gain 1000; a gain of 1 or of a million is another unit's."""
        path = write_record(tmp_path, "A1")
        path.write_text(path.read_text().replace("1000/mV", f"{1000 / factor:.0f}/mV"))
        with pytest.raises(RecordError, match=f"record A1: the median lead's amplitude is .* {message}; mend the gain"):
            signal_of(path)

    def test_flat_leads_do_not_hide_the_unit(self, tmp_path):
        """Nine of twelve leads are flat."""
        values = adc()
        values[:9] = 7
        path = write_record(tmp_path, "A1", values)
        assert np.ptp(signal_of(path)[:9]) == 0
        path.write_text(path.read_text().replace("1000/mV", "1/mV"))
        with pytest.raises(RecordError, match="amplitude"):
            signal_of(path)

    def test_a_missing_file_is_named(self, tmp_path):
        """With its folder."""
        path = write_record(tmp_path, "A1")
        (tmp_path / "A1.mat").unlink()
        with pytest.raises(RecordError, match=r"record A1: missing file A1.mat in .*; download it again"):
            signal_of(path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "A1.mat holds no MATLAB matrix 'val'"),
            (b"<html>not found</html>" * 9, "A1.mat holds no MATLAB matrix 'val'"),
            (v4_bytes(adc())[:-100], "truncated: A1.mat holds 495 of 500 samples"),
            (v4_bytes(adc(400)), "A1.mat holds 12 x 400 samples, its header says 12 x 500"),
            (v4_bytes(adc(seed=1)), "checksum of lead I is"),
            (v4_bytes(adc()[::-1]), "checksum of lead I is"),
            (v4_bytes(adc()).replace(b"val\0", b"var\0"), r"no MATLAB matrix 'val' \(KeyError"),
            (struct.pack("<5i4s", 30, 12, 0, 0, 4, b"val\0"), "A1.mat holds"),
        ],
    )
    def test_a_damaged_file_is_refused(self, tmp_path, content, message):
        """Empty, another format, cut short, another record's, leads swapped."""
        path = write_record(tmp_path, "A1")
        (tmp_path / "A1.mat").write_bytes(content)
        with pytest.raises(RecordError, match=f"record A1: .*{message}"):
            signal_of(path)

    def test_fractions_are_no_adc_values(self, tmp_path):
        """Millivolts in the file would be scaled twice."""
        path = write_record(tmp_path, "A1")
        savemat(tmp_path / "A1.mat", {"val": adc() / 1000})
        with pytest.raises(RecordError, match="float64 values in 'val', not the whole numbers of an ADC"):
            signal_of(path)


def test_every_real_record_is_what_scipy_and_its_header_say(shared_data):
    """The 105 recordings of six sources and three header generations."""
    paths = sorted((shared_data / "cinc2021/training").glob("*/*/*.hea"))
    assert len(paths) == 105
    generations = set()
    for path in paths:
        text = path.read_text()
        generations.add(("# Dx" in text, "16x1+24" in text, "1000/mv" in text))
        codes = next(line for line in text.splitlines() if "Dx:" in line).split(":")[1]
        assert ",".join(read_header(path).dx) == codes.strip()
        np.testing.assert_array_equal(
            signal_of(path), (loadmat(path.with_suffix(".mat"))["val"] / 1000).astype(np.float32)
        )
    assert len(generations) >= 3
