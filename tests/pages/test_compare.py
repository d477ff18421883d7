from __future__ import annotations

import math

import pytest
from streamlit.testing.v1 import AppTest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import DataReport, Evaluation, Origin, RunStatus, StepMetrics
from cognate_core.labels import WORD_JOINER
from cognate_core.runs import RunManager
from pages.components.live_charts import MOST_COMPARED
from tests.pages.conftest import add_runs, charts, open_page, texts

HOSTILE = "<b>&amp;</b> **:red[x]** ![y](javascript:1) $a$ |"


def add_run(
    studio: RunManager,
    config: TrainingConfig,
    run_id: str,
    losses: list[float],
    name: str = "",
    tokens: int = 9,
    **more: Origin | str,
) -> str:
    """A completed run with the held-out `losses` at steps 10, 20 and so on."""
    log = studio.log
    origin = more.get("origin")
    assert not isinstance(origin, str)
    log.create_run(run_id, name or f"run {run_id}", config, ["m"], studio.home, None, origin)
    for number, loss in enumerate(losses, start=1):
        log.record(run_id, StepMetrics("m", 10 * number, loss + 1, 0.1, 1.0, 1.0, 100, 1.0, 1.0 * number))
        log.record(run_id, Evaluation("m", 10 * number, "SVAMP", loss, tokens, bytes=18))
    data = DataReport([], fallback=False, content_hash=str(more.get("data", "same")), vocabulary=400, from_cache=False)
    log.record(run_id, data)
    log.raise_refused(run_id)
    log.claim(run_id)
    log.set_status(run_id, RunStatus.COMPLETED, step=10 * len(losses))
    return run_id


def plain(page: AppTest) -> str:
    """All text without what escapes it."""
    return texts(page).replace("\\", "").replace(WORD_JOINER, "")


def drawn(page: AppTest) -> list[str]:
    return [trace["name"] for trace in charts(page)[0]["data"]]


def links(page: AppTest) -> list[str]:
    """The page links of the body, by label."""
    return [link.proto.label.replace("\\", "").replace(WORD_JOINER, "") for link in page.get("page_link")]


def test_without_a_run_it_says_what_to_do(studio: RunManager) -> None:
    page = open_page("compare")
    assert "There are no runs yet" in texts(page)
    assert not page.multiselect


def test_at_first_the_newest_are_shown_and_a_choice_is_kept_in_the_address(
    studio: RunManager, tiny_config: TrainingConfig
) -> None:
    for run_id in "abcd":
        add_run(studio, tiny_config, run_id, [3.0, 2.0])
    studio.log.create_run("waiting", "waiting", tiny_config, ["m"], studio.home, None)
    page = open_page("compare")
    assert page.multiselect[0].value == ["d", "c", "b"]
    assert drawn(page) == ["run d", "run c", "run b"]
    assert "runs" not in page.query_params, "Back leads to the page before this one"
    page.multiselect[0].unselect("c").run()
    assert page.query_params["runs"] == "d,b"
    del page.query_params["runs"]  # Back
    page.run()
    assert page.multiselect[0].value == ["d", "c", "b"]


def test_where_nothing_has_trained_nothing_is_chosen(studio: RunManager, tiny_config: TrainingConfig) -> None:
    studio.log.create_run("waiting", "waiting", tiny_config, ["m"], studio.home, None)
    page = open_page("compare")
    assert "Choose at least one run" in texts(page)
    page.multiselect[0].select("waiting").run()
    assert not page.exception and drawn(page) == ["waiting"]
    (row,) = page.dataframe[0].value.to_dict("records")
    assert (row["lowest held-out loss"], row["last training loss"], row["training time (s)"]) == (None, None, None)


def test_one_run_has_its_best_and_nothing_to_differ_from(studio: RunManager, tiny_config: TrainingConfig) -> None:
    add_run(studio, tiny_config, "a", [3.0, 1.5, 2.0])
    page = open_page("compare", runs="a")
    (table,) = page.dataframe
    (row,) = table.value.to_dict("records")
    assert (row["run"], row["status"], row["steps"]) == ("run a", "completed", 30)
    assert (row["lowest held-out loss"], row["at step"], row["last training loss"]) == (1.5, 20, 3.0)
    assert row["bits per byte"] == pytest.approx(0.75 / math.log(2))
    assert "Choose a second run" in texts(page)
    assert "Family" not in texts(page)


def test_between_vocabularies_the_lower_bits_per_byte_are_the_better(
    studio: RunManager, tiny_config: TrainingConfig
) -> None:
    add_run(studio, tiny_config, "a", [3.0], data="large vocabulary")
    add_run(studio, tiny_config, "b", [2.0], data="small vocabulary", tokens=18)  # of the same 18 bytes
    page = open_page("compare", runs="a,b")
    rows = page.dataframe[0].value.to_dict("records")
    assert [row["best"] for row in rows] == [True, False]
    assert "if the held-out text is the same" in texts(page)


def test_two_runs_are_drawn_over_one_another_and_the_better_one_is_marked(
    studio: RunManager, tiny_config: TrainingConfig
) -> None:
    add_run(studio, tiny_config, "a", [3.0, 2.0])
    add_run(studio, tiny_config, "b", [3.0, 1.0])
    page = open_page("compare", runs="a,b")
    unseen = charts(page)[0]["data"]
    assert [(trace["name"], trace["x"], trace["y"]) for trace in unseen] == [
        ("run a", [10, 20], [3.0, 2.0]),
        ("run b", [10, 20], [3.0, 1.0]),
    ]
    assert len({trace["line"]["color"] for trace in unseen}) == 2
    assert not any("fill" in trace for trace in unseen)
    rows = page.dataframe[0].value.to_dict("records")
    assert [(row["run"], row["best"]) for row in rows] == [("run a", False), ("run b", True)]
    assert "None: all settings are the same." in texts(page)
    assert not page.info


def test_only_settings_that_differ_are_listed_each_runs_beside_the_others(
    studio: RunManager, tiny_config: TrainingConfig
) -> None:
    add_run(studio, tiny_config.with_overrides({"learning_rate": 0.01, "max_steps": 20}), "aaaa1", [3.0], "same name")
    add_run(studio, tiny_config.with_overrides({"learning_rate": 0.002, "max_steps": 20}), "bbbb2", [3.0], "same name")
    page = open_page("compare", runs="aaaa1,bbbb2")
    table = page.dataframe[1].value
    assert list(table.columns) == ["setting", "same name (aaaa)", "same name (bbbb)"]
    (row,) = table.to_dict("records")
    assert "(learning_rate)" in row["setting"]
    assert [float(row[column]) for column in table.columns[1:]] == [0.01, 0.002]


def test_twelve_runs_are_shown_and_of_more_the_first_twelve(studio: RunManager, tiny_config: TrainingConfig) -> None:
    names = [add_run(studio, tiny_config, f"r{number:02d}", [3.0, 2.0]) for number in range(MOST_COMPARED + 1)]
    page = open_page("compare", runs=",".join(names))
    assert page.multiselect[0].value == names[:MOST_COMPARED]
    traces = charts(page)[0]["data"]
    assert len(traces) == MOST_COMPARED
    assert len({(trace["line"]["color"], trace["line"].get("dash")) for trace in traces}) == MOST_COMPARED
    assert len(page.dataframe[0].value) == MOST_COMPARED


@pytest.mark.parametrize("order", ["parent,twin", "twin,parent"])
def test_the_gap_between_twins_is_shaded_and_told(studio: RunManager, tiny_config: TrainingConfig, order: str) -> None:
    add_run(studio, tiny_config, "parent", [3.0, 2.0])
    other = tiny_config.with_overrides({"grokfast_enabled": not tiny_config.grokfast_enabled})
    add_run(studio, other, "twin", [3.0, 1.0], origin=Origin("parent", "twin"))
    add_run(studio, tiny_config, "third", [3.0, 1.0])
    page = open_page("compare", runs=order)
    assert [trace.get("fill") for trace in charts(page)[0]["data"]] == [None, "tonexty"]
    assert "The gap is shaded" in texts(page)
    assert "(grokfast_enabled)" in page.dataframe[1].value["setting"][0]
    for runs in ("twin,third", "parent,twin,third"):
        others = open_page("compare", runs=runs)
        assert not any("fill" in trace for trace in charts(others)[0]["data"])
        assert "The gap is shaded" not in texts(others)


def test_other_data_make_losses_hard_to_compare_and_it_says_so(studio: RunManager, tiny_config: TrainingConfig) -> None:
    add_run(studio, tiny_config, "a", [3.0])
    add_run(studio, tiny_config, "b", [3.0], data="other")
    add_run(studio, tiny_config, "c", [3.0])
    assert "read different data" in open_page("compare", runs="a,b").info[0].value
    assert not open_page("compare", runs="a,c").info


@pytest.mark.parametrize("runs", ["gone,a", "a,gone,a", "a,,<b>gone</b>"])
def test_a_run_that_was_deleted_is_told_and_the_others_are_shown(
    studio: RunManager, tiny_config: TrainingConfig, runs: str
) -> None:
    add_run(studio, tiny_config, "a", [3.0])
    page = open_page("compare", runs=runs)
    assert "does not exist" in page.warning[0].value
    assert drawn(page) == ["run a"]
    page.run()
    assert page.query_params["runs"] == "a" and not page.warning


def test_an_address_of_none_that_is_left_shows_none(studio: RunManager, tiny_config: TrainingConfig) -> None:
    add_run(studio, tiny_config, "a", [3.0])
    page = open_page("compare", runs="gone")
    assert page.warning and page.multiselect[0].value == []
    assert "Choose at least one run" in texts(page)


def test_what_is_chosen_follows_the_person_and_then_the_address(
    studio: RunManager, tiny_config: TrainingConfig
) -> None:
    for run_id in "abc":
        add_run(studio, tiny_config, run_id, [3.0])
    page = open_page("compare", runs="a")
    page.multiselect[0].select("b").run()
    assert drawn(page) == ["run a", "run b"] and page.query_params["runs"] == "a,b"
    page.multiselect[0].unselect("a").run()
    assert drawn(page) == ["run b"] and page.query_params["runs"] == "b"
    page.query_params["runs"] = "c"  # a link from another page
    page.run()
    assert drawn(page) == ["run c"]
    page.multiselect[0].unselect("c").run()
    assert "Choose at least one run" in texts(page) and not page.exception


def test_a_run_that_is_deleted_meanwhile_leaves_the_choice(studio: RunManager, tiny_config: TrainingConfig) -> None:
    for run_id in "ab":
        add_run(studio, tiny_config, run_id, [3.0])
    page = open_page("compare", runs="a,b")
    studio.log.remove_run("a")
    page.run()
    assert not page.exception and drawn(page) == ["run b"]


def test_no_table_holds_a_formula_that_a_spreadsheet_would_run(studio: RunManager, tiny_config: TrainingConfig) -> None:
    """Its own "Download as CSV" writes cells and headings as they are."""
    add_run(studio, tiny_config, "a", [3.0], "=1+1")
    add_run(studio, tiny_config.with_overrides({"max_steps": 9}), "b", [3.0], "@SUM(A1)")
    page = open_page("compare", runs="a,b")
    best, different = (table.value for table in page.dataframe)
    assert best["run"].tolist() == [f"{WORD_JOINER}=1+1", f"{WORD_JOINER}@SUM(A1)"], "which looks the same"
    assert list(different.columns) == ["setting", f"{WORD_JOINER}=1+1 (a)", f"{WORD_JOINER}@SUM(A1) (b)"]


def test_hostile_names_are_shown_as_typed(studio: RunManager, tiny_config: TrainingConfig) -> None:
    add_run(studio, tiny_config, "a", [3.0], HOSTILE)
    add_run(studio, tiny_config.with_overrides({"max_steps": 9}), "b", [3.0], HOSTILE, origin=Origin("a", "copy"))
    page = open_page("compare", runs="a,b")
    assert page.multiselect[0].options == [f"{HOSTILE} (b)", f"{HOSTILE} (a)"]
    assert page.dataframe[0].value["run"].tolist() == [HOSTILE] * 2
    assert f"{HOSTILE} (a)" in page.dataframe[1].value.columns
    for figure in charts(page):
        written = [trace["name"] for trace in figure["data"]]
        written += [note["text"] for note in figure["layout"]["annotations"]]
        assert not [text for text in written if "<" in text or ">" in text]
    labels = [link.proto.label for link in page.get("page_link")]
    assert labels and not [label for label in labels if "<b>" in label or "**:red" in label or "![y]" in label]
    assert links(page) == [HOSTILE] * 4, "those that are compared, and their family"


def test_the_family_of_the_shown_runs_is_told_in_words(studio: RunManager, tiny_config: TrainingConfig) -> None:
    add_run(studio, tiny_config, "parent", [3.0])
    add_run(studio, tiny_config, "first", [3.0], origin=Origin("parent", "branch", 1200))
    add_run(studio, tiny_config, "second", [3.0], origin=Origin("parent", "twin"))
    add_run(studio, tiny_config, "stranger", [3.0])
    page = open_page("compare", runs="first")
    assert "Family" in plain(page)
    assert links(page) == ["run first", "run parent", "run first", "run second"]
    lines = [caption.value for caption in page.caption]
    assert "branched from the one above, after step 1,200" in lines
    assert any("twin of" in line and "run parent" in line.replace(WORD_JOINER, "") for line in lines)
    assert "Family" not in plain(open_page("compare", runs="stranger"))


def test_a_run_of_a_parent_that_is_gone_stands_alone(studio: RunManager, tiny_config: TrainingConfig) -> None:
    add_run(studio, tiny_config, "child", [3.0], origin=Origin("gone", "branch", 10))
    page = open_page("compare", runs="child")
    assert "Family" not in plain(page) and drawn(page) == ["run child"]


def test_the_oldest_of_many_runs_is_not_said_to_be_gone(studio: RunManager, tiny_config: TrainingConfig) -> None:
    add_run(studio, tiny_config, "oldest", [3.0])
    add_runs(studio, 620, RunStatus.COMPLETED)
    page = open_page("compare", runs="oldest")
    assert "does not exist" not in texts(page)
    assert drawn(page) == ["run oldest"]


def test_an_address_of_too_many_runs_is_told(studio: RunManager) -> None:
    add_runs(studio, MOST_COMPARED + 1, RunStatus.COMPLETED)
    page = open_page("compare", runs=",".join(run.id for run in studio.log.runs()))
    assert f"Only the first {MOST_COMPARED} runs" in texts(page)
    assert len(page.multiselect[0].value) == MOST_COMPARED
