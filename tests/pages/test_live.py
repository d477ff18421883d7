"""What `/live` answers: the charts as a person wants to look at them, for this computer's own pages alone."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.requests import Request
from starlette.responses import Response

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Evaluation, Origin, RunStatus, StepMetrics
from cognate_core.insight.run_charts import Look, run_charts
from cognate_core.runs import RunManager
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run
from pages.components import live_charts
from pages.components.live_charts import CONTROLS, MOST_COMPARED, MOST_KEPT

OWN = {"host": "localhost"}
VIEWERS = 20
LOSSES = [5.0, 1.0, 4.0, 2.0, 3.0]


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_charts, "REST", 0)


def add_run(
    studio: RunManager,
    config: TrainingConfig,
    run_id: str,
    steps: range = range(1, 6),
    seconds: float = 10.0,
    origin: Origin | None = None,
    name: str = "",
) -> str:
    """A run of which each step took `seconds` and read 100 tokens."""
    log = studio.log
    log.create_run(run_id, name or f"run {run_id}", config, ["m"], studio.home, None, origin)
    for place, step in enumerate(steps):
        loss = LOSSES[place % len(LOSSES)]
        log.record(run_id, StepMetrics("m", step, loss, 0.1, 1.0, 1.0, 100, seconds, seconds * step))
    log.record(run_id, Evaluation("m", steps.start - 1, "SVAMP", 6.0, 9))
    log.raise_refused(run_id)
    return run_id


def record_step(studio: RunManager, run_id: str, step: int) -> None:
    """One more, which is written at once."""
    studio.log.record(run_id, StepMetrics("m", step, 5.0, 0.1, 1.0, 1.0, 100, 10.0, 10.0 * step))
    studio.log.raise_refused(run_id)


@pytest.fixture
def run(studio: RunManager, tiny_config: TrainingConfig) -> str:
    return add_run(studio, tiny_config, "r")


def response(path: str = "/live", headers: dict[str, str] = OWN, **query: str) -> Response:
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": path, "headers": lines, "query_string": urlencode(query).encode()}
    endpoint = next(route.endpoint for route in live_charts.routes if route.path == path)
    answer: Response = endpoint(Request(scope))
    return answer


def ask(**query: str) -> dict[str, Any]:
    answered = response("/live", OWN, **query)
    assert answered.status_code == 200
    answer: dict[str, Any] = json.loads(bytes(answered.body))
    return answer


def figures(**query: str) -> list[dict[str, Any]]:
    return [chart["figure"] for chart in ask(**query)["charts"]]


# The look


def test_smoothing_is_as_chosen(run: str) -> None:
    spread = []
    for choice in CONTROLS["smoothing"][1]:
        loss = figures(run=run, model="m", smoothing=choice)[0]["data"]
        line = [trace for trace in loss if trace["name"].startswith("training")][-1]
        spread.append(max(line["y"]) - min(line["y"]))
        assert (len(loss) == 2) == (choice == "none"), "the steps themselves, and what is unseen"
    assert spread[0] == 4.0 and spread == sorted(spread, reverse=True)


def test_the_scale_of_losses_is_as_chosen_and_of_nothing_else(run: str) -> None:
    kinds = {
        scale: [figure["layout"]["yaxis"].get("type") for figure in figures(run=run, model="m", scale=scale)]
        for scale in CONTROLS["scale"][1]
    }
    assert not any(kinds["linear"])
    assert kinds["logarithmic"][0] == "log" and not any(kinds["logarithmic"][1:])
    compared = [figure["layout"]["yaxis"].get("type") for figure in figures(runs=run, scale="logarithmic")]
    assert compared[:2] == ["log", "log"] and not any(compared[2:])


@pytest.mark.parametrize(
    ("along", "title", "places"),
    [
        ("steps", "step", [1, 2, 3, 4, 5]),
        ("time", "training time (s)", [10, 20, 30, 40, 50]),
        ("tokens", "tokens learned from", [100, 200, 300, 400, 500]),
    ],
)
def test_what_stands_along_the_bottom_is_as_chosen(run: str, along: str, title: str, places: list[int]) -> None:
    for query in ({"run": run, "model": "m"}, {"runs": run}):
        charts = ask(**query, along=along, smoothing="none")["charts"]
        assert {chart["figure"]["layout"]["xaxis"]["title"]["text"] for chart in charts} == {title}
        assert all(chart["alt"].endswith(f"by {title}") for chart in charts), "who cannot see it hears of it"
        rate = next(chart["figure"] for chart in charts if chart["title"] == "Learning rate")
        assert rate["data"][0]["x"] == places
    unseen = [trace for trace in figures(run=run, model="m", along=along)[0]["data"] if "SVAMP" in trace["name"]]
    assert unseen[0]["x"] == [0], "the check before the first step"


def test_dark_has_other_colours(run: str) -> None:
    assert figures(run=run, model="m", dark="1") != figures(run=run, model="m", dark="0")


@pytest.mark.parametrize("value", ["", "nonsense", "None", "<b>", "0.5", "logarithmic\0", "x" * 5000, "\u202e"])
def test_what_is_no_choice_is_as_at_first(run: str, value: str) -> None:
    first = figures(run=run, model="m")
    assert figures(run=run, model="m", smoothing=value, scale=value, along=value, dark=value) == first
    assert figures(runs=run, smoothing=value, scale=value, along=value, dark=value) == figures(runs=run)


# Several runs


def test_runs_are_drawn_over_one_another_in_the_order_of_the_address(
    studio: RunManager, tiny_config: TrainingConfig
) -> None:
    for run_id in "abc":
        add_run(studio, tiny_config, run_id)
    for figure in figures(runs="c,a"):
        assert [trace["name"] for trace in figure["data"]] == ["run c", "run a"]
    unseen, *_ = figures(runs="c,a")
    assert [trace["y"] for trace in unseen["data"]] == [[6.0], [6.0]]


def test_the_axis_of_a_run_that_has_ended_ends_with_its_last_step(
    studio: RunManager, tiny_config: TrainingConfig
) -> None:
    run = add_run(studio, tiny_config.with_overrides({"max_steps": 800}), "r")
    assert [figure["layout"]["xaxis"]["range"] for figure in figures(run=run, model="m")[:1]] == [[0, 100]]
    studio.log.claim(run)
    studio.log.set_status(run, RunStatus.STOPPED)
    studio.log.record(run, Evaluation("m", 5, "SVAMP", 1.5, 9))
    studio.log.raise_refused(run)
    assert {tuple(figure["layout"]["xaxis"]["range"]) for figure in figures(run=run, model="m")} == {(0, 5)}


def test_one_unit_of_time_for_a_short_run_and_a_long_one(studio: RunManager, tiny_config: TrainingConfig) -> None:
    add_run(studio, tiny_config, "short", seconds=6.0)
    add_run(studio, tiny_config, "long", seconds=600.0)
    add_run(studio, tiny_config, "new", steps=range(1, 1))
    for order in ("short,long,new", "new,long,short"):
        rate = next(figure for figure in figures(runs=order, along="time")[2:])
        assert rate["layout"]["xaxis"]["title"]["text"] == "training time (min)"
        assert rate["layout"]["xaxis"]["range"] == [0, 50]
        by_name = {trace["name"]: trace["x"] for trace in rate["data"]}
        assert by_name["run short"] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
        assert by_name["run long"] == pytest.approx([10, 20, 30, 40, 50])
        assert by_name["run new"] == []


def test_a_branch_goes_on_from_the_tokens_of_its_mothers(studio: RunManager, tiny_config: TrainingConfig) -> None:
    add_run(studio, tiny_config, "parent")
    add_run(studio, tiny_config, "branch", range(4, 7), origin=Origin("parent", "branch", 3))
    add_run(studio, tiny_config, "grandchild", range(6, 8), origin=Origin("branch", "branch", 5))
    add_run(studio, tiny_config, "first", range(4, 5), origin=Origin("branch", "branch", 3))
    add_run(studio, tiny_config, "orphan", range(4, 6), origin=Origin("gone", "branch", 3))
    add_run(studio, tiny_config, "twin", origin=Origin("parent", "twin"))
    names = ("parent", "branch", "grandchild", "first", "orphan", "twin")
    rate = figures(runs=",".join(names), along="tokens")[2]
    places = dict(zip(names, (trace["x"] for trace in rate["data"]), strict=True))
    assert places["branch"] == [400, 500, 600]
    assert places["grandchild"] == [600, 700]
    assert places["first"] == [400], "it left where its parent began"
    assert places["orphan"] == [100, 200], "of a parent that is gone nothing is known"
    assert places["twin"] == places["parent"]


def test_no_more_are_drawn_than_can_be_told_apart(studio: RunManager, tiny_config: TrainingConfig) -> None:
    names = [add_run(studio, tiny_config, f"r{number}", steps=range(1, 2)) for number in range(MOST_COMPARED + 2)]
    assert len(figures(runs=",".join(names))[0]["data"]) == MOST_COMPARED


@pytest.mark.parametrize("query", [{}, {"runs": ""}, {"runs": ",,"}])
def test_no_run_gives_empty_charts(studio: RunManager, query: dict[str, str]) -> None:
    assert not any(figure["data"] for figure in figures(**query))


def test_a_run_named_twice_harms_nothing(run: str) -> None:
    assert len(figures(runs=f"{run},{run}")[0]["data"]) == 2


# News


def test_what_was_seen_already_is_not_sent_again_but_how_alive_all_is(studio: RunManager, run: str) -> None:
    for query in ({"run": run, "model": "m"}, {"runs": run}):
        first = ask(**query)
        assert first.keys() == {"seen", "charts", "findings", "samples", "figures", "alive"}
        assert ask(**query, after=first["seen"]) == {"alive": first["alive"]}
        assert ask(**query, after="something else")["charts"] == first["charts"]
        studio.log.record(run, Evaluation("m", 10 * len(query), "SVAMP", 1.5, 9))
        studio.log.raise_refused(run)
        news = ask(**query, after=first["seen"])
        assert news["charts"] != first["charts"] and news["seen"] != first["seen"]
        studio.log.rename_run(run, f"another {len(query)}")
        assert "charts" in ask(**query, after=news["seen"]), "another name is news"


def test_signs_of_life_are_what_is_known(studio: RunManager, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(run=run)["alive"] == {"trainer": None, "memory": None, "log": 0.0, "elsewhere": False}
    monkeypatch.setattr(studio, "silent_seconds", {run: 1.25}.get)
    monkeypatch.setattr(studio, "memory_bytes", {run: 2_000_000}.get)
    assert ask(run=run)["alive"] == {"trainer": 1.25, "memory": "2 MB", "log": 0.0, "elsewhere": False}
    other = studio.log.create_run("0123456789ab", "Another", studio.log.run(run).config, ["m"], studio.home, None)
    monkeypatch.setattr(studio, "silent_seconds", {run: 1.25, other: 7.5}.get)
    monkeypatch.setattr(studio, "memory_bytes", {run: 2_000_000, other: 3_000_000}.get)
    alive = ask(runs=f"{run},{other}")["alive"]
    assert (alive["trainer"], alive["memory"]) == (7.5, "5 MB"), "the most silent one, and all of the memory"


# Many who watch


def counted_builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The model of each set of charts that is built from now on."""
    built = list[str]()

    def counted(log: ProgressReader, run: Run, model: str, look: Look) -> Any:
        built.append(model)
        return run_charts(log, run, model, look)

    monkeypatch.setattr(live_charts, "run_charts", counted)
    return built


def test_viewers_of_one_run_share_its_charts(studio: RunManager, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built, seen = counted_builds(monkeypatch), ""
    for step in (6, 7):
        record_step(studio, run, step)
        with ThreadPoolExecutor(VIEWERS) as pool:
            answers = list(pool.map(lambda after: ask(run=run, model="m", after=after), [seen] * VIEWERS))
        assert built == ["m"] * (step - 5)
        assert all(answer == answers[0] for answer in answers)
        assert answers[0]["charts"][0]["figure"]["data"][0]["x"][-1] == step
        seen = answers[0]["seen"]
        assert set(ask(run=run, model="m", after=seen)) == {"alive"}
    assert ask(run=run, model="m", dark="1")["charts"] != answers[0]["charts"]
    assert len(built) == 3


def test_while_a_run_rests_nothing_is_built(studio: RunManager, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built = counted_builds(monkeypatch)
    monkeypatch.setattr(live_charts, "REST", 1e9)
    seen = ask(run=run, model="m")["seen"]
    record_step(studio, run, 6)
    assert set(ask(run=run, model="m", after=seen)) == {"alive"}
    assert built == ["m"]


def test_of_all_that_is_looked_at_the_last_few_charts_are_kept(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built = counted_builds(monkeypatch)
    monkeypatch.setattr(live_charts, "REST", 1e9)
    names = [f"m{number}" for number in range(2 * MOST_KEPT)]
    for name in names:
        ask(run=run, model=name)
    assert built == names
    for name in names[MOST_KEPT:]:
        ask(run=run, model=name)
    assert built == names, "they were kept"
    ask(run=run, model=names[0])
    assert built == [*names, names[0]], "it was not"


# What is asked


@pytest.mark.parametrize("name", ["nothing", "", "../../etc/passwd", "' OR 1=1 --", "<script>", "r\0", "x" * 10_000])
def test_an_unknown_run_is_told_in_a_sentence(run: str, name: str) -> None:
    asked = [{"run": name}] + ([{"runs": f"{run},{name}"}] if name else [])
    for query in asked:
        refused = response("/live", OWN, **query)
        assert refused.status_code == 404
        assert json.loads(bytes(refused.body))["problem"] == "There is no such run. It may have been deleted."


def test_an_unknown_model_has_empty_charts(run: str) -> None:
    assert not any(figure["data"] for figure in figures(run=run, model="nobody"))


def test_hostile_names_are_no_markup_in_what_is_sent(
    studio: RunManager, tiny_config: TrainingConfig, tmp_path: Path
) -> None:
    name = "<img src=x onerror=alert(1)> </script>&amp; \u202e"
    add_run(studio, tiny_config, "h", name=name)
    for figure in figures(runs="h"):
        written = [trace["name"] for trace in figure["data"]]
        written += [note["text"] for note in figure["layout"]["annotations"]]
        assert written and not [text for text in written if "<" in text or ">" in text]
