"""ecgbench: train and score published ECG systems on one protocol, from one config."""

from ecgbench.version import __version__ as __version__
