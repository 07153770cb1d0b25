"""`python -m ecgbench.doctor`: versions, devices, which scan backend runs and why, free disk."""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Print what a report of a problem should hold; always exits with 0."""
    argparse.ArgumentParser(prog="ecgbench doctor", description=__doc__).parse_args(arguments)
    import torch
    from rich.console import Console
    from rich.table import Table

    from ecgbench import config, provenance
    from ecgbench.ops import resolve_backend

    table = Table(show_header=False, title=f"ecgbench {provenance.__version__}")
    hardware = provenance.hardware()
    rows = {
        "python": sys.version.split()[0],
        "installed": str(config.PACKAGE),
        "configs": str(config.CONF_DIR),
        **{name: version or "not installed" for name, version in provenance.versions().items()},
        **{name: str(value) for name, value in hardware.items() if name != "gpus"},
        "gpus": ", ".join(hardware["gpus"]) or "none",
    }
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        backend = resolve_backend("auto", torch.device(device))
        rows[f"scan on {device}"] = f"{backend.name}: {backend.reason}"
    for folder in (Path("outputs"), Path("data")):
        rows[f"free disk for {folder}/"] = f"{provenance.free_disk_gib(folder):.1f} GiB"
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
