"""Headers of the PhysioNet/CinC Challenges 2020 and 2021, in every spelling that was published.

The challenge's own download and PhysioNet's later release differ: `#Dx:` or `# Dx:`, format `16+24` or `16x1+24`, gain
`1000/mV`, `1000/mv` or `1000.0(0)/mV`, a record line with or without time and date. A parser made for one of them finds
no labels or a gain of zero in the other without a word; this one takes all of them and refuses what it cannot read.
"""

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

from ecgbench.data.record import RecordError
from ecgbench.data.wfdb_io import FORMAT_FIELD, GAIN_FIELD, PER_MV

Sex = Literal["male", "female", "unknown"]

RECORD_LINE = re.compile(r"\S+\s+(\d+)\s+(\d+(?:\.\d*)?)(?:/\S+)?\s+(\d+)(?:\s.*)?")
"""Name, number of leads, rate, number of samples; then nothing, or time and date."""
AGE = re.compile(r"(>)?\s*(\d+(?:\.\d*)?)\s*(?:y|yr|yrs|years?)?", re.IGNORECASE)
OLDEST_YEARS = 120.0
ABOVE_89 = 300.0
"""PTB-XL's age for everyone above 89."""
SEXES: dict[str, Sex] = {"m": "male", "male": "male", "f": "female", "female": "female"}


class CincHeader(NamedTuple):
    """What a challenge header says of its record."""

    fs_hz: float
    n_samples: int
    file: str
    """Name of the file with the samples."""
    leads: tuple[str, ...]
    steps_per_mv: tuple[float, ...]
    """ADC steps per mV, by lead; never 0."""
    baseline: tuple[int, ...]
    """ADC value of 0 mV, by lead."""
    checksum: tuple[int, ...]
    """Sum of the samples modulo 2^16, by lead."""
    age_years: float
    """NaN where unknown; 90 for 'above 89'."""
    sex: Sex
    dx: tuple[str, ...]
    """SNOMED CT codes, at least one, each once, in the header's order."""


def parse_header(text: str, record_id: str) -> CincHeader:
    """The header in `text`; RecordError naming `record_id` when a part is missing or cannot be read.

    An age or a sex in no known spelling is unknown; labels, gains, rate and length have to be right.
    """
    lines = [line for line in map(str.strip, text.lstrip("\ufeff").splitlines()) if line]
    body = [line for line in lines if not line.startswith("#")]
    match = RECORD_LINE.fullmatch(body[0]) if body else None
    if match is None:
        reason = f"malformed header: its first line is {body[0] if body else ''!r}, not 'name leads rate samples'"
        raise _again(record_id, reason)
    n_leads, fs_hz, n_samples = int(match[1]), float(match[2]), int(match[3])
    if fs_hz <= 0 or n_samples <= 0:
        raise _again(record_id, f"malformed header: {n_samples} samples at {fs_hz:g} Hz")
    if n_leads == 0 or len(body) != 1 + n_leads:
        raise _again(record_id, f"malformed header: {len(body) - 1} signal lines for {n_leads} leads")
    signals = (_signal(line, record_id) for line in body[1:])
    names, leads, steps_per_mv, baseline, checksum = zip(*signals, strict=True)
    if len(set(names)) > 1:
        raise _again(record_id, f"its leads lie in several files ({', '.join(dict.fromkeys(names))}); one is expected")
    facts = _facts(lines)
    age_years, sex = parse_age(facts.get("age", "")), parse_sex(facts.get("sex", ""))
    dx = _codes(facts.get("dx"), record_id)
    return CincHeader(fs_hz, n_samples, names[0], leads, steps_per_mv, baseline, checksum, age_years, sex, dx)


def parse_age(text: str) -> float:
    """Age in years: NaN for unknown, impossible or unreadable, 90 for PTB-XL's 300 and for '>89'."""
    match = AGE.fullmatch(text.strip())
    if match is None:
        return math.nan
    years = float(match[2]) + (1.0 if match[1] else 0.0)
    if years == ABOVE_89:
        return 90.0
    return years if years <= OLDEST_YEARS else math.nan


def parse_sex(text: str) -> Sex:
    """'male', 'female', or 'unknown' for any other spelling."""
    return SEXES.get(text.strip().lower(), "unknown")


def _signal(line: str, record_id: str) -> tuple[str, str, float, int, int]:
    """File, lead, ADC steps per mV, baseline and checksum of one signal line."""
    fields = line.split()
    if len(fields) != 9:
        raise _again(record_id, f"malformed header: {len(fields)} fields, not 9, in the signal line {line!r}")
    file, layout, scale, _, adc_zero, _, checksum, _, lead = fields
    try:
        _check_layout(layout)
        steps_per_mv, baseline = _scale(scale)
        baseline = int(adc_zero) if baseline is None else baseline
        return file, lead, steps_per_mv, baseline, int(checksum) % 65536
    except ValueError as error:
        raise _again(record_id, f"malformed header: {error} in the signal line {line!r}") from error


@lru_cache(maxsize=1024)
def _check_layout(field: str) -> None:
    """ValueError for samples that are not 16-bit integers, one a frame."""
    match = FORMAT_FIELD.fullmatch(field)
    if match is None or match[1] != "16" or match[2] not in (None, "1") or match[3] not in (None, "0"):
        raise ValueError(f"format {field!r} is not 16, like 16+24 or 16x1+24,")


@lru_cache(maxsize=1024)
def _scale(field: str) -> tuple[float, int | None]:
    """ADC steps per mV and the baseline, if given, of the field `gain[(baseline)][/units]`."""
    match = GAIN_FIELD.fullmatch(field)
    try:
        gain = float(match[1]) if match else math.nan
    except ValueError:
        gain = math.nan
    if match is None or not 0 < gain < math.inf:
        raise ValueError(f"gain {field!r} is not a positive number, like 1000/mV or 1000.0(0)/mV,")
    per_mv = PER_MV.get((match[3] or "mV").lower())
    if per_mv is None:
        raise ValueError(f"unit {match[3]!r} is not mV, uV or V")
    return gain * per_mv, None if match[2] is None else int(match[2])


def _facts(lines: Iterable[str]) -> dict[str, str]:
    """The comment lines `#Key: value`, by key in lower case; several lines of one key are joined by commas."""
    facts: dict[str, str] = {}
    for line in lines:
        if line.startswith("#"):
            key, _, value = line.lstrip("#").partition(":")
            key = key.strip().lower()
            facts[key] = f"{facts[key]},{value}" if key in facts else value
    return facts


def _codes(text: str | None, record_id: str) -> tuple[str, ...]:
    """The SNOMED CT codes of a Dx line."""
    if text is None:
        raise _again(record_id, "its header has no Dx line, so no labels")
    codes = tuple(dict.fromkeys(code for code in map(str.strip, text.split(",")) if code))
    wrong = [code for code in codes if not code.isdecimal()]
    if wrong or not codes:
        raise _again(record_id, f"its Dx line {text.strip()!r} does not list SNOMED CT codes (digits)")
    return codes


def _again(record_id: str, reason: str) -> RecordError:
    """The error for a header that cannot be used, with the way on."""
    return RecordError(record_id, f"{reason}; mend its header or download it again")
