"""Fit the polynomials of simd.h and print them as C++ initialisers (needs mpmath).

Each is the interpolant of a smooth function at Chebyshev nodes, which is within a small factor of the minimax one:

* 2^x on [-1/2, 1/2] as 1 + x E(x), so that no error is left at x = 0, where a slow decay lives;
* log(1 + e) on [0, 1] as 2 s L(s^2) with s = e / (2 + e), which keeps the relative precision of a small e.
"""

from collections.abc import Callable
from typing import Any

import mpmath as mp

Number = Any  # an mpmath number; the library is not typed
mp.mp.dps = 50


def interpolate(function: Callable[[Number], Number], low: Number, high: Number, degree: int) -> list[Number]:
    """Coefficients, constant first, of the polynomial that meets `function` at the Chebyshev nodes of [low, high]."""
    centre, radius = (low + high) / 2, (high - low) / 2
    nodes = [centre + radius * mp.cos(mp.pi * (2 * k + 1) / (2 * degree + 2)) for k in range(degree + 1)]
    system = mp.matrix([[x**power for power in range(degree + 1)] for x in nodes])
    return list(mp.lu_solve(system, mp.matrix([function(x) for x in nodes])))


def exp2_tail(x: Number) -> Number:
    """(2^x - 1) / x."""
    return mp.expm1(x * mp.log(2)) / x if x else mp.log(2)


def atanh_tail(w: Number) -> Number:
    """atanh(s) / s at s^2 = w."""
    return mp.atanh(mp.sqrt(w)) / mp.sqrt(w) if w else mp.mpf(1)


def main() -> None:
    """Print both polynomials for both precisions, highest power first, as Horner's scheme takes them."""
    for name, function, low, high, degrees in (
        ("EXP2", exp2_tail, -mp.mpf(1) / 2, mp.mpf(1) / 2, {"float": 5, "double": 10}),
        ("LOG1P", atanh_tail, mp.mpf(0), mp.mpf(1) / 9, {"float": 4, "double": 10}),
    ):
        for ctype, degree in degrees.items():
            coefficients = reversed(interpolate(function, low, high, degree))
            digits = ", ".join(str(mp.nstr(c, 10 if ctype == "float" else 18)) for c in coefficients)
            print(f"{name} {ctype}: {{{digits}}}")


if __name__ == "__main__":
    main()
