"""Numba with a cache on disk, so that worker processes and later runs do not compile again."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function of arrays when first called; without a cache where no folder for one is writable."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba found neither the package's folder nor a user's cache folder writable
        return njit(nogil=True)(function)
