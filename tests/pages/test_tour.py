from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

from cognate_core.config import TrainingConfig
from cognate_core.runs import RunManager, close_manager, current_manager
from tests.pages.conftest import open_page, texts

KEY = "cognate-studio/tour"
THREE_STEPS, WATCH, TRY, DONE = "in three steps", "Step 2 of 3", "Step 3 of 3", "That was the tour"


def skip(page: AppTest) -> None:
    next(button for button in page.button if button.label == "Skip the tour").click().run()


def start(studio: RunManager, config: TrainingConfig) -> str:
    """A run that nobody carries out."""
    run_id = studio.log.create_run("r1", "mine", config, ["m"], studio.home, None)
    studio.log.claim(run_id)
    return run_id


def test_a_first_visit_is_led_from_home_to_monitor_and_models(
    trained_studio: RunManager, tiny_config: TrainingConfig
) -> None:
    run = trained_studio.log.runs()[0]
    trained_studio.log.set_coordination(KEY, {"over": False})  # as Home left it, before there was a run
    assert TRY in texts(open_page("monitor", run=run.id))
    page = open_page("models")
    assert TRY in texts(page)
    next(button for button in page.button if button.label == "Write").click().run()
    assert DONE in texts(page)
    page.run()
    assert DONE not in texts(page), "it is said once"
    assert TRY not in texts(open_page("models")), "another browser knows that it is over"


def test_home_shows_the_steps_and_monitor_what_to_look_at(studio: RunManager, tiny_config: TrainingConfig) -> None:
    assert THREE_STEPS in texts(open_page("home"))
    run_id = start(studio, tiny_config)
    assert THREE_STEPS not in texts(open_page("home"))
    assert WATCH in texts(open_page("monitor", run=run_id))


def test_skipping_ends_it_on_every_page_and_after_a_restart(studio: RunManager, tiny_config: TrainingConfig) -> None:
    page = open_page("home")
    skip(page)
    assert THREE_STEPS not in texts(page) and "Start here" in texts(page)
    close_manager()
    studio = current_manager()
    assert THREE_STEPS not in texts(open_page("home"))
    assert WATCH not in texts(open_page("monitor", run=start(studio, tiny_config)))


def test_the_hint_on_monitor_can_be_skipped_too(studio: RunManager, tiny_config: TrainingConfig) -> None:
    open_page("home")
    page = open_page("monitor", run=start(studio, tiny_config))
    skip(page)
    assert WATCH not in texts(page)


def test_who_has_runs_already_is_not_led(trained_studio: RunManager) -> None:
    for name in ("home", "monitor", "models"):
        page = open_page(name)
        assert "of 3" not in texts(page) and THREE_STEPS not in texts(page)


def test_a_studio_that_only_looks_shows_no_guide(tmp_path: Path) -> None:
    owner = RunManager(tmp_path / "home", executor="thread")
    try:
        assert current_manager().read_only
        assert THREE_STEPS not in texts(open_page("home"))
        assert owner.log.coordination(KEY) is None
    finally:
        owner.close()
