"""Files of one's own on Datasets: several, pasted, with columns of other names."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from cognate_core.data.uploads import list_uploads
from cognate_core.runs import RunManager
from tests.pages.conftest import open_page, texts
from tests.pages.test_datasets import OWN, ROWS, group, plain, press, upload


def choose(page: AppTest, label: str, value: str) -> None:
    next(box for box in page.selectbox if box.label == label).set_value(value).run()


def test_the_owner_says_which_columns_are_learned(studio: RunManager) -> None:
    page = upload(b"frage;antwort;quelle\nWas ist 1+1?;2;Heft\nWas ist 1+2?;3;Heft\n", "meine.csv")
    assert "Choose the columns to learn from. Found: frage, antwort, quelle" in plain(page)
    assert not page.metric, "no rows are shown, and nothing is refused, before the owner has answered"
    assert not [button for button in page.button if button.label == "Train on this"]
    assert [box.value for box in page.selectbox[1:]] == ["Questions and answers", "frage", "antwort", "(none)"]
    choose(page, "Columns", "Texts")
    choose(page, "Columns", "Questions and answers")
    next(each for each in page.text_input if each.label == "Origin and licence").set_value("my own, CC0").run()
    press(page, "Apply")
    assert "Problem: Was ist 1+" in plain(page)
    assert "These columns are not read: quelle" in plain(page)
    (file,) = list_uploads(studio.home)
    assert (file.rows, file.licence) == (2, "my own, CC0")
    assert file.read_by == {"dataset_columns": {"question": "frage", "answer": "antwort"}}
    page = open_page("new_run", upload=file.path.name)
    next(button for button in page.button if button.label.startswith("Start")).click().run()
    (run,) = studio.log.runs()
    assert run.config.dataset_columns == {"question": "frage", "answer": "antwort"}


@pytest.mark.parametrize("other", [("more.zip", b"PK"), ("picture.png", b"x")])
def test_what_cannot_be_read_together_is_not_lost_in_silence(studio: RunManager, other: tuple[str, bytes]) -> None:
    page = open_page("datasets", dataset=OWN)
    page.file_uploader[0].upload("train.jsonl", ROWS).upload(*other).run()
    assert f"{other[0]} cannot be added together with others" in plain(page)
    assert list_uploads(studio.home) == []


def test_what_cannot_be_read_so_changes_nothing(studio: RunManager) -> None:
    page = upload()
    (before,) = list_uploads(studio.home)
    next(each for each in page.text_input if each.label == "Text encoding").set_value("klingon").run()
    press(page, "Apply")
    assert "There is no encoding 'klingon'" in plain(page)
    assert list_uploads(studio.home) == [before]


def test_several_files_are_one(studio: RunManager) -> None:
    page = open_page("datasets", dataset=OWN)
    page.file_uploader[0].upload("train.jsonl", ROWS).upload("test.csv", b"text\nheld out\n").run()
    assert page.selectbox[0].options == ["2 files.zip, 2.13 KB, 41 rows"]
    group(page, "Rows to show").set_value("held-out").run()
    assert "held out" in texts(page) and "Row 1 of 1" in texts(page)


@pytest.mark.parametrize(
    ("text", "label", "rows"),
    [
        ("question\tanswer\n1+1?\t2\n1+2?\t3", "pasted text.csv", 2),
        ('{"text": "a"}\n{"text": "b"}\n{"text": "c"}', "pasted text.jsonl", 3),
        ('[{"text": "a"},\n{"text": "b"}]', "pasted text.json", 2),
        ("\n".join(f"Anna {n}" for n in range(30)), "pasted text.txt", 30),
        ('\ufeff"question","answer"\n"1+1?","2"\n"1+2?","3"', "pasted text.csv", 2),
        ('{"data": [{"text": "a"}, {"text": "b"}]}', "pasted text.json", 2),
        ("Text\n" + "\n".join(f"Anna {n}" for n in range(30)), "pasted text.txt", 31),
        ("[INTRO]\n" + "\n".join(f"Anna {n}" for n in range(30)), "pasted text.txt", 31),
    ],
)
def test_a_pasted_text_is_read_as_what_it_looks_like(studio: RunManager, text: str, label: str, rows: int) -> None:
    page = open_page("datasets", dataset=OWN)
    page.text_area[0].set_value(text).run()
    press(page, "Keep it")
    (file,) = list_uploads(studio.home)
    assert (file.label, file.rows) == (label, rows)
    assert page.text_area[0].value == "", "what was kept is not kept twice"
