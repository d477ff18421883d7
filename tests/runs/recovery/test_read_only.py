"""A second process only looks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cognate_core import runs
from cognate_core.contracts import RunStatus
from cognate_core.errors import RunError
from cognate_core.runs.manager import RunManager
from cognate_core.runs.read_only import ReadOnlyManager
from tests.runs.manager.patient import PatientTrainer, begin, end_of, status_of
from tests.runs.recovery.damage import CHANGES, LOOKS, all_there_is
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("one_thread")


class TestReadOnlyManager:
    @pytest.fixture
    def studio(
        self, open_studio: Callable[[], RunManager], start: Callable[..., str], patient: PatientTrainer
    ) -> RunManager:
        """One that has the home: a run is completed, one is training, one waits."""
        studio = open_studio()
        end_of(studio, start(studio, "done"))
        for name in ("slow", "slow and waiting"):
            start(studio, name)
        begin(patient, "slow")
        until(lambda: studio.log.runs()[1].step == 1)
        return studio

    @pytest.fixture
    def looking(self, studio: RunManager, home: Path) -> ReadOnlyManager:
        return ReadOnlyManager(home)

    def test_sees_what_the_other_one_sees(self, studio: RunManager, looking: ReadOnlyManager, home: Path) -> None:
        assert looking.home == home
        assert looking.log.runs() == studio.log.runs()
        assert looking.log.models() == studio.log.models()
        assert all_there_is(looking) == all_there_is(studio)
        assert looking.trash.entries() == []
        assert looking.recovery_note() is None
        done = looking.log.runs()[-1].id
        assert looking.resume_step(done) == 0

    def test_says_who_has_the_folder(self, looking: ReadOnlyManager, home: Path) -> None:
        assert re.fullmatch(
            rf"Cognate Studio is already running with the data folder {re.escape(str(home))} \(process {os.getpid()}, "
            r"since \d{4}-\d\d-\d\d \d\d:\d\d UTC\)\. Use that one, close it, or choose another folder with "
            r"COGNATE_HOME\.",
            str(looking.read_only),
        )

    def test_every_change_is_known_here(self) -> None:
        public = {name for name in dir(RunManager) if not name.startswith("_") and callable(getattr(RunManager, name))}
        assert public == set(CHANGES) | LOOKS

    def test_refuses_each_change_with_that_sentence(self, studio: RunManager, looking: ReadOnlyManager) -> None:
        def statuses() -> list[str]:
            return [run["runs"][0]["status"] for run in all_there_is(studio)]

        before, sentences = statuses(), dict[str, str]()
        for change, arguments in CHANGES.items():
            with pytest.raises(RunError) as refusal:
                getattr(looking, change)(*arguments)
            sentences[change] = str(refusal.value)
            assert statuses() == before, change
        assert sentences == dict.fromkeys(CHANGES, looking.read_only)

    def test_can_tell_whether_a_run_rests(self, looking: ReadOnlyManager) -> None:
        training, done = looking.log.runs()[1].id, looking.log.runs()[-1].id
        assert looking.wait(done, 0)
        assert not looking.wait(training, 0)

    def test_closing_it_closes_nothing_of_the_other(
        self, studio: RunManager, looking: ReadOnlyManager, patient: PatientTrainer
    ) -> None:
        run_id = studio.log.runs()[1].id
        looking.close()
        assert status_of(studio, run_id) is RunStatus.TRAINING
        patient.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED

    def test_this_processs_manager_only_looks_while_another_has_the_folder(
        self, studio: RunManager, patient: PatientTrainer
    ) -> None:
        looking = runs.current_manager()
        assert isinstance(looking, ReadOnlyManager)
        assert runs.current_manager() is looking
        assert looking.read_only is not None
        with pytest.raises(RunError, match="already running with the data folder"):
            looking.cancel(studio.log.runs()[1].id)
        runs.close_manager()
        patient.let_all_go()
        for run in studio.log.runs():
            end_of(studio, run.id)  # the next one has nothing to take up
        studio.close()
        manager = runs.current_manager()
        assert type(manager) is RunManager
        assert manager.read_only is None

    def test_a_folder_without_a_database_yet_is_told_and_no_traceback(self, home: Path) -> None:
        home.mkdir()
        looking = ReadOnlyManager(home)
        assert str(looking.read_only).startswith(
            f"Cognate Studio is already running with the data folder {home}. Use that one"
        )
