"""Which metrics a task has, with label, unit, direction and definition: the table every report is made from."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """One metric as it is named, shown and defined.

    Scores are computed and stored in plain units (mV, mV^2, dB, %); a table shows `value * scale` with `decimals`
    digits in `unit`.
    """

    name: str
    """Key in `scores.parquet` and `result.json`."""
    label: str
    """Heading in tables and plots."""
    unit: str
    """Unit of the shown value; empty for a pure number."""
    higher_is_better: bool
    decimals: int
    """Digits after the point when shown."""
    family: Literal["standard", "official"]
    formula: str
    """Of a signal, per record: x prediction and y truth over all leads and real samples; e = x - y. Of a
    classification, over all records: P positive and N negative ones of a class, TP, FP and FN decisions."""
    reference: str
    """Where the definition comes from."""
    scale: float = 1.0
    """Factor from the stored to the shown value, 1e3 for an MSE shown in 10^-3 mV^2."""


_WANG = "Wang et al. 2004, eq. 13, as in skimage.metrics.structural_similarity"
_MSECG = "MSECG's public evaluation code (MSECG_PixelShuffle, 2025)"

SUPERRES: tuple[MetricSpec, ...] = (
    MetricSpec(
        name="mse",
        label="MSE",
        unit="10⁻³ mV²",
        higher_is_better=False,
        decimals=3,
        family="standard",
        formula="mean e²",
        reference="mean squared error",
        scale=1e3,
    ),
    MetricSpec(
        name="rmse",
        label="RMSE",
        unit="µV",
        higher_is_better=False,
        decimals=1,
        family="standard",
        formula="√(mean e²)",
        reference="root mean squared error of one record; its mean over records is not √(mean MSE)",
        scale=1e3,
    ),
    MetricSpec(
        name="mae",
        label="MAE",
        unit="µV",
        higher_is_better=False,
        decimals=1,
        family="standard",
        formula="mean |e|",
        reference="mean absolute error",
        scale=1e3,
    ),
    MetricSpec(
        name="snr_db",
        label="SNR",
        unit="dB",
        higher_is_better=True,
        decimals=2,
        family="standard",
        formula="10 log₁₀(Σ y² / Σ e²)",
        reference="signal-to-noise ratio with the energy of the truth",
    ),
    MetricSpec(
        name="psnr_db",
        label="PSNR",
        unit="dB",
        higher_is_better=True,
        decimals=2,
        family="standard",
        formula="10 log₁₀((max y - min y)² / mean e²)",
        reference="peak signal-to-noise ratio with the record's peak-to-peak as peak",
    ),
    MetricSpec(
        name="ssim",
        label="SSIM",
        unit="",
        higher_is_better=True,
        decimals=4,
        family="standard",
        formula="mean over leads of SSIM along time; 7-sample uniform window, K₁ 0.01, K₂ 0.03, sample covariance, "
        "data range max y - min y of the record",
        reference=_WANG,
    ),
    MetricSpec(
        name="cosine",
        label="Cosine",
        unit="",
        higher_is_better=True,
        decimals=4,
        family="standard",
        formula="Σ xy / √(Σ x² Σ y²)",
        reference="cosine similarity of the record as one vector",
    ),
    MetricSpec(
        name="prd_pct",
        label="PRD",
        unit="%",
        higher_is_better=False,
        decimals=2,
        family="standard",
        formula="100 √(Σ e² / Σ y²)",
        reference="Zigel et al. 2000, without mean removal",
    ),
    MetricSpec(
        name="mse_low_band",
        label="MSE below low Nyquist",
        unit="10⁻³ mV²",
        higher_is_better=False,
        decimals=3,
        family="standard",
        formula="mean e² of the frequencies below half the low rate; with the band above it adds up to MSE",
        reference="Parseval's theorem on the untapered DFT of each lead",
        scale=1e3,
    ),
    MetricSpec(
        name="mse_high_band",
        label="MSE above low Nyquist",
        unit="10⁻³ mV²",
        higher_is_better=False,
        decimals=3,
        family="standard",
        formula="mean e² of the frequencies from half the low rate up",
        reference="Parseval's theorem on the untapered DFT of each lead",
        scale=1e3,
    ),
    MetricSpec(
        name="official_mse",
        label="MSE (official)",
        unit="10⁻³ mV²",
        higher_is_better=False,
        decimals=3,
        family="official",
        formula="mean e² + 10⁻¹⁰ mV²",
        reference=_MSECG,
        scale=1e3,
    ),
    MetricSpec(
        name="official_rmse",
        label="RMSE (official)",
        unit="µV",
        higher_is_better=False,
        decimals=1,
        family="official",
        formula="√(mean e² + 10⁻¹⁰ mV²)",
        reference=_MSECG,
        scale=1e3,
    ),
    MetricSpec(
        name="official_snr_db",
        label="SNR (official)",
        unit="dB",
        higher_is_better=True,
        decimals=2,
        family="official",
        formula="10 log₁₀(Σ x² / Σ e²), the prediction's energy",
        reference=_MSECG,
    ),
    MetricSpec(
        name="official_psnr_db",
        label="PSNR (official)",
        unit="dB",
        higher_is_better=True,
        decimals=2,
        family="official",
        formula="10 log₁₀((max x)² / (mean e² + 10⁻¹⁰ mV²)), the prediction's signed maximum",
        reference=_MSECG,
    ),
    MetricSpec(
        name="official_ssim",
        label="SSIM (official)",
        unit="",
        higher_is_better=True,
        decimals=4,
        family="official",
        formula="SSIM of the record flattened time-major and lead-minor: a window spans seven leads at one instant",
        reference=_MSECG,
    ),
)
"""The scores of super-resolution, in the order they are shown."""

_CAFA = "Radivojac et al. 2013, eq. 1 to 4, sample-centric"
_PEREZ_ALDAY = "Perez Alday et al. 2020, PhysioNet/CinC Challenge 2020"
_REYNA = "Reyna et al. 2021, PhysioNet/CinC Challenge 2021"

CLASSIFICATION: tuple[MetricSpec, ...] = (
    MetricSpec(
        name="auroc_macro",
        label="AUROC",
        unit="",
        higher_is_better=True,
        decimals=4,
        family="standard",
        formula="mean over classes of the area under the ROC curve: the share of pairs (P, N) with P higher, ties half",
        reference="Hanley & McNeil 1982, as in sklearn.metrics.roc_auc_score; classes without P or N are left out",
    ),
    MetricSpec(
        name="auprc_macro",
        label="AUPRC",
        unit="",
        higher_is_better=True,
        decimals=4,
        family="standard",
        formula="mean over classes of Σ (gain in recall) · precision over falling scores",
        reference="average precision, as in sklearn.metrics.average_precision_score; classes without P are left out",
    ),
    MetricSpec(
        name="f1_macro",
        label="F1",
        unit="",
        higher_is_better=True,
        decimals=4,
        family="standard",
        formula="mean over classes of 2 TP / (2 TP + FP + FN)",
        reference="van Rijsbergen 1979; thresholds from validation; classes never labelled nor decided are left out",
    ),
    MetricSpec(
        name="accuracy",
        label="Exact match",
        unit="",
        higher_is_better=True,
        decimals=4,
        family="standard",
        formula="share of records with every class decided right",
        reference=_REYNA,
    ),
    MetricSpec(
        name="fbeta2_macro",
        label="F2",
        unit="",
        higher_is_better=True,
        decimals=4,
        family="standard",
        formula="mean over classes of 5 TP / (5 TP + FP + 4 FN), a record counting 1 / (number of its labels)",
        reference=_PEREZ_ALDAY,
    ),
    MetricSpec(
        name="gbeta2_macro",
        label="G2",
        unit="",
        higher_is_better=True,
        decimals=4,
        family="standard",
        formula="mean over classes of TP / (TP + FP + 2 FN), a record counting 1 / (number of its labels)",
        reference=_PEREZ_ALDAY,
    ),
    MetricSpec(
        name="fmax",
        label="Fmax",
        unit="",
        higher_is_better=True,
        decimals=4,
        family="standard",
        formula="2 p r / (p + r), p mean precision of the records with a decision, r mean recall of those with a label",
        reference=_CAFA + "; one threshold for all classes, from validation",
    ),
    MetricSpec(
        name="fmax_test_optimal",
        label="Fmax (test-optimal)",
        unit="",
        higher_is_better=True,
        decimals=4,
        family="official",
        formula="the largest Fmax over thresholds 0, 0.01, …, 1",
        reference=_CAFA + " and Strodthoff et al. 2021; optimistic, as its threshold is chosen on the scored records",
    ),
    MetricSpec(
        name="challenge_2021",
        label="Challenge score 2021",
        unit="",
        higher_is_better=True,
        decimals=4,
        family="official",
        formula="(s − s₀) / (s₁ − s₀), s sum over records and their pairs (label, decision) of weight / "
        "|labels ∪ decisions|, s₁ for right decisions, s₀ for sinus rhythm always",
        reference=_REYNA,
    ),
    MetricSpec(
        name="challenge_2020",
        label="Challenge score 2020",
        unit="",
        higher_is_better=True,
        decimals=4,
        family="official",
        formula="as the score of 2021, with the 24 classes and weights of 2020",
        reference=_PEREZ_ALDAY,
    ),
)
"""The scores of classification, in the order they are shown; the first is the headline."""
