"""How errors reach the user: one sentence where it can be mended, a traceback where it is a defect."""

import sys
import traceback
from collections.abc import Callable

from ecgbench import config

EXPECTED = (ValueError, OSError, FloatingPointError)
"""Errors whose message is written for the user."""


def complain(error: Exception, known_keys: Callable[[], list[str]] = list) -> int:
    """Print an error to stderr; returns the exit code, 2 for a wrong configuration and 1 for anything else."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, HydraException | OmegaConfBaseException):
        print(f"error: {config.explain(error, known_keys)}", file=sys.stderr)
        return 2
    if isinstance(error, EXPECTED) or type(error).__module__.startswith("ecgbench."):
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, config.ConfigError) else 1
    traceback.print_exception(error)
    return 1
