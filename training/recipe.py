"""Every number that shapes a run; written beside the checkpoint as `training.json`."""

from dataclasses import dataclass, field

from training.mixture import ROUND


@dataclass(frozen=True)
class Recipe:
    """The defaults made the bundled model."""

    steps: int = 4000
    batch_size: int = 64
    batch_tokens: int = 2048
    """Tokens a batch at most, padding included: long windows come in smaller batches."""

    learning_rate: float = 4e-5
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay_share: float = 0.4
    """The last share of the steps, in which the learning rate falls linearly to zero; before, it is constant."""

    window_tokens: int = 128
    """Tokens of a longer text that the model sees at once, [CLS] and [SEP] included; which ones is drawn each time."""

    average_steps: int = 10
    average_decay: float = 0.98
    """An exponential moving average of the weights, updated every `average_steps`: about the last 500 steps."""

    checkpoint_steps: int = 250
    teacher_temperature: float = 2.5
    seed: int = 0
    round: dict[str, int] = field(default_factory=lambda: dict(ROUND))
