"""What is known of a record beside its signal, as a row of numbers for models that take one (Prna's wide branch)."""

import hashlib
import inspect
from importlib.metadata import version
from typing import Literal

import numpy as np
import pandas as pd
from filelock import FileLock
from rich.progress import track

from ecgbench.data.store import Store
from ecgbench.signal import wide_features

WideKind = Literal["none", "age_sex", "prna"]
"""none: no column | age_sex: Prna's columns, the twenty measured ones zero | prna: all of them, measured in lead II."""


def wide_table(store: Store, kind: WideKind) -> np.ndarray:
    """The facts of every row of the store's index, float32 (row, feature); every window of a record has the record's.

    Measured once and kept beside the store's signals. Raises ValueError where lead II is not in the store.
    """
    index = store.index
    if kind == "none":
        return np.zeros((len(index), 0), dtype=np.float32)
    first = index.drop_duplicates("record_id")
    ages, sexes = (first[name].to_numpy(dtype=np.float64) for name in ("age_years", "is_male"))
    if kind == "age_sex":
        nothing = np.zeros((12, 0))
        table = [wide_features.wide_features(nothing[0], store.fs_hz, *pair) for pair in zip(ages, sexes, strict=True)]
    else:
        table = _measured(store, first.index.to_numpy(), ages, sexes)
    of_record = pd.Series(range(len(first)), index=first["record_id"])
    return np.stack(table).astype(np.float32)[of_record.loc[index["record_id"]].to_numpy()]


def _measured(store: Store, rows: np.ndarray, ages: np.ndarray, sexes: np.ndarray) -> np.ndarray:
    """The features of the first window of each record, from the cache where they were measured before."""
    if "II" not in store.leads:
        raise ValueError(f"preprocessing.wide=prna measures lead II, dataset.leads={list(store.leads)}; use age_sex")
    people = np.stack([ages, sexes], axis=1)
    made_from = [inspect.getsource(wide_features), version("neurokit2"), people.tobytes().hex(), *map(str, rows)]
    cache = store.path / f"wide-{hashlib.sha256('/'.join(made_from).encode()).hexdigest()[:8]}.npy"
    with FileLock(store.path.parent / f".{store.path.name}-wide.lock"):
        if cache.is_file():
            return np.load(cache)
        lead = store.leads.index("II")
        n_valid = store.index["n_valid"].to_numpy()
        table = np.stack([
            wide_features.wide_features(store.signals[row, lead, : n_valid[row]], store.fs_hz, *person)
            for row, person in track(list(zip(rows, people, strict=True)), "measuring lead II", transient=True)
        ])  # fmt: skip
        partial = cache.with_suffix(".part.npy")
        np.save(partial, table)
        partial.replace(cache)
    return table
