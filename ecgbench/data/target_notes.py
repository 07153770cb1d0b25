"""What every labelled source tells about its classes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def absent_from_training(index: pd.DataFrame, y: np.ndarray, classes: Sequence[str]) -> list[str]:
    """One sentence naming the classes that no training row has, none where there is no such class.

    `index` has the column split, `y` is (row, class).
    """
    n_train = y[index["split"].to_numpy() == "train"].sum(axis=0)
    missing = [name for name, n in zip(classes, n_train, strict=True) if not n]
    if not missing:
        return []
    return [f"No training record has {', '.join(missing)}: no model can learn to find that."]
