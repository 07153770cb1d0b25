"""Random numbers that depend on names alone: never on a worker, a process, a batch or the order of calls."""

import hashlib


def uniforms(*key: object) -> tuple[float, ...]:
    """Eight numbers in [0, 1), a function of the key's text (BLAKE2b, 64 bits each)."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode()).digest()
    return tuple(int.from_bytes(digest[i : i + 8], "little") / 2.0**64 for i in range(0, 64, 8))
