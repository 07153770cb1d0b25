"""Lead mixing: another heart, the same physics, the same numbers for the same key."""

import numpy as np
import pytest

from ecgbench.data.augment import LeadMixing
from ecgbench.data.record import LEADS
from ecgbench.signal.leads import basis_of


def twelve_leads(seed: int = 0) -> np.ndarray:
    """Random I, II and chest leads, with the other limb leads by Einthoven and Goldberger, (12, 200)."""
    rng = np.random.default_rng(seed)
    one, two, chest = rng.standard_normal(200), rng.standard_normal(200), rng.standard_normal((6, 200))
    return np.vstack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2, chest]).astype(np.float32)


def test_mixed_leads_keep_einthoven_and_goldberger() -> None:
    """III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2 after mixing too."""
    mixed = LeadMixing(strength=0.5, gain=[0.5, 2.0])(twelve_leads(), LEADS, (0, 1, "r", 0))
    one, two, three, avr, avl, avf = mixed[:6]
    for lead, expected in ((three, two - one), (avr, -(one + two) / 2), (avl, one - two / 2), (avf, two - one / 2)):
        np.testing.assert_allclose(lead, expected, atol=1e-5)
    assert not np.allclose(mixed, twelve_leads(), atol=0.1)


def test_decimation_commutes_with_mixing() -> None:
    """The mixed target's every tenth sample is the mixed input."""
    mix, signal = LeadMixing(strength=0.3, gain=[0.5, 2.0]), twelve_leads()
    key = (0, 1, "r", 0)
    np.testing.assert_allclose(mix(signal, LEADS, key)[:, ::10], mix(signal[:, ::10], LEADS, key), atol=1e-5)


def test_only_the_gain_acts_at_strength_zero() -> None:
    """All leads change by one factor inside the stated range."""
    signal = twelve_leads()
    factors = [(LeadMixing(strength=0.0, gain=[0.5, 2.0])(signal, LEADS, (e,)) / signal)[0].mean() for e in range(200)]
    assert 0.5 <= min(factors) < 0.6
    assert 1.7 < max(factors) <= 2.0
    assert np.median(factors) == pytest.approx(1.0, abs=0.2)


def test_equal_keys_mix_equally_and_other_keys_do_not() -> None:
    """A function of the key alone."""
    mix, signal = LeadMixing(strength=0.2, gain=[1.0, 1.0]), twelve_leads()
    np.testing.assert_array_equal(mix(signal, LEADS, (0, 1)), mix(signal, LEADS, (0, 1)))
    assert not np.allclose(mix(signal, LEADS, (0, 1)), mix(signal, LEADS, (0, 2)))


def test_leads_without_i_and_ii_are_all_independent() -> None:
    """Two leads of an ambulatory recorder."""
    positions, matrix = basis_of(["upper", "lower"])
    assert positions == [0, 1]
    np.testing.assert_array_equal(matrix, np.eye(2))


def test_the_basis_rebuilds_leads_in_any_order() -> None:
    """signal = matrix @ signal[positions] for a shuffled subset."""
    leads = ["V2", "aVF", "II", "I", "aVR"]
    signal = twelve_leads()[[LEADS.index(lead) for lead in leads]]
    positions, matrix = basis_of(leads)
    np.testing.assert_allclose(matrix @ signal[positions], signal, atol=1e-6)


@pytest.mark.parametrize("gain", [[0.0, 1.0], [2.0, 1.0], [1.0]])
def test_gains_that_are_no_factors_are_refused(gain: list[float]) -> None:
    """The message names what was given."""
    with pytest.raises(ValueError, match="0 < low <= high"):
        LeadMixing(strength=0.1, gain=gain)
