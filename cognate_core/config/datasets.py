"""The datasets that `dataset_sources` can name: all that the rest of the studio knows about them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset on the Hugging Face hub, or one that is generated here.

    Attributes:
        id: its name on the hub.
        description: its content in a few words.
        row_format: a key of ROW_FORMATS in data/documents.py, which turns a row into a text; "" if generated here.
        folder: its folder in COGNATE_DATASETS_DIR, in the hub's own layout.
        subset: which of its configurations to use; None if it has only one.
        heldout_split: the split that no model learns from.
        word_answers: whether its answers are words, even if they look like numbers.
    """

    id: str
    description: str
    row_format: str = ""
    folder: str = ""
    subset: str | None = None
    heldout_split: str = "test"
    word_answers: bool = False


DATASETS: dict[str, Dataset] = {
    "GSM8K": Dataset(
        "openai/gsm8k", "school maths problems with worked solutions", "gsm8k", "gsm8k/main", subset="main"
    ),
    "SVAMP": Dataset("ChilleD/SVAMP", "short one-step maths problems", "svamp", "svamp"),
    "HotpotQA": Dataset(
        "hotpotqa/hotpot_qa",
        "questions answered from two paragraphs",
        "hotpotqa",
        "hotpot_qa/distractor",
        subset="distractor",
        heldout_split="validation",
        word_answers=True,
    ),
    "Synthetic": Dataset("built in", "word problems made on this computer, no download"),
}


def dataset_id(name: str) -> str:
    """The dataset's id; the name itself for a person's own file."""
    return DATASETS[name].id if name in DATASETS else name
