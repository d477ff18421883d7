"""What a sweep came to: the order, the words, which claim no more than was measured, and the charts."""

from dataclasses import dataclass
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.contracts.heldout import HeldoutCheck, HeldoutMeans
from cognate_core.insight.charts import View
from cognate_core.insight.palette import run_colour
from cognate_core.insight.sweep_results import SweepResults, sweep_chart, sweep_results

VIEW = View()


@dataclass(frozen=True)
class Swept:
    """A run as the progress log has it, as far as it is asked."""

    id: str
    config: TrainingConfig
    status: RunStatus = RunStatus.COMPLETED
    colour: int = 0
    data_report: dict[str, Any] | None = None
    worked_seconds: float | None = 12.0

    @property
    def name(self) -> str:
        return f"run <{self.id}>"


def results(*runs: tuple[dict[str, Any], float | None], **more: Any) -> SweepResults:
    """Of runs with these changes and losses."""
    swept = [Swept(str(n), TrainingConfig(**changes), colour=n, **more) for n, (changes, _) in enumerate(runs)]
    return sweep_results(swept, {str(n): checks(loss) for n, (_, loss) in enumerate(runs) if loss is not None})


def checks(loss: float) -> list[HeldoutCheck]:
    """Two, that came to the same."""
    return [HeldoutCheck("m", step, HeldoutMeans(loss, loss / 2, None)) for step in (10, 20)]


def test_the_lowest_loss_comes_first_and_one_seed_says_nothing_of_chance() -> None:
    found = results(({"learning_rate": 2e-3}, 3.9), ({"learning_rate": 1e-3}, 3.62), ({"learning_rate": 4e-3}, 5.0))
    assert found.fields == ["learning_rate"]
    assert [row.best_loss for row in found.rows] == [3.62, 3.9, 5.0]
    assert (found.rows[0].best_step, found.rows[0].bits_per_byte, found.rows[0].last_loss) == (10, 1.81, 3.62)
    assert found.sentence == (
        "Lowest held-out loss: Learning rate 0.001 with 3.620, against 3.900 for the next (Learning rate 0.002). "
        "There is only one seed of each: the difference may be chance. Vary the seed as well to find out."
    )


def test_seeds_of_one_setting_are_taken_together() -> None:
    apart = results(
        ({"learning_rate": 1e-3, "seed": 1}, 3.6),
        ({"learning_rate": 2e-3, "seed": 1}, 3.9),
        ({"learning_rate": 1e-3, "seed": 2}, 3.7),
        ({"learning_rate": 2e-3, "seed": 2}, 4.0),
    )
    assert "3.650 on average over 2 seeds (3.600 to 3.700), against 3.950 on average over 2 seeds" in apart.sentence
    assert apart.sentence.endswith("Every run of the first is lower than every run of the next.")
    overlap = results(
        ({"learning_rate": 1e-3, "seed": 1}, 3.6),
        ({"learning_rate": 2e-3, "seed": 1}, 3.65),
        ({"learning_rate": 1e-3, "seed": 2}, 3.7),
        ({"learning_rate": 2e-3, "seed": 2}, 4.0),
    )
    assert overlap.sentence.endswith("Their runs overlap: the difference may be chance.")


def test_of_seeds_that_are_still_to_come_nothing_is_claimed() -> None:
    found = results(({"n_layers": 2, "seed": 1}, 3.6), ({"n_layers": 4, "seed": 2}, 3.9))
    assert found.sentence.endswith("Only one seed of each has ended: the difference may be chance.")


def test_seeds_alone_show_what_chance_does() -> None:
    found = results(({"seed": 1}, 3.6), ({"seed": 2}, 3.75), ({"seed": 3}, 3.7))
    assert found.sentence.startswith("The same settings with 3 seeds gave held-out losses from 3.600 to 3.750")


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.DIVERGED, RunStatus.CANCELLED, RunStatus.TRAINING])
def test_what_did_not_come_to_its_end_is_shown_and_not_compared(status: RunStatus) -> None:
    whole = [Swept("a", TrainingConfig(learning_rate=1e-3)), Swept("b", TrainingConfig(learning_rate=2e-3))]
    broken = Swept("c", TrainingConfig(learning_rate=1e-1), status)
    losses = {name: checks(loss) for name, loss in (("a", 4.0), ("b", 3.0), ("c", 1.0))}
    found = sweep_results([*whole, broken], losses)
    assert [row.run_id for row in found.rows] == ["b", "a", "c"]
    assert found.rows[-1].status is status and found.rows[-1].best_loss == 1.0
    assert "Learning rate 0.002 with 3.000" in found.sentence
    said = "1 of 3 has not ended yet." if status is RunStatus.TRAINING else "1 of 3 ended without a comparable result"
    assert said in found.sentence


def test_what_was_not_measured_is_unknown() -> None:
    found = results(({"learning_rate": 1e-3}, None), ({"learning_rate": 2e-3}, None), worked_seconds=None)
    assert found.sentence.startswith("No run has completed with a measured held-out loss yet.")
    assert {(row.best_loss, row.best_step, row.last_loss, row.seconds) for row in found.rows} == {(None,) * 4}
    one = results(({"learning_rate": 1e-3}, 3.0), ({"learning_rate": 2e-3}, None))
    assert "There is nothing to compare yet" in one.sentence


def test_losses_on_other_data_are_not_simply_compared() -> None:
    runs = [Swept(str(n), TrainingConfig(vocab_size=400 + n), data_report={"content_hash": str(n)}) for n in range(2)]
    found = sweep_results(runs, {"0": checks(3.0), "1": checks(2.0)})
    assert "do not compare their losses" in found.sentence


class TestChart:
    def test_of_one_number_has_each_run_over_its_value_by_the_logarithm(self) -> None:
        found = results(({"learning_rate": 1e-4}, 4.0), ({"learning_rate": 1e-3}, 3.0), ({"learning_rate": 1e-2}, 5.0))
        figure = sweep_chart(found, VIEW)
        dots = {trace["x"][0]: trace for trace in figure["data"] if trace["mode"] == "markers"}
        assert sorted(dots) == pytest.approx([0.0, 0.5, 1.0])
        assert [dots[place]["y"] for place in sorted(dots)] == [[4.0], [3.0], [5.0]]
        assert dots[0.0]["marker"]["color"] == run_colour(0, dark=False)
        assert dots[0.0]["name"] == "run &lt;0&gt;"
        assert figure["layout"]["xaxis"]["ticktext"] == ["1e-4", "0.001", "0.01"]
        assert figure["layout"]["xaxis"]["title"]["text"] == "Learning rate"

    def test_goes_through_the_mean_of_the_seeds(self) -> None:
        found = results(
            ({"n_layers": 2, "seed": 1}, 4.0),
            ({"n_layers": 2, "seed": 2}, 3.0),
            ({"n_layers": 4, "seed": 1}, 2.0),
            ({"n_layers": 4, "seed": 2}, 3.0),
        )
        (line,) = (trace for trace in sweep_chart(found, VIEW)["data"] if trace["mode"] == "lines")
        assert (line["x"], line["y"]) == ([0.0, 1.0], [3.5, 2.5])

    def test_of_words_has_a_place_for_each(self) -> None:
        found = results(({"grokfast_enabled": True}, 4.0), ({"grokfast_enabled": False}, 3.0))
        figure = sweep_chart(found, VIEW)
        assert figure["layout"]["xaxis"]["ticktext"] == ["off", "on"]
        assert {trace["mode"] for trace in figure["data"]} == {"markers"}, "between off and on there is no line"

    def test_of_several_settings_is_a_line_a_run(self) -> None:
        found = results(
            ({"learning_rate": 1e-4, "n_layers": 2, "dataset_sources": ["GSM8K"]}, 4.0),
            ({"learning_rate": 1e-2, "n_layers": 6, "dataset_sources": ["SVAMP"]}, 3.0),
            ({"learning_rate": 1e-3, "n_layers": 4, "dataset_sources": ["GSM8K"]}, 3.5),
            ({"learning_rate": 1e-3, "n_layers": 2, "dataset_sources": ["SVAMP"]}, None),
        )
        figure = sweep_chart(found, VIEW)
        lines = {trace["line"]["color"]: trace for trace in figure["data"] if trace["mode"] == "lines+markers"}
        assert len(lines) == 3, "what was not measured has no line"
        fields = ["Datasets", "Layers", "Learning<br>rate"]
        assert figure["layout"]["xaxis"]["ticktext"] == [*fields, "lowest<br>held-out<br>loss"]
        assert lines[run_colour(0, dark=False)]["y"] == pytest.approx([0, 0, 0, 1])
        assert lines[run_colour(1, dark=False)]["y"] == pytest.approx([1, 1, 1, 0])
        assert lines[run_colour(2, dark=False)]["y"] == pytest.approx([0, 0.5, 0.5, 0.5])
        assert lines[run_colour(1, dark=False)]["line"]["width"] > lines[run_colour(0, dark=False)]["line"]["width"]

    def test_of_many_values_names_the_ends_and_the_middle(self) -> None:
        found = results(*(({"max_steps": 10 * n, "seed": n % 2}, 1.0 * n) for n in range(1, 12)))
        assert sweep_chart(found, VIEW)["layout"]["xaxis"]["ticktext"] == ["10", "60", "110"]

    def test_of_seeds_alone_has_them_along_the_bottom(self) -> None:
        figure = sweep_chart(results(({"seed": 1}, 3.6), ({"seed": 2}, 3.75)), VIEW)
        assert figure["layout"]["xaxis"]["title"]["text"] == "Seed"
