"""Runs of the Grokking lab: all that can be done with a run can be done with one of these, or is refused in words."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cognate_core.arithmetic import beginning
from cognate_core.cli import app
from cognate_core.config import TrainingConfig
from cognate_core.contracts import ARITHMETIC, RunStatus
from cognate_core.errors import CognateError, ConfigError, DataError, RunError, StorageError
from cognate_core.inference.calculator import Calculator
from cognate_core.insight.estimates import estimate, fitting_batch_size
from cognate_core.runs import RunManager, scheduler
from cognate_core.runs.cores import usable_cores, worker_threads
from cognate_core.runs.time_estimate import measured_time_estimate
from cognate_core.service import seeds_from
from cognate_core.sharing.archive import open_archive, write_archive
from cognate_core.sharing.verification import compare_runs
from cognate_core.storage.rows import Run
from tests.arithmetic.tiny import config_of
from tests.waiting import LONG, until

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ["One", "Two"]
CONFIG = config_of(max_steps=12, eval_interval=4, save_steps=5, weight_decay=0.01)
ENDLESS = CONFIG.with_overrides({"max_steps": 1_000_000, "eval_interval": 1_000_000, "save_steps": 1_000_000})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A data folder with one completed run of two models."""
    home = tmp_path_factory.mktemp("lab") / "home"
    manager = RunManager(home, executor="thread")
    run_id = manager.start(CONFIG, "Parent", NAMES)
    assert ended(manager, run_id).status is RunStatus.COMPLETED
    manager.close()
    return home


@dataclass(frozen=True)
class Studio:
    """A copy of that folder, open."""

    manager: RunManager
    parent: str

    @property
    def log(self) -> Any:
        return self.manager.log

    def model(self, name: str = "One") -> Any:
        return next(each for each in self.log.models(self.parent) if each.name == name)

    def folder(self, name: str = "One") -> Path:
        return self.manager.store.path(self.log.artifacts(self.model(name).id)[0]["path"]).parent


@pytest.fixture
def studio(home: Path, tmp_path: Path, open_manager: Callable[..., RunManager]) -> Studio:
    shutil.copytree(home, tmp_path / "home")
    manager = open_manager()
    return Studio(manager, manager.log.runs()[0].id)


def ended(manager: RunManager, run_id: str) -> Run:
    assert manager.wait(run_id, LONG)
    run = manager.log.run(run_id)
    assert run.status is not RunStatus.FAILED, run.error_details
    return run


def learned(manager: RunManager, run_id: str, name: str) -> list[tuple[int, float, float]]:
    """What a model's steps gave: step, loss, share of right answers."""
    rows = [row for row in manager.log.metrics(run_id) if row["model_name"] == name]
    return [(row["step"], row["loss"], row["accuracy"]) for row in rows]


def wait_for_step(manager: RunManager, run_id: str, step: int) -> None:
    until(lambda: (manager.log.run(run_id).step or 0) >= step, f"step {step}")


# Models


def test_each_model_has_its_own_seed_split_and_start(studio: Studio) -> None:
    models = {name: studio.model(name) for name in NAMES}
    seeds = dict(zip(NAMES, seeds_from(CONFIG.seed), strict=False))
    for name, model in models.items():
        assert model.status == "completed"
        assert model.details["training_stats"]["seed"] == seeds[name]
        assert model.parameter_count == estimate(CONFIG).parameters["total"]
        assert model.details["capabilities"] == ["modular arithmetic"]
        assert not model.details["act_enabled"] and not model.details["ltm_enabled"]
        share = studio.log.evaluations(studio.parent)
        last = [row["accuracy"] for row in share if row["model_name"] == name][-1]
        assert model.details["training_stats"]["heldout_accuracy"] == {ARITHMETIC: pytest.approx(last, abs=1e-4)}
        problems = beginning(CONFIG.with_overrides({"seed": seeds[name]})).problems
        table = Calculator.from_folder(studio.folder(name)).table()
        assert table.learned_from.reshape(-1).nonzero()[0].tolist() == sorted(problems.train.tolist())
        assert table.heldout_accuracy == pytest.approx(last)
    first, second = (Calculator.from_folder(studio.folder(name)).table().learned_from for name in NAMES)
    assert (first != second).any()


def test_the_card_says_what_it_can_and_how_it_came_to_it(studio: Studio) -> None:
    card = (studio.folder() / "README.md").read_text(encoding="utf-8")
    share = studio.model().details["training_stats"]["heldout_accuracy"][ARITHMETIC]
    assert f"Of the problems that it never saw, it answers {share:.2%} correctly." in card
    for words in ("calculates x * y modulo 7", "ln(9) = 2.20", "- adam, weight decay 0.01", "8 problems per step"):
        assert words in card
    for words in ("text", "32,000", "memory", "ponder", " tokens"):
        assert words not in card.replace("GrokFast EMA", ""), words


def test_its_checkpoints_can_be_looked_at(studio: Studio) -> None:
    steps = studio.manager.kept_steps(studio.model().id)
    assert steps and all(Calculator.from_folder(studio.folder(), step).table() for step in steps)


def test_it_is_asked_no_word_problems(studio: Studio) -> None:
    with pytest.raises(RunError, match="Grokking lab model answers no questions in words"):
        studio.manager.measure_accuracy(studio.model().id, 5)
    assert studio.manager.measurement() is None


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("modulus", [3, 11])
def test_the_estimate_counts_the_parameters_of_the_real_model(modulus: int, n_layers: int) -> None:
    config = config_of(arithmetic_modulus=modulus, n_layers=n_layers)
    weights = beginning(config).model.parameters()
    assert estimate(config).parameters == {"total": sum(weight.numel() for weight in weights)}
    assert estimate(config).tokens_per_step == config.batch_size
    assert fitting_batch_size(config, 1e12) == config.batch_size // 2


# Its life


def test_a_paused_run_goes_on_as_if_nothing_had_been(studio: Studio) -> None:
    manager = studio.manager
    run_id = manager.start(ENDLESS, "Paused", ["Paused"])
    wait_for_step(manager, run_id, 20)
    manager.pause(run_id)
    assert ended(manager, run_id).status is RunStatus.PAUSED
    step = manager.resume_step(run_id)
    assert step >= 20
    manager.resume(run_id)
    wait_for_step(manager, run_id, step + 20)
    manager.stop(run_id)
    assert ended(manager, run_id).status is RunStatus.STOPPED
    rows = learned(manager, run_id, "Paused")
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    whole = manager.start(ENDLESS.with_overrides({"max_steps": len(rows)}), "Whole", ["Whole"])
    assert ended(manager, whole).status is RunStatus.COMPLETED
    assert learned(manager, whole, "Whole") == rows
    (stopped,) = manager.log.models(run_id)
    assert stopped.status == "stopped" and stopped.details["training_stats"]["heldout_accuracy"] == {}
    card = (manager.store.path(manager.log.artifacts(stopped.id)[0]["path"]).parent / "README.md").read_text()
    assert "is unknown: training was stopped before" in card
    manager.resume(run_id)  # a stopped run may go on, too
    wait_for_step(manager, run_id, len(rows) + 5)
    manager.cancel(run_id)
    assert ended(manager, run_id).status is RunStatus.CANCELLED


def test_a_cancelled_run_leaves_no_model(studio: Studio) -> None:
    run_id = studio.manager.start(ENDLESS, "Cancelled", ["Cancelled"])
    wait_for_step(studio.manager, run_id, 5)
    studio.manager.cancel(run_id)
    assert ended(studio.manager, run_id).status is RunStatus.CANCELLED
    assert studio.log.models(run_id) == []
    assert not list((studio.manager.home / "runs" / run_id).glob("*/model.safetensors"))


def test_in_a_process_of_its_own_it_pauses_and_resumes(tmp_path: Path, open_manager: Callable[..., RunManager]) -> None:
    manager = open_manager(executor="process")
    run_id = manager.start(ENDLESS, "Process", ["Process"])
    wait_for_step(manager, run_id, 5)
    manager.pause(run_id)
    assert ended(manager, run_id).status is RunStatus.PAUSED
    step = manager.resume_step(run_id)
    manager.resume(run_id)
    wait_for_step(manager, run_id, step + 1)
    manager.stop(run_id)
    assert ended(manager, run_id).status is RunStatus.STOPPED
    (model,) = manager.log.models(run_id)
    assert model.details["training_stats"]["threads"] == 1


def test_its_number_format_is_what_it_is_trained_in(studio: Studio) -> None:
    run_id = studio.manager.start(CONFIG.with_overrides({"precision": "bf16"}), "Format", ["Format"])
    ended(studio.manager, run_id)
    assert studio.log.models(run_id)[0].details["training_stats"]["precision"] == "fp32"
    assert learned(studio.manager, run_id, "Format") == learned(studio.manager, studio.parent, "One")


def test_it_is_renamed_and_deleted_and_restored(studio: Studio) -> None:
    manager = studio.manager
    manager.rename_run(studio.parent, "Another name")
    rows = studio.log.evaluations(studio.parent)
    manager.delete_run(studio.parent)
    assert studio.log.runs() == []
    manager.restore(manager.trash.entries()[0].id)
    assert studio.log.run(studio.parent).name == "Another name"
    assert [row["accuracy"] for row in studio.log.evaluations(studio.parent)] == [row["accuracy"] for row in rows]
    assert Calculator.from_folder(studio.folder())


def test_the_database_is_rebuilt_from_the_logs(
    home: Path, tmp_path: Path, open_manager: Callable[..., RunManager]
) -> None:
    shutil.copytree(home, tmp_path / "home")
    manager = open_manager()
    run_id = manager.log.runs()[0].id
    before = {name: learned(manager, run_id, name) for name in NAMES}
    checks = [row["accuracy"] for row in manager.log.evaluations(run_id)]
    manager.close()
    for file in (tmp_path / "home").glob("studio.sqlite*"):
        file.unlink()
    manager = open_manager()
    assert manager.log.run(run_id).config == CONFIG.model_copy(
        update={"output_dir": manager.log.run(run_id).config.output_dir}
    )
    assert {name: learned(manager, run_id, name) for name in NAMES} == before
    assert [row["accuracy"] for row in manager.log.evaluations(run_id)] == checks
    assert None not in checks


# What is made of it


def test_a_twin_and_a_copy(studio: Studio) -> None:
    manager = studio.manager
    twin, copy = manager.start_twin(studio.parent), manager.start(CONFIG, "Copy", NAMES)
    for run_id in (twin, copy):
        assert ended(manager, run_id).status is RunStatus.COMPLETED
    first = studio.log.run(twin).model_names[0]
    assert learned(manager, twin, first)[0] == learned(manager, studio.parent, "One")[0]
    assert learned(manager, twin, first) != learned(manager, studio.parent, "One")
    assert [learned(manager, copy, name) for name in NAMES] == [learned(manager, studio.parent, name) for name in NAMES]


@pytest.mark.parametrize("model_name", NAMES)
def test_a_branch_without_a_change_goes_the_same_way(studio: Studio, model_name: str) -> None:
    step = studio.manager.checkpoint_steps(studio.parent, model_name)[0]
    branch = studio.manager.start_branch(studio.parent, model_name, step, {}, "Branch")
    assert ended(studio.manager, branch).status is RunStatus.COMPLETED
    assert learned(studio.manager, branch, "Branch") == learned(studio.manager, studio.parent, model_name)[step:]
    assert studio.manager.batch_at(branch, "Branch", 12) == studio.manager.batch_at(studio.parent, model_name, 12)


def test_what_a_branch_with_another_batch_size_read_is_what_is_listed(studio: Studio) -> None:
    step = studio.manager.checkpoint_steps(studio.parent, "Two")[0]
    changes = {"batch_size": 5, "grokfast_method": "ma", "grokfast_window": 3}
    branch = studio.manager.start_branch(studio.parent, "Two", step, changes, "Branch")
    ended(studio.manager, branch)
    read = {row["step"]: row["tokens"] for row in studio.log.metrics(branch)}
    assert set(read) == set(range(step + 1, 13))
    listed = {each: studio.manager.batch_at(branch, "Branch", each)[0] for each in read}
    assert {each: batch.counted_tokens for each, batch in listed.items()} == read
    seed = studio.model("Two").details["training_stats"]["seed"]
    problems = beginning(CONFIG.with_overrides({"seed": seed})).problems
    known = {f"{problems.left[n]} * {problems.right[n]} = {problems.answer[n]}" for n in problems.train}
    assert {problem for batch in listed.values() for problem in batch.texts[0].split("\n")} <= known
    with pytest.raises(DataError, match=f"began after step {step}"):
        studio.manager.batch_at(branch, "Branch", step)


@pytest.mark.parametrize(
    "setting", ["optimizer", "arithmetic_modulus", "seed", "d_model", "warmup_ratio", "gradient_accumulation_steps"]
)
def test_a_branch_changes_nothing_that_cannot_change_or_has_no_meaning(studio: Studio, setting: str) -> None:
    step = studio.manager.checkpoint_steps(studio.parent, "One")[0]
    with pytest.raises(ConfigError, match="A branch cannot change this") as refusal:
        studio.manager.start_branch(studio.parent, "One", step, {setting: 1}, "Branch")
    assert list(refusal.value.problems) == [setting]


def test_a_repeated_run_is_identical(studio: Studio) -> None:
    repeated = studio.manager.start_verification(studio.parent)
    ended(studio.manager, repeated)
    assert compare_runs(studio.log, studio.manager.store, studio.parent, repeated).verdict == "identical"


# Data


def test_damaged_prepared_data_is_prepared_anew(studio: Studio) -> None:
    (folder,) = (studio.manager.home / "cache" / "arithmetic").iterdir()
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    run_id = studio.manager.start(CONFIG, "Again", ["One"])
    assert ended(studio.manager, run_id).status is RunStatus.COMPLETED
    shutil.rmtree(folder)
    assert learned(studio.manager, run_id, "One") == learned(studio.manager, studio.parent, "One")
    assert studio.manager.batch_at(run_id, "One", 3) == studio.manager.batch_at(studio.parent, "One", 3)


# Time


def test_a_quote_is_measured_with_one_thread() -> None:
    time_estimate = measured_time_estimate(CONFIG, 2, busy=False)
    assert 0 < time_estimate.low_seconds <= time_estimate.high_seconds
    assert time_estimate.threads == 1
    assert time_estimate.steps_measured == 11


# The run archive


@pytest.fixture
def there(tmp_path: Path) -> Iterator[RunManager]:
    """Another studio."""
    manager = RunManager(tmp_path / "there", executor="thread")
    yield manager
    manager.close()


def test_a_archive_opens_elsewhere_and_can_be_repeated(studio: Studio, tmp_path: Path, there: RunManager) -> None:
    file = tmp_path / "lab.cognate.zip"
    write_archive(studio.log, studio.manager.store, studio.parent, file)
    run_id = open_archive(there, file)
    for name in NAMES:
        assert learned(there, run_id, name) == learned(studio.manager, studio.parent, name)
    for model in there.log.models(run_id):
        folder = there.store.path(there.log.artifacts(model.id)[0]["path"]).parent
        same = Calculator.from_folder(studio.folder(model.name)).table()
        assert (Calculator.from_folder(folder).table().right == same.right).all()
    repeated = there.start_verification(run_id)
    ended(there, repeated)
    assert compare_runs(there.log, there.store, run_id, repeated).verdict == "identical"


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("config.json", ('"d_model": 16', '"d_model": 32')),
        ("config.json", ('"arithmetic_modulus": 7', '"arithmetic_modulus": 11')),
        ("config.json", ('"model": "arithmetic"', '"model": "cognate"')),
        ("tokenizer.json", ('"WordLevel"', '"BPE"')),
        ("tokenizer.json", ('"6": 6', '"9": 6')),
        ("training_log.jsonl", ('"accuracy": 0.', '"accuracy": 7.')),
        ("training_log.jsonl", ('"accuracy": 0.', '"accuracy": -0.')),
    ],
)
def test_a_archive_that_contradicts_itself_is_refused(
    studio: Studio, tmp_path: Path, there: RunManager, member: str, words: tuple[str, str]
) -> None:
    file, forged = tmp_path / "lab.cognate.zip", tmp_path / "forged.cognate.zip"
    write_archive(studio.log, studio.manager.store, studio.parent, file)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    changed = next(name for name in members if name.endswith(f"/{member}"))
    text = members[changed].decode()
    assert words[0] in text, text[:600]
    members[changed] = text.replace(*words).encode()
    manifest = json.loads(members["archive.json"])
    told = {"bytes": len(members[changed]), "sha256": hashlib.sha256(members[changed]).hexdigest()}
    manifest["members"][changed] = told
    members["archive.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(forged, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(StorageError, match="not a complete run archive"):
        open_archive(there, forged)
    assert there.log.runs() == []


# Variants side by side


def test_variants_of_a_race_train_side_by_side_and_others_wait(
    tmp_path: Path,
    open_manager: Callable[..., RunManager],
    monkeypatch: pytest.MonkeyPatch,
    tiny_config: TrainingConfig,
) -> None:
    monkeypatch.setattr(scheduler, "usable_cores", lambda: 2)
    manager = open_manager()
    variants = [manager.start(ENDLESS, f"Variant {number}", ["m"]) for number in range(3)]
    text = manager.start(tiny_config, "Text", ["m"])
    for variant in variants[:2]:
        wait_for_step(manager, variant, 2)
    assert [manager.log.run(each).status for each in (variants[2], text)] == [RunStatus.QUEUED] * 2
    manager.stop(variants[0])
    ended(manager, variants[0])
    wait_for_step(manager, variants[2], 2)
    assert manager.log.run(text).status is RunStatus.QUEUED, "a language model has the computer to itself"
    for variant in variants[1:]:
        manager.stop(variant)
    assert ended(manager, text).status is RunStatus.COMPLETED


def test_a_lane_waits_for_a_language_model(
    open_manager: Callable[..., RunManager], monkeypatch: pytest.MonkeyPatch, tiny_config: TrainingConfig
) -> None:
    monkeypatch.setattr(scheduler, "usable_cores", lambda: 4)
    manager = open_manager()
    text = manager.start(tiny_config.with_overrides({"max_steps": 10_000}), "Text", ["m"])
    variant = manager.start(CONFIG, "Variant", ["m"])
    wait_for_step(manager, text, 1)
    assert manager.log.run(variant).status is RunStatus.QUEUED
    manager.cancel(text)
    assert ended(manager, variant).status is RunStatus.COMPLETED


def test_a_model_of_the_lab_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert worker_threads(CONFIG) == 1
    assert worker_threads(CONFIG.with_overrides({"threads": 3})) == 3
    assert worker_threads(TrainingConfig()) == usable_cores()


# The command line


def test_the_command_line_trains_it(tmp_path: Path) -> None:
    runner, file = CliRunner(), tmp_path / "lab.toml"
    printed = runner.invoke(app, ["presets", "grokking"])
    assert printed.exit_code == 0
    file.write_text(printed.stdout, encoding="utf-8")
    tiny = ("arithmetic_modulus=5", "d_model=16", "max_steps=4", "n_heads=2", "batch_size=4")
    arguments = [argument for pair in tiny for argument in ("--set", pair)]
    trained = runner.invoke(app, ["train", str(file), "--json", *arguments])
    assert trained.exit_code == 0, trained.output
    (model,) = json.loads(trained.stdout)
    assert model["capabilities"] == ["modular arithmetic"]
    refused = runner.invoke(app, ["train", str(file), "--set", "arithmetic_modulus=96"])
    assert refused.exit_code == 2
    assert "96 is not a prime number" in " ".join(refused.output.split())


def test_a_run_that_cannot_begin_is_a_sentence(studio: Studio) -> None:
    with pytest.raises(CognateError, match="no such model"):
        studio.manager.batch_at(studio.parent, "Nobody", 1)
