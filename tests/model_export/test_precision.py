"""bfloat16 where the CPU has units for it."""

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")

import torch

from model_export.precision import autocast


@pytest.mark.parametrize(("units", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_products_are_in_the_faster_precision(monkeypatch: pytest.MonkeyPatch, units: bool, dtype: object) -> None:
    """By what the CPU says of itself."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units})
    with autocast():
        assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == dtype
