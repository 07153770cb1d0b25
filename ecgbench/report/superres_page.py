"""What the page of a super-resolution run shows beside its scores: curves against noise, and how the error looks."""

from ecgbench.report.html import Pictures, picture, picture_if
from ecgbench.report.plots import interval_chart, noise_curves, score_distribution
from ecgbench.report.reconstructions import (
    close_up_figure,
    common_gains,
    paper_figure,
    read_examples,
    spectrum_figure,
)
from ecgbench.report.run_folder import RunFolder, reference_condition, system_names
from ecgbench.report.score_tables import family_specs, tidy_scores


def superres_content(run: RunFolder) -> dict[str, object]:
    """Nothing: scores by metric and condition are all the tables that the task has."""
    return {}


def superres_pictures(run: RunFolder) -> Pictures:
    """Every picture of the task by its name in the template; None for what the run has no data of."""
    result, spec = run.result, run.headline
    tidy, condition = tidy_scores(result), reference_condition(result)
    clean = run.scores.loc[run.scores["condition"] == condition]
    bands = [s for s in family_specs(result["task"], "standard") if s.name.endswith("_band")]
    systems = [*system_names(result, "model"), *system_names(result, "baseline")]
    in_bands = tidy.loc[tidy["condition"] == condition]
    return {
        "curves_picture": picture_if(
            noise_curves(tidy, result["conditions"], spec), f"{spec.label} against noise", wide=True
        ),
        "bands_picture": picture_if(interval_chart(in_bands, bands), "Error by frequency band"),
        "distribution_picture": picture_if(score_distribution(clean, systems, spec), f"{spec.label} of every record"),
        **_example_pictures(run),
    }


def _example_pictures(run: RunFolder) -> Pictures:
    model = system_names(run.result, "model")[0]
    examples = read_examples(run.examples, model) if run.examples is not None else []
    if not examples:
        return {"papers": [], "close_ups": [], "spectrum_picture": None}
    gains = common_gains(examples)
    return {
        "papers": [picture(paper_figure(e, gains[e.condition]), e.title, wide=True) for e in examples],
        "close_ups": [picture(close_up_figure(e), f"Close-up of {e.title}") for e in examples],
        "spectrum_picture": picture(spectrum_figure(examples), "Spectrum of the error"),
    }
