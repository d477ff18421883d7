from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import ButtonGroup, TextInput

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.data import sources
from cognate_core.data.uploads import Upload, keep, list_uploads
from cognate_core.errors import RunError
from cognate_core.labels import WORD_JOINER
from cognate_core.runs import RunManager
from pages.components import token_view
from tests.pages.conftest import chart_titles, open_page, texts

ROWS = b"".join(b'{"question": "What is %d + 1?", "answer": "%d"}\n' % (n, n + 1) for n in range(40))
OWN = "Own file"


def plain(page: AppTest) -> str:
    """All text without what escapes it."""
    return texts(page).replace("\\", "").replace(WORD_JOINER, "")


def press(page: AppTest, label: str) -> AppTest:
    next(button for button in page.button if button.label == label).click().run()
    return page


def group(page: AppTest, label: str) -> ButtonGroup[Any]:
    return next(element for element in page.button_group if element.label == label)


def field(page: AppTest, label: str) -> TextInput:
    return next(element for element in page.text_input if element.label.startswith(label))


def write_dataset(folder: Path, same: int) -> None:
    """A small GSM8K in the hub's layout; its first `same` held-out questions stand among its training rows, too."""
    folder.mkdir(parents=True)
    for split, numbers in (("train", range(50)), ("test", range(50 - same, 60 - same))):
        lines = [json.dumps({"question": f"How much are {n} plus one?", "answer": f"#### {n + 1}"}) for n in numbers]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))


@pytest.fixture
def gsm8k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GSM8K in a local folder, where 4 of 10 held-out rows are training rows, too."""
    monkeypatch.setenv("COGNATE_DATASETS_DIR", str(tmp_path / "local"))
    write_dataset(tmp_path / "local" / "gsm8k" / "main", same=4)


def upload(content: bytes = ROWS, name: str = "mine.jsonl") -> AppTest:
    page = open_page("datasets", dataset=OWN)
    page.file_uploader[0].upload(name, content).run()
    assert not page.exception
    return page


def kept(home: Path, content: bytes = ROWS) -> Upload:
    """A file that was added before."""
    return keep("mine.jsonl", [content], home)


def test_it_opens_with_what_is_here_and_asks_nobody(studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_hub_rows", lambda *_: pytest.fail("the hub was asked"))
    page = open_page("datasets")
    assert group(page, "Dataset").value == "Synthetic"
    assert "Row 1 of 5,000" in texts(page)
    assert "made on this computer" in texts(page)
    page = open_page("datasets", dataset="SVAMP")
    assert "SVAMP is not on this computer yet" in texts(page)


def test_fetching_what_cannot_be_had_gets_a_sentence(studio: RunManager) -> None:
    page = press(open_page("datasets", dataset="SVAMP"), "Fetch it")
    assert "could not be fetched from the hub" in plain(page)
    assert not page.exception


def test_a_dataset_in_the_local_folder_is_shown_first(studio: RunManager, gsm8k: None) -> None:
    page = open_page("datasets")
    assert group(page, "Dataset").value == "GSM8K"
    assert "How much are 0 plus one?" in texts(page)
    assert {metric.label: metric.value for metric in page.metric}["Training rows"] == "50"
    group(page, "Rows to show").set_value("held-out").run()
    assert "How much are 46 plus one?" in texts(page)
    assert "How much are 0 plus one?" not in texts(page)


def test_lengths_tell_what_does_not_fit(studio: RunManager, gsm8k: None) -> None:
    page = open_page("datasets", section="Lengths")
    assert "Every training row fits" in texts(page)
    assert chart_titles(page) == ["Length of the rows"]
    field(page, "Training length").set_value("16").run()
    assert "50 of 50 training rows (100.0%) are too long" in texts(page)
    field(page, "Vocabulary").set_value("many").run()
    assert "Vocabulary must be a whole number" in plain(page)


def test_a_length_that_fits_is_offered_where_rows_do_not_fit(studio: RunManager, gsm8k: None) -> None:
    page = open_page("datasets", section="Lengths")
    assert not any("rows fit" in button.label for button in page.button)
    field(page, "Training length").set_value("16").run()
    press(page, "Use 32 tokens: 95 % of the rows fit")
    assert field(page, "Training length").value == "32"
    assert "Every training row fits" in texts(page)
    assert not any("rows fit" in button.label for button in page.button)


def test_lengths_and_mixture_cut_long_rows_if_that_is_chosen(studio: RunManager, gsm8k: None) -> None:
    page = open_page("datasets", section="Lengths", **{"look.train_seq_len": "16", "look.long_rows": "cut"})
    assert "50 of 50 rows are longer and continue in further sequences" in texts(page)
    assert "left out" not in texts(page)
    group(page, "Look at").set_value("Mixture and batch").run()
    group(page, "Datasets").set_value(["GSM8K"]).run()
    table = page.dataframe[0].value
    assert list(table["rows too long"]) == [0]
    assert table["sequences"][0] > 50
    group(page, "Rows that are too long").set_value("leave-out").run()
    assert "There are no training sequences" in plain(page)


def tokens_on(page: AppTest) -> list[tuple[str, str]]:
    """(colour, text) of each token of the first row on the page."""
    row = next(each.value for each in page.markdown if ":color[" in each.value)
    found = re.findall(r':color\[((?:\\.|[^\]\\])*)\]{background="(#[0-9a-f]{6})"}', row)
    return [(colour, text.replace("\\", "").replace(WORD_JOINER, "")) for text, colour in found]


def test_rows_are_shown_as_the_model_reads_them(studio: RunManager, gsm8k: None) -> None:
    page = open_page("datasets")
    assert not any(":color[" in each.value for each in page.markdown)
    page.toggle(key="tokens").set_value(True).run()
    tokens = tokens_on(page)
    text = "".join(text for _, text in tokens).replace("\u00a0", " ").replace("↵", "\n")
    assert text == "Problem: How much are 0 plus one?\nSolution: #### 1"
    assert [colour for colour, _ in tokens] == [token_view.GRADED["light"][n % 2] for n in range(len(tokens))]
    assert f"Row 1 of 50, {len(text)} characters, {len(tokens)} tokens" in texts(page)
    assert token_view.END in next(each.value for each in page.markdown if ":color[" in each.value)


def test_what_is_only_read_is_grey(studio: RunManager, gsm8k: None) -> None:
    page = open_page("datasets", tokens="true")
    assert "Grey" not in texts(page)
    page.toggle(key="look.loss_on_answer_only").set_value(True).run()
    assert "Grey tokens are only read, not graded." in texts(page)
    grey = [text for colour, text in tokens_on(page) if colour in token_view.ONLY_READ["light"]]
    assert "".join(grey).replace("\u00a0", " ") == "Problem: How much are 0 plus one?↵Solution:"


def test_a_row_that_does_not_fit_says_so(studio: RunManager, gsm8k: None) -> None:
    page = open_page("datasets", tokens="true")
    assert "does not fit" not in texts(page)
    field(page, "Training length").set_value("16").run()
    assert texts(page).count("does not fit 16 tokens") == 5
    field(page, "Training length").set_value("no").run()
    assert "Training length must be a whole number" in plain(page)
    assert "How much are 0 plus one?" in texts(page)


def test_a_very_long_row_is_not_drawn_whole(studio: RunManager) -> None:
    rows = b"".join(b'{"text": "%s"}\n' % b" ".join(b"%d" % (n + m) for m in range(400)) for n in range(40))
    page = upload(rows)
    page.toggle(key="tokens").set_value(True).run()
    assert len(tokens_on(page)) == token_view.MOST_TOKENS
    assert "The first 500 of 1," in texts(page)
    assert token_view.END not in texts(page)


def test_blanks_lines_and_parts_of_letters_are_drawn() -> None:
    texts = ["a", "  ", "\n\n b\t", "", "日]"]
    assert token_view.tokens_markdown(texts, 1, "dark") == (
        ':color[a]{background="#343a42"}'
        '\u200b:color[\u00a0\u00a0]{background="#54400f"}'
        '\u200b:color[↵]{background="#1d3f6e"}  \n:color[↵]{background="#1d3f6e"}  \n'
        ':color[\u00a0b⇥]{background="#1d3f6e"}'
        ':color[◌]{background="#54400f"}'
        ':color[日\\]]{background="#1d3f6e"}'
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("colours", [token_view.GRADED, token_view.ONLY_READ])
def test_tokens_can_be_read_in_both_themes(theme: token_view.Theme, colours: dict[str, tuple[str, str]]) -> None:
    ink = {"light": "#1a1c1f", "dark": "#fafafa"}[theme]
    assert all(contrast(ink, colour) >= 7 for colour in colours[theme])


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def long_rows(words: int) -> bytes:
    """A file with such long questions in three rows of four."""
    questions = (b"why " * (words if n % 4 else 1) for n in range(80))
    return b"".join(b'{"question": "%s?", "answer": "%d"}\n' % (text, n) for n, text in enumerate(questions))


@pytest.mark.parametrize(("words", "longest"), [(200, "256"), (400, None)])
def test_new_run_warns_of_a_file_whose_rows_are_too_long_and_offers_a_length(
    studio: RunManager, words: int, longest: str | None
) -> None:
    page = open_page("new_run", upload=kept(studio.home, long_rows(words)).path.name)
    assert re.search("7[3-7]% of the file's training rows are longer than 128 tokens and are left out.", texts(page))
    (offer,) = (button.label for button in page.button if "rows fit" in button.label)
    length = offer.split()[1]
    press(page, offer)
    assert "of the file's training rows" not in texts(page)
    typed = {each.key: each.value for each in page.text_input}
    assert (typed["solve.train_seq_len"], typed["solve.max_seq_len"]) == (length, longest or length)
    assert int(length) > words and not page.error


def test_new_run_does_not_warn_of_rows_that_fit_or_are_cut(studio: RunManager) -> None:
    assert "of the file's training rows" not in texts(open_page("new_run", upload=kept(studio.home).path.name))
    page = open_page("new_run", upload=kept(studio.home, long_rows(200)).path.name, **{"solve.long_rows": "cut"})
    assert "of the file's training rows" not in texts(page)


def test_new_run_takes_a_file_of_two_rows(studio: RunManager) -> None:
    rows = b"\n".join(long_rows(200).splitlines()[1:3])
    page = open_page("new_run", upload=kept(studio.home, rows).path.name)
    assert "100% of the file's training rows" in texts(page)


def test_a_prepared_tokenizer_can_be_taken(trained_studio: RunManager) -> None:
    page = open_page("datasets", section="Lengths")
    (choice,) = page.selectbox
    assert "Of an earlier run: Synthetic, 400 pieces" in choice.options[1]
    choice.select_index(1).run()
    assert "The tokenizer of an earlier run, with 400 word pieces" in texts(page)


def test_held_out_rows_that_are_trained_on_are_found(studio: RunManager, gsm8k: None) -> None:
    page = open_page("datasets", section="Seen before (overlap)")
    table = page.dataframe[0].value
    assert list(table["the same question"]) == [4]
    assert list(table["the same except for numbers"]) == [6]
    assert "Training row 47 of GSM8K" in texts(page)
    group(page, "Look for them in the training rows of").set_value(["GSM8K", "Synthetic"]).run()
    table = page.dataframe[0].value
    assert list(table["training rows of"]) == ["GSM8K", "Synthetic"]
    assert list(table["together"]) == [1.0, 0.0]


def test_near_duplicates_are_counted_and_shown_beside_what_they_repeat(studio: RunManager) -> None:
    rows = b"".join(b'{"question": "WHAT IS %d + 1", "answer": "%d"}\n' % (n, n + 1) for n in range(40))
    kept(studio.home, ROWS + rows)
    page = open_page("datasets", dataset=OWN, section="Near-duplicates")
    figures = {metric.label: metric.value for metric in page.metric}
    of_heldout = int(figures["Repeat a held-out row"])
    assert 1 <= of_heldout <= 4, "4 of 80 rows are held out"
    assert int(figures["Repeat an earlier training row"]) + of_heldout == 40 - (4 - of_heldout)
    assert 'set "Near-duplicates" to "remove"' in plain(page)
    assert "100% the same" in plain(page) and "Training row " in plain(page)
    first, second, *_ = (element.value for element in page.text)
    assert first != second and first.lower().replace("?", "") == second.lower().replace("?", "")


def test_a_dataset_without_near_duplicates_says_so(studio: RunManager, gsm8k: None) -> None:
    page = open_page("datasets", section="Near-duplicates")
    assert "Repeat a held-out row" in {metric.label for metric in page.metric if metric.value == "4"}
    kept(studio.home)
    page = open_page("datasets", dataset=OWN, section="Near-duplicates")
    assert "No training row nearly repeats another row" in plain(page)
    assert "remove" not in plain(page).replace("Remove this file", "")


def test_weights_change_what_is_drawn(studio: RunManager, gsm8k: None) -> None:
    page = open_page("datasets", section="Mixture and batch")
    group(page, "Datasets").set_value(["GSM8K", "Synthetic"]).run()
    weights = field(page, "Mixture weights")
    weights.set_value("GSM8K=1, Synthetic=3").run()
    table = page.dataframe[0].value
    assert list(table["share of the sequences"]) == [0.25, 0.75]
    assert table["passes (epochs)"][0] == pytest.approx(300 * 8 * 0.25 / table["sequences"][0])
    assert "Sequence 1 of 8" in texts(page)
    before = texts(page)
    field(page, "Seed").set_value("7").run()
    assert texts(page) != before
    weights.set_value("GSM8K=x").run()
    assert "Mixture weights" in plain(page) and not page.exception
    weights.set_value("GSM8K=0, Synthetic=0").run()
    assert "needs a weight above zero" in plain(page)


def test_what_is_not_read_of_an_own_file_is_told(studio: RunManager) -> None:
    rows = b"".join(b"%d;What is %d + 1?;%d\n" % (n, n, n + 1) for n in range(200))
    page = upload(b"id;Question;Answer\n" + rows + b"1;1;1;1\n;;\n", "mine.csv")
    assert "These columns are not read: id." in plain(page)
    assert "Rows that are left out:\n- 1: the row has more cells than there are columns" in plain(page)
    assert "Problem: What is" in plain(page)


def test_an_own_file_is_kept_shown_and_named_as_its_owner_calls_it(studio: RunManager) -> None:
    page = upload(name="my <b>shop</b> **x**.jsonl")
    assert "Row 1 of 38" in texts(page)
    assert page.selectbox[0].options == ["my <b>shop</b> **x**.jsonl, 1.9 KB, 40 rows"]
    assert {metric.label: metric.value for metric in page.metric}["Training rows"] == "38"
    (file,) = list_uploads(studio.home)
    assert page.query_params["file"] == file.path.name
    assert file.path.read_bytes() == ROWS


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b"", "The file is empty"),
        ("a.csv", b"text,y\n1,2\n3,4,5\n", "more cells than there are columns"),
        ("a.parquet", b"not parquet", "not a readable Parquet file"),
    ],
)
def test_a_file_that_cannot_be_used_gets_a_sentence_and_is_not_kept(
    studio: RunManager, name: str, content: bytes, sentence: str
) -> None:
    page = upload(content, name)
    assert sentence in plain(page)
    assert list_uploads(studio.home) == []
    assert list((studio.home / "uploads").iterdir()) == []


@pytest.mark.parametrize("name", ["../../studio.sqlite", "f" * 32 + ".csv", "f" * 32 + ".csv/.."])
def test_an_address_of_a_file_that_is_not_kept_is_told(studio: RunManager, name: str) -> None:
    kept(studio.home)
    assert "not here" in plain(open_page("datasets", dataset=OWN, file=name))
    page = open_page("new_run", upload=name)
    assert "not here" in plain(page)
    assert next(button for button in page.button if button.label == "Start training").disabled
    press(page, "Use the datasets instead")
    assert "not here" not in plain(page)


def test_new_run_trains_on_the_file_of_its_address(studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio, "_start_waiting", lambda: None)
    file = kept(studio.home)
    page = open_page("new_run", upload=file.path.name)
    assert "mine.jsonl: 40 usable rows" in plain(page)
    press(page, "Start training")
    (run,) = studio.log.runs()
    assert run.config.dataset_path == str(file.path)


def test_files_are_chosen_by_name_and_another_stands_in_for_one_that_went(studio: RunManager) -> None:
    upload()
    page = upload(ROWS.replace(b"+ 1", b"+ 2"), "mine.jsonl")
    choice = page.selectbox[0]
    assert choice.options == ["mine.jsonl, 1.9 KB, 40 rows", "mine.jsonl, 1.9 KB, 40 rows (2)"]
    assert "+ 2?" in texts(page)
    choice.select_index(1).run()
    assert "+ 1?" in texts(page)
    gone = list_uploads(studio.home)[1]
    assert page.query_params["file"] == gone.path.name
    studio.remove_upload(gone.path.name)
    page.run()
    assert not page.exception
    assert "not here" in plain(page)
    assert "+ 2?" in texts(page)


@pytest.mark.parametrize("section", ["Mixture and batch", "<b>x</b>"])
def test_nonsense_in_the_address_does_no_harm(studio: RunManager, gsm8k: None, section: str) -> None:
    typed = {"look.train_seq_len": "-5", "look.seed": "1e999", "look.vocab_size": "x", "weights": "<b>"}
    page = open_page("datasets", dataset="<script>", section=section, split="?", **typed)
    assert group(page, "Dataset").value == "GSM8K"
    if section == "Mixture and batch":
        assert "Seed must be a whole number" in plain(page)


def test_removing_a_file_asks_first(studio: RunManager) -> None:
    """What the answer does is tested below and in a real browser: AppTest closes a dialog when it reruns."""
    page = press(upload(), "Remove this file")
    assert "for good" in texts(page)
    assert len(list_uploads(studio.home)) == 1


def run_with(studio: RunManager, config: TrainingConfig, path: Path, status: RunStatus) -> None:
    """A run that reads `path`, or all files of that folder."""
    studio.log.create_run("r1", "my run", config.with_overrides({"dataset_path": str(path)}), ["m"], studio.home, None)
    if status is not RunStatus.QUEUED:
        studio.log.claim("r1")
    if status not in (RunStatus.QUEUED, RunStatus.PREPARING):
        studio.log.set_status("r1", status)


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.PREPARING, RunStatus.FAILED, RunStatus.PAUSED])
@pytest.mark.parametrize("folder", [False, True])
def test_a_file_that_a_run_needs_stays(
    studio: RunManager, tiny_config: TrainingConfig, status: RunStatus, folder: bool
) -> None:
    file = kept(studio.home)
    run_with(studio, tiny_config, file.path.parent if folder else file.path, status)
    with pytest.raises(RunError, match=f"The run my run \\({status.value}\\) needs this file"):
        studio.remove_upload(file.path.name)
    assert file.path.exists()


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.CANCELLED, None])
def test_a_file_that_no_run_needs_any_more_is_removed(
    studio: RunManager, tiny_config: TrainingConfig, status: RunStatus | None
) -> None:
    file = kept(studio.home)
    if status is None:
        run_with(studio, tiny_config, file.path.with_name("other.csv"), RunStatus.QUEUED)
    else:
        run_with(studio, tiny_config, file.path, status)
    studio.remove_upload(file.path.name)
    assert list_uploads(studio.home) == []
    assert list((studio.home / "uploads").iterdir()) == []


def test_a_note_that_is_damaged_does_not_lose_the_file(studio: RunManager) -> None:
    file = kept(studio.home)
    file.path.with_name(file.path.name + ".about").write_text("{broken")
    page = open_page("datasets", dataset=OWN)
    assert page.selectbox[0].options == ["a jsonl file, 1.9 KB, rows not counted"]
    assert "What is" in texts(page)


def test_what_earlier_runs_prepared_is_listed(trained_studio: RunManager) -> None:
    page = open_page("datasets")
    assert "Prepared by earlier runs" in texts(page)
    table = page.dataframe[-1].value
    assert list(table["dataset"]) == ["Synthetic"]
    assert list(table["from"]) == ["made on this computer"]
    assert table["training rows"][0] == 60
