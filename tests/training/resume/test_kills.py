"""A model whose process was killed ends as if it had not been."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cognate_core.contracts.json_lines import read_records
from tests.training.resume.lives import Place, Reference, Trained, assert_same_end

pytestmark = pytest.mark.usefixtures("one_thread")

KILLS = ("step", 1), ("check", 3), ("midst", 4), ("step", 6), ("check", 8)


@pytest.mark.parametrize("kind", ["EMA, plain", "EMA, pondering and memory"])
def test_a_model_whose_process_was_killed_ends_as_if_it_had_not_been(
    prepared: str, references: Callable[[str], Reference], tmp_path: Path, kind: str
) -> None:
    alone = references(kind)
    wanted = {alone.places[when][step][-1] for when, step in KILLS}
    left: dict[Place, Path] = {}

    def leave(place: Place) -> None:
        """What is on the disk when the process is killed at this moment."""
        if place in wanted:
            left[place] = tmp_path / f"killed at {place}"
            shutil.copytree(tmp_path / "alive" / "m", left[place] / "m")

    alive = Trained(prepared, tmp_path / "alive", kind)
    alive.meanwhile = leave
    assert alive.live()
    assert set(left) == wanted
    for place, parent in left.items():
        killed = Trained(prepared, parent, kind)
        log = killed.folder / "training_log.jsonl"
        killed.records = list(read_records(log))
        with log.open("ab") as file:
            file.write(b'{"type": "StepMetrics", "model_na')  # the line that was being written
        assert killed.live(), place
        assert_same_end(killed, alone)


def test_what_a_kill_left_half_written_is_swept_away(prepared: str, plain: Reference, tmp_path: Path) -> None:
    killed = Trained(prepared, tmp_path)
    killed.live(until=(5, 0))
    (killed.folder / "checkpoints/step-00000007.tmp-0123abcd").mkdir()
    (killed.folder / "checkpoints/step-00000007.tmp-0123abcd/model.safetensors").write_bytes(b"half")
    (killed.folder / "finishing.tmp-0123abcd").mkdir()
    (killed.folder / "finishing.tmp-0123abcd/model.safetensors").write_bytes(b"half")
    assert killed.live()
    assert_same_end(killed, plain)  # which finds no such leftover
    assert not any("tmp-" in path.name for path in killed.folder.rglob("*"))


def test_a_kill_while_the_model_is_put_in_place_loses_nothing(
    prepared: str, plain: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = Trained(prepared, tmp_path)
    replace, count = Path.replace, 0

    def die_at_the_third(path: Path, target: Path) -> Path:
        nonlocal count
        if path.parent.name.startswith("finishing.tmp-"):
            count += 1
            if count == 3:
                raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", die_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        killed.live()
    monkeypatch.undo()
    assert not (killed.folder / "model.safetensors").exists(), "a folder that has weights has all the rest"
    assert killed.live()
    assert_same_end(killed, plain)
