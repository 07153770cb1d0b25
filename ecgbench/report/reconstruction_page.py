"""What the page of a reconstruction run shows beside its scores: lead by lead, heart rate, amplitude, diagnosis."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from ecgbench.metrics.collection import MetricSpec
from ecgbench.report.class_tables import source_tables
from ecgbench.report.html import Picture, Pictures, picture, picture_if
from ecgbench.report.lead_cells import calibrations, lead_cells
from ecgbench.report.lead_plots import calibration_figure, input_figure, matrix_figure
from ecgbench.report.lead_tables import (
    RESIDUAL,
    calibration_table,
    consistency_table,
    diagnostic_tables,
    input_tables,
    real_area,
    seen_text,
    truth_note,
)
from ecgbench.report.plots import noise_curves
from ecgbench.report.rebuilt_records import Rebuilt, close_up_figure, read_rebuilt, rebuilt_figure
from ecgbench.report.run_folder import RunFolder, clean_inputs, is_clean, noisy_inputs, system_names
from ecgbench.report.score_tables import noise_verdict, notes_of, score_table, tidy_scores
from ecgbench.report.table import Table
from ecgbench.report.tasks import headline_spec

INPUT_CAPTION = (
    "Mean over test records with its 95 % interval, by the leads that were given; small steps aside keep systems apart."
)
MATRIX_CAPTION = (
    "{label} of every rebuilt lead (column) from every given lead (row), mean over windows and records. Outlined: the "
    "lead was given. Means are over the other cells alone. Darker is {reading}; the shades are the same for every "
    "system of this page."
)
RATE_CAPTION = (
    "Left: distance between the heart rate of each generated hidden lead and that of the same real lead. Right: share "
    "of those leads in which no rate was found; they are left out on the left, so read both together."
)
CALIBRATION_CAPTION = (
    "Generated against true R amplitude over records. A slope below 1 is regression to the mean: tall waves come out "
    "too low and low ones too tall. Points are means over the leads given, bars reach from the least to the largest."
)
CONSISTENCY_CAPTION = "RMS of III, aVR, aVL and aVF minus what leads I and II make of them, by the leads given."
DIAGNOSTIC_CAPTION = "Macro AUROC with its 95 % interval, by the leads given; dotted, the twelve real leads."
CLOSE_UP_CAPTION = "One beat of every lead over the truth, rebuilt from each of the lead sets drawn below."
NO_NOISE = "No noise was added to the given leads, so there are no curves against noise."
NO_DIAGNOSIS = "No classifier was given to this run, so it does not say whether a disease still shows in its leads."


def reconstruction_content(run: RunFolder) -> dict[str, object]:
    """The tables by given lead, of the limb leads, of amplitudes and of the diagnosis, and sentences where none is."""
    result = run.result
    noisy = noisy_inputs(result)
    return {
        "notes": [*notes_of(result), *_excluded(result)],
        "conditions": input_tables(result, [*_reference(result), *clean_inputs(result)]),
        "noise_tables": input_tables(result, _with_clean(result, noisy), "under noise") if noisy else [],
        "noise_verdict": noise_verdict(result | {"conditions": _without_leads(noisy)}) if noisy else NO_NOISE,
        "consistency_table": consistency_table(result),
        "calibration_table": calibration_table(result),
        "official": _official(result),
        "diagnostic_tables": diagnostic_tables(result),
        "diagnostic_details": diagnostic_tables(result, every_input=True),
        "no_diagnosis": result.get("diagnostic_note") or NO_DIAGNOSIS,
        "source_tables": source_tables(result, note=""),
    }


def _official(result: dict) -> Table | None:
    """The official scores, with what the recordings themselves score by them; None where the run has none."""
    table, note = score_table(result, "official"), truth_note(result)
    return replace(table, footnotes=(*table.footnotes, *([note] if note else []))) if table.rows else None


def _reference(result: dict) -> list[dict]:
    return [c for c in result["conditions"] if is_clean(c)]


def _with_clean(result: dict, noisy: list[dict]) -> list[dict]:
    """The noisy conditions after the clean ones of the same lead sets."""
    sets = [c["leads"] for c in noisy]
    return [*(c for c in clean_inputs(result) if c["leads"] in sets), *noisy]


def _without_leads(conditions: list[dict]) -> list[dict]:
    """The conditions as the curves against noise know them: of one lead set, which need not be said."""
    return [c | {"leads": None} for c in conditions]


def _excluded(result: dict) -> list[str]:
    n = result.get("excluded_windows") or 0
    if not n:
        return []
    flat = "a lead in each of them is flat (standard deviation below 10⁻⁴ mV)"
    inputs = [f"{row['n_windows']:,} of {row['input']}" for row in result.get("flat_inputs") or []]
    given = f" The given lead itself was flat in {', '.join(inputs)}." if inputs else ""
    return [f"{n:,} test window{'s' if n > 1 else ''} left out of the signal-level scores: {flat}.{given}"]


def reconstruction_pictures(run: RunFolder) -> Pictures:
    """Every picture of the task by its name in the template; None for what the run has no data of."""
    result = run.result
    names = system_names(result)
    tidy, inputs = tidy_scores(result), [c["name"] for c in clean_inputs(result)]
    specs = {spec.name: spec for spec in run.specs}
    rates = [specs[name] for name in ("hr_mae_bpm", "hr_failed_pct")]
    slopes = {name: calibrations(result, name) for name in names}
    model, *others = sorted(names, key=lambda name: name != system_names(result, "model")[0])
    return {
        "inputs_picture": picture_if(
            input_figure(tidy, inputs, [run.headline, specs["mse_hidden"]]),
            f"{run.headline.label} and MSE by given lead", INPUT_CAPTION, wide=True,
        ),
        "matrices": matrix_pictures(result, model, specs),
        "other_matrices": [p for name in others for p in matrix_pictures(result, name, specs)],
        "rate_picture": picture_if(
            input_figure(tidy, inputs, rates), "Error and failures of the heart rate by given lead", RATE_CAPTION,
            wide=True,
        ),
        "calibration_picture": picture_if(
            calibration_figure({name: own for name, own in slopes.items() if own}),
            "Slope and R² of generated against true R amplitude by rebuilt lead", CALIBRATION_CAPTION, wide=True,
        ),
        "consistency_picture": picture_if(
            input_figure(tidy, inputs, [specs[RESIDUAL]]), "Residual of the limb leads by given lead",
            CONSISTENCY_CAPTION, wide=True,
        ),
        "diagnostic_picture": _diagnostic_picture(result),
        "noise_pictures": noise_pictures(run),
        **_record_pictures(read_rebuilt(run.examples, model)),
    }  # fmt: skip


def matrix_pictures(result: dict, system: str, specs: dict[str, MetricSpec]) -> list[Picture]:
    """A system's two lead-against-lead pictures, PCC first; empty where the run has no cells of it."""
    drawn = (("pcc", specs["pcc_hidden"], 2, "better"), ("mse", specs["mse_hidden"], 1, "worse"))
    found = []
    for score, spec, decimals, reading in drawn:
        cells = lead_cells(result, system, score)
        if cells is None:
            continue
        label = score.upper()
        unit = f" ({spec.unit})" if spec.unit else ""
        figure = matrix_figure(
            cells, f"{label}{unit}, {system}", _limits(result, score, spec.scale), decimals, spec.scale
        )
        caption = MATRIX_CAPTION.format(label=label, reading=reading)
        found.append(picture(figure, f"{label} of {system} by given and rebuilt lead", caption, wide=True))
    return found


def _limits(result: dict, score: str, scale: float) -> tuple[float, float]:
    """The range of the model's own cells, whose shades must not fade beside a bad baseline.

    A correlation's range ends at 1 and begins with the tenth below the lowest one, an error's begins at 0.
    """
    cells = lead_cells(result, system_names(result, "model")[0], score)
    finite = cells.values[np.isfinite(cells.values)] if cells is not None else np.array([])
    if score == "pcc":
        return (min(0.9, max(0.0, math.floor(10 * finite.min()) / 10)) if finite.size else 0.0), 1.0
    return 0.0, float(finite.max() * scale) if finite.size and finite.max() > 0 else 1.0


def _diagnostic_picture(result: dict) -> Picture | None:
    """AUROC of the first classifier by what was given; None with fewer than two inputs."""
    rows = result.get("diagnostic") or []
    own = [row for row in rows if row["classifier"] == rows[0]["classifier"]]
    seen = pd.DataFrame([row for row in own if row["system"] != "real"])
    if seen.empty:
        return None
    tidy = seen.assign(
        system=seen["system"].map(seen_text), condition=seen["input"], metric="auroc_macro", mean=seen["auroc_macro"]
    )
    inputs = [c["name"] for c in clean_inputs(result) if c["name"] in set(seen["input"])]
    figure = input_figure(tidy, inputs, [headline_spec("classification")], real_area(own))
    return picture_if(figure, "AUROC of the classifier by given lead", DIAGNOSTIC_CAPTION, wide=True)


def noise_pictures(run: RunFolder) -> list[Picture]:
    """Curves against noise, a picture for each lead set that noise was added to."""
    result, spec = run.result, run.headline
    noisy = noisy_inputs(result)
    sets = list(dict.fromkeys(tuple(c["leads"] or ()) for c in noisy))
    found = []
    for leads in sets:
        own = [c for c in (*clean_inputs(result), *noisy) if tuple(c["leads"] or ()) == leads]
        figure = noise_curves(tidy_scores(result), _without_leads(own), spec)
        given = ", ".join(leads)
        caption = (
            f"Given {given}, with noise added to it. Mean over test records with its 95 % interval; dashed, the same "
            "without added noise."
        )
        if figure is not None:
            found.append(picture(figure, f"{spec.label} from {given} against noise", caption, wide=True))
    return found


def _record_pictures(found: Rebuilt | None) -> Pictures:
    if found is None:
        return {"close_up_picture": None, "papers": []}
    papers = [picture(rebuilt_figure(found, case), found.title(case), wide=True) for case in range(len(found.inputs))]
    return {"close_up_picture": picture(close_up_figure(found), "One beat of every lead", CLOSE_UP_CAPTION, True),
            "papers": list[Picture](papers)}  # fmt: skip
