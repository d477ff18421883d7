"""A model that was paused ends as if it had not been."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from cognate_core.contracts import (
    Event,
    Rewind,
    StepMetrics,
)
from cognate_core.training import trainer as trainer_module
from cognate_core.training.checkpoint import load_checkpoint
from tests.training.resume.lives import KINDS, TINY, Reference, Trained, assert_same_end

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_was_paused_again_and_again_ends_as_if_it_had_not(
    prepared: str, references: Callable[[str], Reference], tmp_path: Path, kind: str
) -> None:
    alone = references(kind)
    step, midst, check = (alone.places[name] for name in ("step", "midst", "check"))
    paused = Trained(prepared, tmp_path, kind)
    for place in (
        check[0][1],  # before anything was learned
        midst[0][0],  # within the first step
        step[1][0],
        midst[2][0],  # after a checkpoint, within the step behind it
        step[3][0],  # before a check that is due
        check[6][0],  # at the beginning of a check
        midst[7][0],
        check[8][-1],  # all steps are done; while the whole held-out text is read
    ):
        assert not paused.live(until=place)
    assert paused.live()
    assert_same_end(paused, alone)


@pytest.mark.parametrize("kind", ["EMA, plain", "EMA, pondering and memory"])
def test_a_check_that_is_broken_off_anywhere_is_made_once(
    prepared: str, references: Callable[[str], Reference], tmp_path: Path, kind: str
) -> None:
    alone = references(kind)
    places = alone.places["check"][3]
    assert len(places) > TINY.sample_tokens > 1, "it has parts"
    paused = Trained(prepared, tmp_path, kind)
    for (number, _), place in zip(enumerate(places), places, strict=True):
        # the step's own call is not made again by a life that begins at this step
        assert not paused.live(until=place if number == 0 else (place[0], place[1] - 1)), place
    assert paused.live()
    assert_same_end(paused, alone)


@settings(max_examples=6, phases=[Phase.explicit, Phase.generate])  # a life takes a while
@given(data=st.data())
def test_any_pauses_leave_each_step_once(
    references: Callable[[str], Reference],
    prepared: str,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    alone = references("EMA, plain")
    everywhere = sorted(place for kind in alone.places.values() for places in kind.values() for place in places)
    places = sorted(data.draw(st.lists(st.sampled_from(everywhere), max_size=4, unique=True)))
    paused = Trained(prepared, tmp_path_factory.mktemp("paused"))
    for place in places:
        if paused.live(until=place):
            break  # the life before ended at this step, and the call did not come again
    else:
        paused.live()
    assert_same_end(paused, alone)


def test_a_pause_is_heard_at_once_and_saved_as_if_the_broken_step_had_not_begun(
    prepared: str, plain: Reference, tmp_path: Path
) -> None:
    paused = Trained(prepared, tmp_path)
    assert not paused.live(until=plain.places["midst"][5][0])
    assert paused.calls[-1] == 5
    checkpoint = load_checkpoint(paused.folder / "checkpoints/step-00000005")
    assert checkpoint.state["batches"] == {"drawn": [10]}
    assert checkpoint.state["tokens"] == sum(metrics.tokens for metrics in paused.of(StepMetrics))
    assert not (paused.folder / "model.safetensors").exists()


def test_a_pause_before_the_first_step_leaves_nothing_to_go_on_from_and_is_told_so(
    prepared: str, plain: Reference, tmp_path: Path
) -> None:
    paused = Trained(prepared, tmp_path)
    assert not paused.live(until=(0, 0))
    assert not (paused.folder / "checkpoints").exists()
    assert paused.live()
    assert paused.heard[0] == Rewind("m", -1, -1)
    assert_same_end(paused, plain)


def test_a_resumed_life_first_takes_back_what_is_void(prepared: str, plain: Reference, tmp_path: Path) -> None:
    paused = Trained(prepared, tmp_path)
    paused.live(until=plain.places["check"][6][0])
    paused.live()
    assert paused.heard[0] == Rewind("m", 6, 3)
    assert "Resumed after step 6" in [event.message for event in paused.heard if isinstance(event, Event)]
    assert not any(isinstance(record, Rewind) for record in plain.heard), "a first life takes nothing back"


def test_resuming_where_nothing_was_is_starting(prepared: str, plain: Reference, tmp_path: Path) -> None:
    fresh = Trained(prepared, tmp_path)
    assert fresh.live()
    assert_same_end(fresh, plain)
    assert fresh.told == []


def test_the_number_format_stays_that_of_the_first_life(
    prepared: str, plain: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = Trained(prepared, tmp_path)
    paused.live(until=(4, 0))

    def refuse(wanted: str) -> None:
        raise AssertionError("another format may be chosen today")

    monkeypatch.setattr(trainer_module, "precision_for", refuse)
    assert paused.live()
    assert "Number format fp32, as before" in [each.message for each in paused.heard if isinstance(each, Event)]
