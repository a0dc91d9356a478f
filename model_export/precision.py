"""In what precision a CPU trains fastest."""

import torch

BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself; emulated it takes up to fifty times as long as float32."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in BFLOAT16_INSTRUCTIONS)


def autocast() -> torch.autocast:
    """bfloat16 for matrix products where the CPU has it, float32 everywhere else."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_bfloat16())
