"""What becomes of a model whose checkpoints are damaged, gone or changed, and which one is the best."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cognate_core.contracts import (
    CHECKPOINT_MANIFEST,
    Event,
    Rewind,
    StepMetrics,
)
from cognate_core.contracts.heldout import HeldoutMeans
from cognate_core.contracts.json_lines import read_records
from cognate_core.training import checkpoint as checkpoint_module
from cognate_core.training import loop as loop_module
from cognate_core.training.checkpoint import load_checkpoint
from cognate_core.training.hardware import compute_environment
from cognate_core.training.text_loop import TextLoop
from tests.training.resume.lives import Place, Reference, Trained, assert_equal_tensors, assert_same_end, figures

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def at_seven(prepared: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Paused after step 7, with the checkpoints of step 4, 6 and 7."""
    paused = Trained(prepared, tmp_path_factory.mktemp("paused"))
    assert not paused.live(until=(7, 0))
    assert set(paused.checkpoints) >= {"step-00000004", "step-00000006", "step-00000007"}
    return paused


@pytest.fixture
def copy(at_seven: Trained, prepared: str, tmp_path: Path) -> Trained:
    shutil.copytree(at_seven.folder, tmp_path / "m")
    paused = Trained(prepared, tmp_path)
    paused.records = list(at_seven.records)
    return paused


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 16]) + content[-8:])


@pytest.mark.parametrize(
    ("part", "how"),
    [
        ("model.safetensors", "a flipped bit"),
        ("optimizer.safetensors", "truncated"),
        ("state.json", "a flipped bit"),
        ("state.json", "missing"),
        (CHECKPOINT_MANIFEST, "missing"),
    ],
)
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_gives_the_same_end(
    copy: Trained, plain: Reference, part: str, how: str
) -> None:
    damage(copy.folder / "checkpoints/step-00000007" / part, how)
    assert copy.live()
    assert copy.heard[0] == Rewind("m", 6, 6)
    (warning,) = copy.told
    assert warning.startswith("The checkpoint step-00000007 is ")
    assert warning.endswith("An earlier one is used.")
    assert_same_end(copy, plain)
    assert any(name.startswith("step-00000007.damaged-") for name in copy.checkpoints), "it is kept"
    assert warning in (copy.folder / "training_log.jsonl").read_text("utf-8")


def test_two_damaged_checkpoints_are_both_told_and_the_one_before_them_is_taken(
    copy: Trained, plain: Reference
) -> None:
    for step in (6, 7):
        damage(copy.folder / f"checkpoints/step-0000000{step}/optimizer.safetensors", "a flipped bit")
    assert copy.live()
    assert copy.heard[0] == Rewind("m", 4, 3)
    assert [warning.split()[2] for warning in copy.told] == ["step-00000007", "step-00000006"]
    assert_same_end(copy, plain)


def test_when_all_checkpoints_are_damaged_it_begins_anew_and_says_so(copy: Trained, plain: Reference) -> None:
    steps = copy.checkpoints
    for name in steps:
        damage(copy.folder / "checkpoints" / name / "state.json", "truncated")
    assert copy.live()
    assert copy.heard[0] == Rewind("m", -1, -1)
    assert [warning.split()[2] for warning in copy.told] == steps[::-1]
    assert_same_end(copy, plain)
    assert "An earlier one is used" not in copy.told[-1], "there is none"
    assert any("start" in warning or "beginning" in warning or "anew" in warning for warning in copy.told)


def test_a_checkpoint_that_is_gone_is_not_missed(copy: Trained, plain: Reference) -> None:
    shutil.rmtree(copy.folder / "checkpoints/step-00000007")
    assert copy.live()
    assert copy.heard[0] == Rewind("m", 6, 6)
    assert_same_end(copy, plain)


def test_a_log_that_is_torn_in_its_midst_does_not_stop_a_model(copy: Trained, plain: Reference) -> None:
    log = copy.folder / "training_log.jsonl"
    lines = log.read_text("utf-8").splitlines(keepends=True)
    log.write_text("".join([*lines[:5], lines[5][:10] + "\n", *lines[6:]]), "utf-8")
    assert copy.live()
    assert_equal_tensors(load_file(copy.folder / "model.safetensors"), load_file(plain.folder / "model.safetensors"))
    assert figures(copy.records) == figures(plain.records), "the database still has what the log lost"
    steps = [each.step for each in read_records(log) if isinstance(each, StepMetrics)]
    assert steps == sorted(set(steps)) and steps[-1] == 8


def test_going_on_with_other_means_is_told(copy: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    now = compute_environment()
    monkeypatch.setattr(loop_module, "compute_environment", lambda: {**now, "threads": 64, "torch": "9.9"})
    assert copy.live()
    (warning,) = copy.told
    assert "threads was 1 and is 64" in warning
    assert f"torch was {now['torch']} and is 9.9" in warning
    assert "processor" not in warning
    assert "not bit-identical" in warning
    (event,) = [each for each in copy.heard if isinstance(each, Event) and each.level == "warning"]
    assert (event.model_name, event.step) == ("m", 7)


def test_a_checkpoint_says_what_calculated_it(copy: Trained) -> None:
    state = load_checkpoint(copy.folder / "checkpoints/step-00000007").state
    assert state["compute_environment"] == compute_environment()
    assert set(state["compute_environment"]) == {"processor", "instructions", "threads", "torch"}


def test_going_on_with_the_same_means_is_no_news(copy: Trained) -> None:
    assert copy.live()
    assert copy.told == []


def test_one_that_chooses_its_threads_goes_on_with_as_many_as_before(copy: Trained) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    copy.chooses_threads = True
    assert copy.live()
    assert torch.get_num_threads() == threads + 1, "whatever comes next may have them all"
    torch.set_num_threads(threads)
    assert copy.told == []
    assert copy.result is not None and copy.result["training_stats"]["threads"] == threads


def test_a_checkpoint_that_was_changed_on_purpose_is_not_taken(copy: Trained) -> None:
    """One who changes a part must change its checksum, too."""
    newest = copy.folder / "checkpoints/step-00000007"
    state = json.loads((newest / "state.json").read_text("utf-8"))
    (newest / "state.json").write_text(json.dumps({**state, "tokens": 10**9}), "utf-8")
    assert copy.live()
    assert copy.result is not None and copy.result["training_stats"]["tokens"] < 10**9
    assert len(copy.told) == 1


def script_checks(monkeypatch: pytest.MonkeyPatch, losses: dict[int, float | None]) -> None:
    """From now on the mean held-out loss is the one of the script."""
    monkeypatch.setattr(TextLoop, "_check_heldout", lambda loop: HeldoutMeans(losses[loop.step], None, None))


BEST_AT_2 = {0: 9.0, 2: 1.0, 4: 5.0, 6: 6.0, 8: 7.0}


@pytest.mark.parametrize("pause", [None, (3, 0), (1, 0), (2, 0)])
def test_the_best_checkpoint_outlives_newer_ones_and_pauses(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: Place | None
) -> None:
    script_checks(monkeypatch, dict(BEST_AT_2))
    monkeypatch.setattr(checkpoint_module, "spread_checkpoints", lambda size: 0)
    model = Trained(prepared, tmp_path, eval_interval=2, save_steps=1)
    if pause is not None:
        assert not model.live(until=pause)
    assert model.live()
    assert model.checkpoints == ["step-00000002", "step-00000006", "step-00000007", "step-00000008"]
    assert load_checkpoint(model.folder / "checkpoints/step-00000002").state["score"] == 1.0


def test_a_resumed_model_knows_the_best_loss_of_its_earlier_lives(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_checks(monkeypatch, dict(BEST_AT_2))
    model = Trained(prepared, tmp_path, eval_interval=2, save_steps=1000)
    model.live(until=(3, 0))
    assert model.checkpoints == ["step-00000002", "step-00000003"], "one was kept as the best, one for the pause"
    assert model.live()
    assert model.checkpoints == ["step-00000002", "step-00000003", "step-00000008"], "no later check was better"


def test_checks_that_are_no_number_are_never_the_best(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_checks(monkeypatch, {0: None, 2: None, 4: 3.0, 6: None, 8: 4.0})
    model = Trained(prepared, tmp_path, eval_interval=2, save_steps=1000)
    assert model.live()
    assert model.checkpoints == ["step-00000004", "step-00000008"]
    assert load_checkpoint(model.folder / "checkpoints/step-00000008").state["best"]["score"] == 3.0
