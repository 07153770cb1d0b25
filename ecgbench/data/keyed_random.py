"""Random numbers that depend on names alone: never on a worker, a process, a batch or the order of calls."""

import hashlib

import numpy as np


def uniforms(*key: object) -> tuple[float, ...]:
    """Eight numbers in [0, 1), a function of the key's text (BLAKE2b, 64 bits each)."""
    digest = _digest(key)
    return tuple(int.from_bytes(digest[i : i + 8], "little") / 2.0**64 for i in range(0, 64, 8))


def generator(*key: object) -> np.random.Generator:
    """A generator that starts from the key's text, for more or other numbers than eight uniform ones."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_digest(key)[:16], "little")))


def _digest(key: tuple[object, ...]) -> bytes:
    return hashlib.blake2b("\x1f".join(map(str, key)).encode()).digest()
