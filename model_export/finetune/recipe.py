"""The numbers of a run."""

from dataclasses import dataclass
from typing import Literal

ClassWeights = Literal["none", "balanced"]


@dataclass(frozen=True)
class Recipe:
    """Every number that shapes the run; written beside the checkpoint in `training.json`."""

    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    max_tokens: int = 128
    averaged_share: float = 1 / 3
    snapshot_steps: int = 50
    detokenised_share: float = 0.5
    held_out_share: float = 0.05
    class_weights: ClassWeights = "none"
    seed: int = 0

    def steps(self, texts: int) -> int:
        """Batches of an epoch over so many texts."""
        return -(-texts // self.batch_size)
