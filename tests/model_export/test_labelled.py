"""model_export/labelled.py: labelled texts in the forms in which people have them; each wrong one gets its message."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from model_export.errors import ExportError
from model_export.labelled import Example, read_labelled

EXPECTED = [Example(1, "good film"), Example(0, "bad, bad film")]


@pytest.mark.parametrize(
    "content",
    [
        "label\tsentence\n1\tgood film\n0\tbad, bad film\n",
        "sentence\tlabel\ngood film\t1\nbad, bad film\t0",
        "label\tcontent\n1\tgood film\n0\tbad, bad film\n",
        "\ufefflabel\tsentence\n1\tgood film\n0\tbad, bad film\n",
        "label\tsentence\r\n1\tgood film\r\n0\tbad, bad film\r\n",
        "\tLabel\ttext\n0\t1\tgood film\n1\t0\tbad, bad film\n",
        '"label"\t"sentence"\n"1"\t"good film"\n"0"\t"bad, bad film"\n\n\n',
    ],
    ids=["glue", "other order", "other name", "bom", "crlf", "pandas with its index", "all quoted"],
)
def test_forms_of_one_file(tmp_path: Path, content: str) -> None:
    """All say the same."""
    path = tmp_path / "dev.tsv"
    path.write_bytes(content.encode())
    assert read_labelled(path) == EXPECTED


def test_quotes_of_a_table_are_taken_off(tmp_path: Path) -> None:
    """As pandas writes a text with quotation marks or a tab: quoted, the marks doubled."""
    path = tmp_path / "dev.tsv"
    path.write_text('label\tsentence\n1\t"a ""good"" film"\n0\tbad\n1\t"""quoted"""\n0\t"one\ttab"\n')
    assert [example.text for example in read_labelled(path)] == ['a "good" film', "bad", '"quoted"', "one\ttab"]


def test_long_text_is_read(tmp_path: Path) -> None:
    """Python's csv module would stop at 131,072 characters."""
    path = tmp_path / "dev.tsv"
    path.write_text('label\tsentence\n1\t"' + "x" * 200_000 + '"\n')
    assert read_labelled(path) == [Example(1, "x" * 200_000)]


def test_quotes_of_plain_text_stay(tmp_path: Path) -> None:
    """One line that quotes in no table's way, and the whole file is taken as it stands, as GLUE's."""
    path = tmp_path / "dev.tsv"
    path.write_text('label\tsentence\n1\t"good" film\n0\t"bad"\n1\ta 15" screen\n')
    assert [example.text for example in read_labelled(path)] == ['"good" film', '"bad"', 'a 15" screen']


@given(texts=strategies.lists(strategies.text(min_size=1, max_size=20).filter(str.strip), min_size=1, max_size=5))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_a_table_writer_wrote_is_read(tmp_path: Path, texts: list[str]) -> None:
    """Python's own csv module, by which pandas writes, quotes what needs it; only line breaks are not for us."""
    texts = [text for text in texts if not {"\n", "\r", "\0"} & set(text)]
    table = io.StringIO()
    csv.writer(table, delimiter="\t", lineterminator="\n").writerows(
        [["sentence", "label"], ["x", 0], *((t, 1) for t in texts)]
    )
    path = tmp_path / "dev.tsv"
    path.write_bytes(table.getvalue().encode())
    assert [example.text for example in read_labelled(path)] == ["x", *(text.strip() for text in texts)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "line 1: expected a header with one column 'label' and one 'sentence' (or 'text'), separated by a tab"),
        (b"1\tgood\n", "line 1: expected a header "),
        (b"label,sentence\n1,good\n", "something else (pandas: to_csv(path, sep='\\t', index=False))"),
        (b"label\tlabel\tsentence\n", "line 1: expected a header "),
        (b"label\tsentence\ttext\n", "line 1: expected a header "),
        (b"label\tsentence\n", "no labelled text after the header"),
        (b"label\tsentence\n1\tgood\n1.0\tbad\n", "line 3: a label should be a whole number, the index of its logit"),
        (b"label\tsentence\npositive\tgood\n", "line 2: a label should be a whole number"),
        (b"label\tsentence\n" + b"9" * 5000 + b"\tgood\n", f"got '{'9' * 40}...'"),
        (b"label\tsentence\n-1\tgood\n", "got '-1'"),
        (b"label\tsentence\n1\t \n", "line 2: there is no text beside the label"),
        (b"label\tsentence\n1 good\n", "line 2: expected 2 columns as in the header, got 1: '1 good'"),
        (b"label\tsentence\n1\tgood\tfilm\n", "line 2: expected 2 columns as in the header, got 3: '1<TAB>good<TAB>"),
        (
            b'label\tsentence\n1\t"one\ntwo"\n',
            "line 3: expected 2 columns as in the header, got 1: 'two\"'; a text may ",
        ),
        (b"label\tsentence\n1\tgood\n\n0\tbad\n", "line 3: expected 2 columns"),
        ("label\tsentence\n".encode("utf-16"), "is not in UTF-8 (byte 0: "),
    ],
)
def test_wrong_form_gets_its_message(tmp_path: Path, content: bytes, reason: str) -> None:
    """The line begins with the file, and says what was expected."""
    path = tmp_path / "dev.tsv"
    path.write_bytes(content)
    with pytest.raises(ExportError) as caught:
        read_labelled(path)
    assert str(caught.value).startswith(str(path))
    assert reason in str(caught.value)
