"""Compiling without a writable cache folder."""

import numpy as np

from roadspeed import compiled as module


def test_without_a_cache_folder_functions_compile_all_the_same(monkeypatch) -> None:
    real = module.njit

    def njit(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(module, "njit", njit)

    @module.compiled
    def total(values):
        result = 0
        for value in values:
            result += value
        return result

    assert total(np.arange(5)) == 10
