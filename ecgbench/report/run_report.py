"""The report of one run: `report.html`, a page that needs nothing but itself, and `report.md` with the same tables."""

import json
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table as RichTable

from ecgbench.report.ecg_paper import png_bytes
from ecgbench.report.html import Picture, render
from ecgbench.report.plots import interval_chart, noise_curves, score_distribution, training_curves
from ecgbench.report.reconstructions import (
    close_up_figure,
    common_gains,
    paper_figure,
    read_examples,
    spectrum_figure,
)
from ecgbench.report.run_folder import RunFolder, read_run, reference_condition, system_names
from ecgbench.report.score_tables import (
    condition_tables,
    family_specs,
    noise_verdict,
    notes_of,
    score_table,
    skipped_table,
    verdict,
)
from ecgbench.report.table import to_rich, without

Pictures = dict[str, Picture | list[Picture] | None]


def write_report(run_dir: Path) -> Path:
    """Writes `report.html` and `report.md` into a finished run's folder and returns the path of the page."""
    run = read_run(run_dir)
    page = page_content(run)
    html_path = run.path / "report.html"
    html_path.write_text(render("report.html.jinja", **page), encoding="utf-8")
    (run.path / "report.md").write_text(render("report.md.jinja", **page), encoding="utf-8")
    return html_path


def terminal_table(result: dict) -> RichTable:
    """The standard scores of a run for the terminal."""
    return to_rich(without(score_table(result), "p"))


def page_content(run: RunFolder) -> dict[str, object]:
    """Everything that the templates of a run's page show."""
    result = run.result
    return {
        "title": f"{result['label']} on {result['dataset']}",
        "facts": _facts(run),
        "verdict": verdict(result),
        "noise_verdict": noise_verdict(result),
        "notes": notes_of(result),
        "standard": score_table(result),
        "official": score_table(result, "official") if _has_official(result) else None,
        "conditions": condition_tables(result),
        "skipped": skipped_table(result["skipped"]) if result["skipped"] else None,
        "provenance": _provenance(run),
        "packages": {name: version or "not installed" for name, version in run.env.get("packages", {}).items()},
        "config_text": run.config_text,
        "rerun": f"python -m ecgbench.reproduce {run.path}",
        **run_pictures(run),
    }


def _has_official(result: dict) -> bool:
    wanted = {spec.name for spec in family_specs(result["task"], "official")}
    return any(score["metric"] in wanted for score in result["scores"])


def _facts(run: RunFolder) -> list[tuple[str, str]]:
    result = run.result
    facts = {
        "task": result["task"],
        "model": result["model"],
        "dataset": result["dataset"],
        "protocol": result["protocol"],
        "seed": result["seed"],
        "date": str(run.env.get("started", "unknown"))[:16].replace("T", " "),
        "parameters": f"{result['n_parameters']:,}",
        "records": _counts(result["records"]),
        "patients": _counts(result["patients"]),
    }
    return [(name, str(value)) for name, value in facts.items()]


def _counts(counts: dict[str, int]) -> str:
    ordered = [(split, counts.get(split, 0)) for split in ("train", "val", "test", "skipped")]
    return ", ".join(f"{count:,} {split}" for split, count in ordered if count)


def _provenance(run: RunFolder) -> list[tuple[str, str]]:
    result, env = run.result, run.env
    git = env.get("git") or {}
    dirty = " with uncommitted changes" if git.get("dirty") else ""
    backend = env.get("scan_backend") or {}
    entries = {
        "configuration hash": result["config_hash"],
        "data hash": result["data_hash"],
        "ecgbench": env.get("ecgbench"),
        "commit": f"{git['commit']}{dirty}" if git.get("commit") else None,
        "Python": env.get("python"),
        "hardware": _flat(env.get("hardware")),
        "scan backend": f"{backend['name']} ({backend['reason']})" if backend.get("name") else None,
        "training": _training_text(result["fit"]),
        "whole run": _seconds_text(result["timing"].get("seconds_total")),
        "command": _flat(env.get("argv")),
    }
    return [(name, str(value)) for name, value in entries.items() if value]


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_flat(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _training_text(fit: dict | None) -> str:
    if fit is None:
        return "nothing was trained"
    loss = f"{fit['best_val_loss']:.3g}" if fit["best_val_loss"] is not None else "not finite"
    return f"{fit['epochs']} epochs in {_seconds_text(fit['seconds'])}; best epoch {fit['best_epoch']}, loss {loss}"


def _seconds_text(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def run_pictures(run: RunFolder) -> Pictures:
    """Every picture of a run's page by its name in the template; None for what the run has no data of."""
    result, spec = run.result, run.headline
    order = {name: place for place, name in enumerate(system_names(result))}
    tidy = pd.DataFrame(result["scores"]).sort_values("system", key=lambda names: names.map(order), kind="stable")
    condition = reference_condition(result)
    clean = run.scores.loc[run.scores["condition"] == condition]
    bands = [s for s in family_specs(result["task"], "standard") if s.name.endswith("_band")]
    systems = [*system_names(result, "model"), *system_names(result, "baseline")]
    fit = result["fit"] or {}
    in_bands = tidy.loc[tidy["condition"] == condition]
    return {
        "curves_picture": _picture_if(
            noise_curves(tidy, result["conditions"], spec), f"{spec.label} against noise", True
        ),
        "bands_picture": _picture_if(interval_chart(in_bands, bands), "Error by frequency band"),
        "distribution_picture": _picture_if(score_distribution(clean, systems, spec), f"{spec.label} of every record"),
        "training_picture": _picture_if(
            None if run.curves is None else training_curves(run.curves, fit.get("best_epoch")), "Training curves"
        ),
        **_example_pictures(run),
    }


def _example_pictures(run: RunFolder) -> Pictures:
    model = system_names(run.result, "model")[0]
    examples = read_examples(run.examples, model) if run.examples is not None else []
    if not examples:
        return {"papers": [], "close_ups": [], "spectrum_picture": None}
    gains = common_gains(examples)
    return {
        "papers": [_picture(paper_figure(e, gains[e.condition]), e.title, wide=True) for e in examples],
        "close_ups": [_picture(close_up_figure(e), f"Close-up of {e.title}") for e in examples],
        "spectrum_picture": _picture(spectrum_figure(examples), "Spectrum of the error"),
    }


def _picture(figure: Figure, alt: str, wide: bool = False) -> Picture:
    return Picture(png_bytes(figure), alt, wide=wide)


def _picture_if(figure: Figure | None, alt: str, wide: bool = False) -> Picture | None:
    return None if figure is None else _picture(figure, alt, wide)
