"""The texts that all load generators share."""

from statistics import median

from load.texts import cold_text, load_texts, make_texts


def test_file_holds_what_the_generator_makes() -> None:
    """texts.json was not edited by hand, and the generator did not change behind its back."""
    assert load_texts() == make_texts()


def test_other_seed_gives_other_texts() -> None:
    """The seed decides, so that held-out texts can be made."""
    texts = load_texts()
    other = make_texts(seed=texts["seed"] + 1)
    assert not set(other["warm"]) & set(texts["warm"])


def test_texts_are_all_different() -> None:
    """A warm text is never a cold one, and none counts twice."""
    texts = load_texts()
    every = texts["warm"] + texts["cold"]
    assert len(set(every)) == len(every) == 500


def test_lengths_are_realistic() -> None:
    """About 17 words in the middle, short ones and long ones at the ends."""
    words = sorted(len(text.split()) for text in load_texts()["cold"])
    assert 15 <= median(words) <= 19
    assert words[len(words) // 20] < 9
    assert words[-len(words) // 20] > 30


def test_nonce_makes_a_text_new() -> None:
    """The same text with another nonce is another text."""
    assert cold_text("Fine.", "a1") != cold_text("Fine.", "a2")
