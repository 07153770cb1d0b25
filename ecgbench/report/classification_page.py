"""What the page of a classification run shows beside its scores: classes, sources, leads, curves and mistakes."""

from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.class_curves import ClassScores, class_calibration_error, class_scores
from ecgbench.report.class_plots import (
    class_intervals,
    class_panels,
    co_occurrence_figure,
    confusion_figure,
    curves_figure,
    lead_figure,
    reliability_figure,
)
from ecgbench.report.class_tables import absent_notes, class_rows, class_table, mistake_table, source_tables
from ecgbench.report.html import Picture, Pictures, picture, picture_if
from ecgbench.report.mistakes import Mistake, mistake_figure, read_mistakes
from ecgbench.report.plots import noise_curves
from ecgbench.report.run_folder import (
    RunFolder,
    is_clean,
    lead_conditions,
    noise_conditions,
    reference_condition,
    system_names,
)
from ecgbench.report.score_tables import notes_of, tidy_scores

CURVES_CAPTION = (
    "Thin: each class. Macro: mean over classes of the precision at each recall, or of the sensitivity at each "
    "false-positive rate. Micro: all record-class pairs as one. Numbers are areas; dotted, no information."
)
PANELS_CAPTION = (
    "Precision over recall of each class with positives, its average precision in the title; dotted, its prevalence."
)
INTERVALS_CAPTION = "Bars are 95 % intervals, patients resampled; beside each class stands its number of test records."
CALIBRATION_CAPTION = (
    "All record-class pairs together, ten bins of equal width; a hollow point has fewer than ten pairs. The error is "
    "the bins' distance from the diagonal, weighted by their pairs."
)
CO_OCCURRENCE_CAPTION = (
    "Share, in percent, of the test records with the class of the row that also have the class of the column. Beside "
    "each class stands its number of test records; empty cells are below 0.5 %."
)
CONFUSION_CAPTION = (
    "Multilabel confusion, in percent of the test records that truly have the class of the row. Outlined: the share "
    "decided as that class (its sensitivity). Elsewhere only false alarms count: the share decided as the class of the "
    "column without having it. Last column: decided as nothing; last row: records without a class. A record with "
    "several classes stands in several rows, and a row need not add up to 100."
)

MOST_ON_A_PHONE = 8
"""A heat map of more classes than this keeps its width on a phone and scrolls."""


def classification_content(run: RunFolder) -> dict[str, object]:
    """The tables by class and by source, of the model and of the run's other systems, and the records drawn."""
    result = run.result
    model, others = _model_and_others(result)
    by_class = [class_table(result, name) for name in (model, *others) if class_rows(result, name)]
    mistakes = _mistakes(run)
    return {
        "notes": [*notes_of(result), *absent_notes(result)],
        "class_tables": by_class,
        "source_tables": source_tables(result),
        "lead_sentence": _lead_sentence(result),
        "mistake_table": mistake_table(mistakes) if mistakes else None,
    }


def _model_and_others(result: dict) -> tuple[str, list[str]]:
    model = system_names(result, "model")[0]
    return model, [name for name in system_names(result) if name != model]


def _mistakes(run: RunFolder) -> list[Mistake]:
    return read_mistakes(run.examples) if run.examples is not None else []


def _lead_sentence(result: dict) -> str:
    subsets = lead_conditions(result)
    if not subsets:
        return "Only the full lead set was tested."
    names = ", ".join(f"{c['name']} ({', '.join(c['leads'])})" for c in subsets)
    return f"Tested with fewer leads, the others set to zero: {names}."


def classification_pictures(run: RunFolder) -> Pictures:
    """Every picture of the task by its name in the template; None for what the run has no data of."""
    result = run.result
    model, _ = _model_and_others(result)
    found = class_scores(run.scores, tuple(result["label_names"]), model, reference_condition(result))
    return {
        **_curve_pictures(found, class_rows(result, model), model),
        **_map_pictures(found, model),
        **_condition_pictures(result, run.headline),
        "papers": _mistake_pictures(_mistakes(run)),
    }


def _curve_pictures(found: ClassScores, rows: list[dict], model: str) -> Pictures:
    error = class_calibration_error(found.label, found.score)
    calibration = f"{CALIBRATION_CAPTION} Its mean over classes is {error:.3f}."
    return {
        "class_curves_picture": picture_if(
            curves_figure(found), f"Precision-recall and ROC curves of {model} with the best and the worst class named",
            CURVES_CAPTION, wide=True,
        ),
        "class_panels_picture": picture_if(
            class_panels(found), f"Precision-recall curve of every class, {model}", PANELS_CAPTION, wide=True
        ),
        "class_intervals_picture": picture_if(
            class_intervals(rows), f"AUROC and AUPRC of every class with intervals, {model}",
            INTERVALS_CAPTION, wide=True,
        ),
        "reliability_picture": picture_if(
            reliability_figure(found), f"Reliability diagram and histogram of the probabilities of {model}",
            calibration, wide=True,
        ),
    }  # fmt: skip


def _map_pictures(found: ClassScores, model: str) -> Pictures:
    many = len(found.classes) > MOST_ON_A_PHONE
    return {
        "co_occurrence_picture": picture_if(
            co_occurrence_figure(found), "How often two classes occur in one record", CO_OCCURRENCE_CAPTION, many
        ),
        "confusion_picture": picture_if(
            confusion_figure(found), f"Which classes {model} decides in place of others", CONFUSION_CAPTION, many
        ),
    }


def _condition_pictures(result: dict, spec: MetricSpec) -> Pictures:
    tidy, conditions = tidy_scores(result), result["conditions"]
    several_kinds = len({c["kind"] for c in noise_conditions(result)}) > 1
    full = [c["name"] for c in conditions if is_clean(c)][:1]
    subsets = [*((name, "all leads") for name in full), *((c["name"], c["name"]) for c in lead_conditions(result))]
    return {
        "leads_picture": picture_if(lead_figure(tidy, subsets, spec), f"{spec.label} by lead subset"),
        "noise_picture": picture_if(
            noise_curves(tidy, conditions, spec), f"{spec.label} against noise", wide=several_kinds
        ),
    }


def _mistake_pictures(mistakes: list[Mistake]) -> list[Picture]:
    drawn = [(mistake, mistake_figure(mistake)) for mistake in mistakes]
    return [picture(figure, m.title, m.caption, wide=True) for m, figure in drawn if figure is not None]
