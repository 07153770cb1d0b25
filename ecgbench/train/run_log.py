"""A run's log file: warnings and Lightning's messages go there, not between the progress bars."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric", "py.warnings", "ecgbench")


@contextmanager
def run_log(path: Path) -> Iterator[None]:
    """Send the named loggers to the file while the block runs; afterwards everything is as it was."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    loggers = [logging.getLogger(name) for name in NAMES]
    before = [(logger.handlers[:], logger.propagate) for logger in loggers]
    logging.captureWarnings(True)
    for logger in loggers:
        logger.handlers[:], logger.propagate = [handler], False
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers[:], logger.propagate = handlers, propagate
        handler.close()
