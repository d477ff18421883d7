from __future__ import annotations

import json

import numpy as np

from cognate_core.insight.inside_charts import change_chart, circle_chart, position_chart

ROWS = [
    {"first": 1, "last": 8, "loss": 4.0, "tokens": 1234},
    {"first": 9, "last": 16, "loss": 3.0, "tokens": 20},
    {"first": 33, "last": 64, "loss": 2.0, "tokens": 3},
]


def test_the_numbers_are_joined_in_their_order_around_and_every_tenth_is_named() -> None:
    points = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -1.0]])
    lines, dots = circle_chart(points, np.array([0.0, 0.5, 0.25, 0.75]), [0, 3, 10, 7])["data"]
    assert list(zip(lines["x"], lines["y"], strict=True)) == [(1, 0), (0, 2), (-1, 0), (0, -1), (1, 0)]
    assert dots["text"] == ["0", "", "10", ""]
    assert list(zip(dots["x"], dots["y"], strict=True)) == [tuple(each) for each in points.tolist()]


def test_each_dataset_has_a_line_over_the_buckets_that_any_has() -> None:
    own = [ROWS[0], {"first": 17, "last": 32, "loss": 2.5, "tokens": 9}]
    figure = position_chart({"GSM8K": ROWS, "<b>own</b>": own})
    first, second = figure["data"]
    axis = figure["layout"]["xaxis"]
    assert axis["ticktext"] == ["1 to 8", "9 to 16", "17 to 32", "33 to 64"]
    assert [axis["ticktext"][axis["tickvals"].index(x)] for x in first["x"]] == ["1 to 8", "9 to 16", "33 to 64"]
    assert [axis["ticktext"][axis["tickvals"].index(x)] for x in second["x"]] == ["1 to 8", "17 to 32"]
    assert (first["y"], first["customdata"]) == ([4.0, 3.0, 2.0], ["1,234", "20", "3"])
    assert {label["text"] for label in figure["layout"]["annotations"]} == {"GSM8K", "&lt;b&gt;own&lt;/b&gt;"}
    low, high = axis["range"]
    assert low < min(axis["tickvals"]) and max(axis["tickvals"]) < high
    json.dumps(figure, allow_nan=False)


def test_each_part_has_a_bar_from_the_first_at_the_top() -> None:
    figure = change_chart({"embedding": 0.1, "layer 1": 0.25, "head": None}, dark=True)
    (bars,) = figure["data"]
    assert (bars["y"], bars["x"]) == (["embedding", "layer 1", "head"], [0.1, 0.25, None])
    assert figure["layout"]["yaxis"]["autorange"] == "reversed"
    assert figure["layout"]["height"] > change_chart({"head": 0.1})["layout"]["height"]
    json.dumps(figure, allow_nan=False)
