"""Every number that shapes a run; written beside the checkpoint as `training.json`."""

from dataclasses import dataclass, field

from training.mixture import ROUND


@dataclass(frozen=True)
class Recipe:
    """The defaults are for a start that knows SST-2 alone; the card of the bundled model says what made it."""

    steps: int = 4000
    batch_size: int = 64
    batch_tokens: int = 2048
    """Tokens a batch at most, padding included: long windows come in smaller batches."""

    learning_rate: float = 4e-5
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay_share: float = 0.4
    """The last share of the steps, in which the learning rate falls linearly to zero; before, it is constant."""

    window_tokens: tuple[int, ...] = (128, 256, 384)
    """Tokens of a longer text that the model sees at once, [CLS] and [SEP] included; how many and which is drawn."""

    average_steps: int = 10
    average_decay: float = 0.95
    """An exponential moving average of the weights, updated every `average_steps`: about the last 200 steps."""

    checkpoint_steps: int = 250
    frozen_layers: int = 0
    """Layers that are not trained, from the first on, with all embeddings: a large teacher is trained faster so."""

    seed: int = 0
    round: dict[str, int] = field(default_factory=lambda: dict(ROUND))
