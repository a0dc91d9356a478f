"""How far a run is: a bar with loss and time left on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

from model_export.progress import note

LOG_SECONDS = 30.0
"""Between two lines of a log."""

Item = TypeVar("Item")
Show = Callable[[str, float], None]
"""Takes the title and the loss after each step."""


@contextmanager
def steps_bar(total: int, done: int) -> Iterator[Show]:
    """Give what is to be called after each of the steps `done` + 1 to `total`."""
    began = told = time.monotonic()
    step = done
    with tqdm(total=total, initial=done, unit="step", disable=None) as bar:

        def show(title: str, loss: float) -> None:
            nonlocal told, step
            step += 1
            bar.set_description(title, refresh=False)
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            bar.update()
            now = time.monotonic()
            if bar.disable and (now - told > LOG_SECONDS or step == total):
                told = now
                left = (now - began) / (step - done) * (total - step)
                note(f"{title}: step {step}/{total}, loss {loss:.4f}, {left / 60:.1f} min left")

        yield show


def shown(title: str, items: Sequence[Item]) -> Iterable[Item]:
    """The same items, with a bar on a terminal that vanishes after the last."""
    bar: Iterable[Item] = tqdm(items, desc=title, leave=False, disable=None)
    return bar


def say(message: str) -> None:
    """A line of its own on standard error, above the bars."""
    tqdm.write(message, file=sys.stderr)
