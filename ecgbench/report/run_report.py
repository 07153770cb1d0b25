"""The report of one run: `report.html`, a page that needs nothing but itself, and `report.md` with the same tables."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table as RichTable

from ecgbench.report.classification_page import classification_content, classification_pictures
from ecgbench.report.html import Pictures, picture_if, render
from ecgbench.report.plots import training_curves
from ecgbench.report.reconstruction_page import reconstruction_content, reconstruction_pictures
from ecgbench.report.run_folder import RunFolder, has_metric, read_run
from ecgbench.report.score_tables import (
    condition_tables,
    family_specs,
    noise_verdict,
    notes_of,
    score_table,
    skipped_table,
    verdict,
)
from ecgbench.report.superres_page import superres_content, superres_pictures
from ecgbench.report.table import to_rich, without
from ecgbench.report.tasks import task_facts


@dataclass(frozen=True)
class TaskPage:
    """How one task's page is made: its templates, and what they show beside the parts that every page has."""

    template: str
    """Name of the `.html.jinja` and `.md.jinja` files."""
    content: Callable[[RunFolder], dict[str, object]]
    pictures: Callable[[RunFolder], Pictures]


PAGES = {
    "superres": TaskPage("superres", superres_content, superres_pictures),
    "classification": TaskPage("classification", classification_content, classification_pictures),
    "reconstruction": TaskPage("reconstruction", reconstruction_content, reconstruction_pictures),
}
"""The page of each task of `ecgbench.report.tasks.TASKS`."""


def write_report(run_dir: Path) -> Path:
    """Writes `report.html` and `report.md` into a finished run's folder and returns the path of the page."""
    run = read_run(run_dir)
    page, template = page_content(run), PAGES[run.result["task"]].template
    html_path = run.path / "report.html"
    html_path.write_text(render(f"{template}.html.jinja", **page), encoding="utf-8")
    (run.path / "report.md").write_text(render(f"{template}.md.jinja", **page), encoding="utf-8")
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
        "curve_note": task_facts(result["task"]).curve_note,
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
        **PAGES[result["task"]].content(run),
        **run_pictures(run),
    }


def _has_official(result: dict) -> bool:
    return any(has_metric(result, spec) for spec in family_specs(result["task"], "official"))


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
        "classes": len(result["label_names"]) if "label_names" in result else None,
        "records": _counts(result["records"]),
        "patients": _counts(result["patients"]),
    }
    return [(name, str(value)) for name, value in facts.items() if value is not None]


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
    best = f"{fit['best_score']:.3g}" if fit["best_score"] is not None else "not finite"
    epochs = f"{fit['epochs']} epochs in {_seconds_text(fit['seconds'])}"
    return f"{epochs}; best epoch {fit['best_epoch']}, {fit['monitor']} {best}"


def _seconds_text(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def run_pictures(run: RunFolder) -> Pictures:
    """Every picture of a run's page by its name in the template; None for what the run has no data of."""
    fit = run.result["fit"] or {}
    return {
        **PAGES[run.result["task"]].pictures(run),
        "training_picture": picture_if(
            None if run.curves is None else training_curves(run.curves, fit.get("best_epoch"), fit.get("monitor")),
            "Training curves",
        ),
    }
