from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.insight.data_charts import COLUMNS, length_chart
from cognate_core.insight.drawing import FONT_SIZE
from cognate_core.insight.palette import run_colour

LENGTHS = st.lists(st.integers(1, 5000), min_size=1, max_size=60).map(lambda values: np.array(values, dtype=np.int64))


def rows(trace: dict[str, Any]) -> int:
    return sum(count for _, count in trace["customdata"])


@settings(max_examples=80)
@given(train=LENGTHS, heldout=LENGTHS, training_length=st.integers(16, 6000))
def test_every_row_is_in_one_column(
    train: npt.NDArray[np.int64], heldout: npt.NDArray[np.int64], training_length: int
) -> None:
    figure = length_chart({"training rows": train, "held-out rows": heldout}, training_length)
    columns, line = figure["data"]
    assert (rows(columns), rows(line)) == (len(train), len(heldout))
    assert sum(columns["y"]) == pytest.approx(100)
    assert len(columns["x"]) <= COLUMNS
    json.dumps(figure)


def test_columns_count_what_lies_in_them() -> None:
    tokens = np.array([0, 9, 10, 79], dtype=np.int64)
    (trace,) = length_chart({"rows": tokens}, 512)["data"]
    width = trace["width"]
    for (words, count), middle in zip(trace["customdata"], trace["x"], strict=True):
        low, high = middle - width / 2, middle + width / 2
        assert count == sum(low <= length < high for length in tokens)
        assert words == f"{low:.0f} to {high - 1:.0f}"


def test_one_very_long_row_does_not_squash_the_others() -> None:
    tokens = np.array([100] * 500 + [90_000], dtype=np.int64)
    figure = length_chart({"rows": tokens}, 256)
    assert figure["layout"]["xaxis"]["range"][1] < 200
    assert figure["data"][0]["customdata"][-1] == ("99 or more", 501)
    assert "all longer rows" in figure["layout"]["xaxis"]["title"]["text"]


def test_the_training_length_is_drawn_where_the_axis_reaches_it() -> None:
    tokens = np.array([50, 100], dtype=np.int64)
    near, far = (length_chart({"rows": tokens}, length)["layout"] for length in (64, 512))
    assert [shape["x0"] for shape in near["shapes"]] == [64]
    assert any("training length 64" in annotation["text"] for annotation in near["annotations"])
    assert far["shapes"] == []


def test_names_are_text_and_a_dataset_without_rows_is_left_out() -> None:
    empty = np.array([], dtype=np.int64)
    figure = length_chart({"<b>a</b>": np.array([5], dtype=np.int64), "none": empty}, 16)
    assert [trace["name"] for trace in figure["data"]] == ["&lt;b&gt;a&lt;/b&gt;"]


@pytest.mark.parametrize("dark", [False, True])
def test_the_look(dark: bool) -> None:
    tokens = np.array([5, 8], dtype=np.int64)
    figure = length_chart({"a": tokens, "b": tokens}, 16, dark=dark)
    layout = figure["layout"]
    assert figure["data"][0]["marker"]["color"] == run_colour(0, dark=dark)
    assert layout["template"] == "none"
    assert all(layout[axis]["tickfont"]["size"] >= FONT_SIZE for axis in ("xaxis", "yaxis"))
    assert "tokens" in layout["xaxis"]["title"]["text"] and "%" in layout["yaxis"]["title"]["text"]
    plotly.graph_objects.Figure(figure)  # plotly finds nothing wrong in it
