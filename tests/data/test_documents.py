"""Rows become documents: the layout of each dataset to the letter, and a plain sentence for a row that will not do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.data.documents import (
    OWN_FILE_COLUMNS,
    Document,
    RowFormat,
    UnusableRow,
    gsm8k_document,
    hotpotqa_document,
    own_file_document,
    svamp_document,
    word_problem_document,
)
from cognate_core.data.word_problems import WordProblem

CONFIG = TrainingConfig()
REAL_DATA = Path(__file__).parents[3] / "shared" / "data"

GSM8K_ROW = {
    "question": "Ann buys 3 pens at $4 each. What does she pay? ",
    "answer": "She pays 3*4 = $<<3*4=12>>12.\nThat is <<12=12>>12 dollars.\n#### 12",
}
SVAMP_ROW = {
    "ID": "chal-1",
    "Body": "There are 87 oranges and 290 bananas",
    "Question": "How many fruits are there?",
    "Equation": "( 87.0 + 290.0 )",
    "Answer": "377",
    "Type": "Addition",
}
HOTPOTQA_ROW: dict[str, Any] = {
    "id": "1",
    "question": "Where was the author of Emma born?",
    "answer": "Steventon",
    "supporting_facts": {"title": ["Emma", "Jane Austen", "Jane Austen"], "sent_id": [0, 0, 1]},
    "context": {
        "title": ["Bath", "Jane Austen", "Emma"],
        "sentences": [
            ["Bath is a city.", " It has baths."],
            ["Jane Austen was a novelist.", " She was born in Steventon."],
            ["Emma is a novel by Jane Austen."],
        ],
    },
}


def real_rows(file: str) -> Iterator[dict[str, Any]]:
    path = REAL_DATA / file
    if not path.is_file():
        pytest.skip(f"the real rows are not on this computer ({path})")
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def test_a_gsm8k_row_becomes_problem_and_solution() -> None:
    document = gsm8k_document(GSM8K_ROW, CONFIG)
    assert document == Document(
        "Problem: Ann buys 3 pens at $4 each. What does she pay?\nSolution:",
        " She pays 3*4 = $12.\nThat is 12 dollars.\n#### 12",
    )
    assert document.text == document.prompt + document.answer


def test_calculator_marks_stay_when_asked_for() -> None:
    document = gsm8k_document(GSM8K_ROW, CONFIG.with_overrides({"keep_calculator_marks": True}))
    assert document.answer == " She pays 3*4 = $<<3*4=12>>12.\nThat is <<12=12>>12 dollars.\n#### 12"


def test_signs_of_comparison_are_no_calculator_marks() -> None:
    row = {"question": "Which is more?", "answer": "2 < 3 and 5 > 4, so <<2+3=5>>5.\n#### 5"}
    assert gsm8k_document(row, CONFIG).answer == " 2 < 3 and 5 > 4, so 5.\n#### 5"


def test_a_svamp_row_shows_its_equation_in_whole_numbers() -> None:
    assert svamp_document(SVAMP_ROW, CONFIG) == Document(
        "Problem: There are 87 oranges and 290 bananas. How many fruits are there?\nSolution:",
        " 87 + 290 = 377\n#### 377",
    )


@pytest.mark.parametrize(
    ("body", "begins"),
    [
        ("Two boys run", "Two boys run. How"),
        ("Two boys run.", "Two boys run. How"),
        ("Do two boys run?", "Do two boys run? How"),
        ("Two boys run! ", "Two boys run! How"),
    ],
)
def test_a_svamp_body_ends_with_one_stop(body: str, begins: str) -> None:
    assert svamp_document({**SVAMP_ROW, "Body": body}, CONFIG).prompt.startswith(f"Problem: {begins}")


@pytest.mark.parametrize(
    ("body", "joined"),
    [
        ("Bo has 9 figs. If he eats 4", "Bo has 9 figs. If he eats 4, how"),
        ("Bo has 9 figs. If he eats 4.", "Bo has 9 figs. If he eats 4, how"),
        ("If Bo and his 3 aunts share 2.5 pies", "If Bo and his 3 aunts share 2.5 pies, how"),
        ("Who knows? If Bo's cup holds 0.5 l of milk", "Who knows? If Bo's cup holds 0.5 l of milk, how"),
        ("If Bo eats 4 figs he is full. He has 9 figs", "If Bo eats 4 figs he is full. He has 9 figs. How"),
        ("Bo asks if 9 figs are enough", "Bo asks if 9 figs are enough. How"),
        ("Bo has 9 figs. Iffley is a village", "Bo has 9 figs. Iffley is a village. How"),
        ("Bo has 9 figs. If only!", "Bo has 9 figs. If only! How"),
    ],
)
def test_a_svamp_condition_goes_on_in_the_question(body: str, joined: str) -> None:
    assert svamp_document({**SVAMP_ROW, "Body": body}, CONFIG).prompt.startswith(f"Problem: {joined} many fruits")


@pytest.mark.parametrize(
    ("answer", "shown"),
    [("145", "145"), ("145.0", "145"), (145, "145"), (145.0, "145"), (-3.0, "-3"), (0.5, "0.5"), ("0", "0"), (0, "0")],
)
def test_a_svamp_answer_may_be_text_or_a_number(answer: object, shown: str) -> None:
    document = svamp_document({**SVAMP_ROW, "Answer": answer}, CONFIG)
    assert document.answer == f" 87 + 290 = {shown}\n#### {shown}"


@pytest.mark.parametrize(
    ("equation", "shown"),
    [
        ("( 8.0 - 3.0 )", "8 - 3"),
        ("8.0 - 3.0", "8 - 3"),
        ("( ( 8.0 - 3.0 ) * 10.0 )", "( ( 8 - 3 ) * 10 )"),
        ("( 8.0 - 3.0 ) * ( 2.0 + 1.0 )", "( 8 - 3 ) * ( 2 + 1 )"),
        ("( 7.5 / 2.50 )", "7.5 / 2.50"),
    ],
)
def test_a_svamp_equation_loses_only_idle_signs(equation: str, shown: str) -> None:
    assert svamp_document({**SVAMP_ROW, "Equation": equation}, CONFIG).answer == f" {shown} = 377\n#### 377"


def test_hotpotqa_reads_the_gold_paragraphs_before_the_question() -> None:
    assert hotpotqa_document(HOTPOTQA_ROW, CONFIG) == Document(
        "Jane Austen: Jane Austen was a novelist. She was born in Steventon.\n"
        "Emma: Emma is a novel by Jane Austen.\n"
        "Problem: Where was the author of Emma born?\nSolution:",
        " Steventon\n#### Steventon",
    )


def test_hotpotqa_reads_the_distractors_too_when_asked_for() -> None:
    document = hotpotqa_document(HOTPOTQA_ROW, CONFIG.with_overrides({"hotpotqa_distractors": True}))
    gold = hotpotqa_document(HOTPOTQA_ROW, CONFIG)
    assert document.prompt == f"Bath: Bath is a city. It has baths.\n{gold.prompt}"
    assert document.answer == gold.answer


@pytest.mark.parametrize(
    "context",
    [
        None,
        "Jane Austen was a novelist.",
        {"title": ["Emma"]},
        {"title": ["Emma", "Bath"], "sentences": [["One paragraph only."]]},
        {"title": ["Emma"], "sentences": [[None]]},
        {"title": ["Emma"], "sentences": [7]},
    ],
)
def test_a_damaged_hotpotqa_context_is_named(context: object) -> None:
    with pytest.raises(UnusableRow, match=r"^the context cannot be read \(\w+: .*\)$"):
        hotpotqa_document({**HOTPOTQA_ROW, "context": context}, CONFIG)


def test_hotpotqa_without_supporting_facts_is_named() -> None:
    row = {key: value for key, value in HOTPOTQA_ROW.items() if key != "supporting_facts"}
    with pytest.raises(UnusableRow, match=r"^the context cannot be read \(KeyError: 'supporting_facts'\)$"):
        hotpotqa_document(row, CONFIG)


NEEDED_COLUMNS = [
    *[(gsm8k_document, GSM8K_ROW, column) for column in ("question", "answer")],
    *[(svamp_document, SVAMP_ROW, column) for column in ("Body", "Question", "Equation", "Answer")],
    *[(hotpotqa_document, HOTPOTQA_ROW, column) for column in ("question", "answer")],
    *[(own_file_document, {"prompt": "Why?", "response": "So."}, column) for column in ("prompt", "response")],
    (own_file_document, {"text": "Once."}, "text"),
]


@pytest.mark.parametrize(("row_format", "row", "column"), NEEDED_COLUMNS[:8])
def test_a_missing_column_is_named(row_format: RowFormat, row: dict[str, Any], column: str) -> None:
    without = {key: value for key, value in row.items() if key != column}
    with pytest.raises(UnusableRow, match=rf"^the column '{column}' is missing$"):
        row_format(without, CONFIG)


@pytest.mark.parametrize(("row_format", "row", "column"), NEEDED_COLUMNS)
@pytest.mark.parametrize("value", ["", "  \n\t "])
def test_an_empty_column_is_named(row_format: RowFormat, row: dict[str, Any], column: str, value: str) -> None:
    with pytest.raises(UnusableRow, match=rf"^the column '{column}' is empty$"):
        row_format({**row, column: value}, CONFIG)


@pytest.mark.parametrize(("row_format", "row", "column"), NEEDED_COLUMNS)
@pytest.mark.parametrize("value", [None, True, ["a"], {"a": "b"}, b"bytes"])
def test_a_column_that_holds_no_text_is_named(
    row_format: RowFormat, row: dict[str, Any], column: str, value: object
) -> None:
    with pytest.raises(UnusableRow, match=rf"^the column '{column}' holds no text$"):
        row_format({**row, column: value}, CONFIG)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_makes_a_row_unusable(value: float) -> None:
    # JSON and Parquet files write an empty cell of a column of numbers as NaN
    with pytest.raises(UnusableRow, match="Answer"):
        svamp_document({**SVAMP_ROW, "Answer": value}, CONFIG)


@pytest.mark.parametrize(("question", "answer"), OWN_FILE_COLUMNS)
def test_each_pair_of_columns_of_an_own_file_is_understood(question: str, answer: str) -> None:
    row = {"id": 3, question: " Why? ", answer: " So.\n#### 1 "}
    assert own_file_document(row, CONFIG) == Document("Problem: Why?\nSolution:", " So.\n#### 1")


def test_plain_text_of_an_own_file_has_no_prompt() -> None:
    assert own_file_document({"text": " Once upon a time.\n"}, CONFIG) == Document("", " Once upon a time.\n")


def test_a_pair_of_columns_goes_before_plain_text() -> None:
    row = {"text": "both", "prompt": "Why?", "completion": "So."}
    assert own_file_document(row, CONFIG).answer == " So."


def test_an_own_row_with_an_endless_column_name_has_a_short_reason() -> None:
    with pytest.raises(UnusableRow) as caught:
        own_file_document({"x" * 900_000: 1}, CONFIG)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"question": "alone", "title": "x"}, "question, title"),
        ({}, "none"),
        ({None: ["x"]}, "None"),
        ({"\ud83d": 1}, "?"),
    ],
)
def test_an_own_row_without_known_columns_lists_what_would_do(row: dict[Any, Any], found: str) -> None:
    with pytest.raises(UnusableRow) as caught:
        own_file_document(row, CONFIG)
    message = str(caught.value)
    advice = " (choose with the setting Columns to learn from)"
    assert message.endswith(f"is there; found: {found}{advice if row else ''}")
    for question, answer in OWN_FILE_COLUMNS:
        assert f"{question} + {answer}" in message


def test_a_made_problem_looks_like_gsm8k() -> None:
    problem = WordProblem("How many?", "1 + 1 = 2 cats.", "2", 1)
    assert word_problem_document(problem) == Document("Problem: How many?\nSolution:", " 1 + 1 = 2 cats.\n#### 2")


@pytest.mark.parametrize("file", ["gsm8k/main/train.jsonl", "gsm8k/main/test.jsonl"])
def test_every_real_gsm8k_row_ends_with_its_answer_and_has_no_marks(file: str) -> None:
    count = 0
    for row in real_rows(file):
        document = gsm8k_document(row, CONFIG)
        assert re.search(r"\n#### -?[\d.,]+$", document.answer), row
        assert "<<" not in document.text, row
        assert len(document.answer) > 12, row
        kept = gsm8k_document(row, CONFIG.with_overrides({"keep_calculator_marks": True})) if count < 100 else None
        assert kept is None or re.sub(r"<<.*?>>", "", kept.text) == document.text
        count += 1
    assert count > 1_000


@pytest.mark.parametrize("file", ["svamp/train.jsonl", "svamp/test.jsonl"])
def test_every_real_svamp_row_works_out(file: str) -> None:
    count = 0
    for row in real_rows(file):
        document = svamp_document(row, CONFIG)
        match = re.fullmatch(r" ([-+*/() \d.]+) = (-?\d+)\n#### (-?\d+)", document.answer)
        assert match, document.answer
        wrong_as_published = row["ID"] == "chal-680"  # (4 - 2) + 3 with the answer 1
        assert wrong_as_published or eval(match[1]) == pytest.approx(float(match[2]))
        assert match[2] == match[3]
        assert ".0" not in match[1]
        *_, before = ["", *re.split(r"[.?!]\s+", document.prompt.removeprefix("Problem: "))[:-2]]
        broken_as_published = row["ID"] == "chal-308"  # its body has two conditions, the first with a stop
        assert broken_as_published or not before.startswith("If "), document.prompt
        count += 1
    assert count >= 300


@pytest.mark.parametrize("file", ["hotpot_qa/distractor/train.jsonl", "hotpot_qa/distractor/validation.jsonl"])
def test_every_real_hotpotqa_row_holds_its_answer(file: str) -> None:
    with_distractors = CONFIG.with_overrides({"hotpotqa_distractors": True})
    count = 0
    for row in real_rows(file):
        gold, full = hotpotqa_document(row, CONFIG), hotpotqa_document(row, with_distractors)
        assert set(gold.prompt.splitlines()) <= set(full.prompt.splitlines())
        assert len(full.prompt) >= len(gold.prompt)
        assert row["answer"] in ("yes", "no") or row["answer"].strip() in full.prompt
        assert gold.prompt.count("\nProblem: ") == 1, "no facts before the question"
        count += 1
    assert count >= 200
