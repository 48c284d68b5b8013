"""Exact chance from the operating system's generator: integers only, no floating point (room-mood §7)."""

from __future__ import annotations

from secrets import randbelow


def bernoulli(above: int, below: int) -> bool:
    """True with probability above / below."""
    return randbelow(below) < above


def bernoulli_exp(above: int, below: int) -> bool:
    """True with probability exp(-above / below), for above >= 0 (Canonne, Kamath and Steinke, 2020, algorithm 1)."""
    whole, above = divmod(above, below)
    if not all(_bernoulli_exp_below_one(1, 1) for _ in range(whole)):
        return False
    return _bernoulli_exp_below_one(above, below)


def _bernoulli_exp_below_one(above: int, below: int) -> bool:
    k = 1
    while bernoulli(above, below * k):
        k += 1
    return k % 2 == 1


def discrete_laplace(scale: int) -> int:
    """x with probability proportional to exp(-|x| / scale) (algorithm 2)."""
    while True:
        part = randbelow(scale)
        if not bernoulli_exp(part, scale):
            continue
        whole = 0
        while bernoulli_exp(1, 1):
            whole += 1
        size, negative = part + scale * whole, bernoulli(1, 2)
        if size or not negative:
            return -size if negative else size


def discrete_gauss(sigma: int) -> int:
    """x with probability proportional to exp(-x^2 / (2 sigma^2)), exactly (algorithm 3)."""
    if sigma < 1:
        raise ValueError("sigma is a whole number from 1 on")
    scale = sigma + 1
    while True:
        x = discrete_laplace(scale)
        if bernoulli_exp((abs(x) * scale - sigma * sigma) ** 2, 2 * (sigma * scale) ** 2):
            return x
