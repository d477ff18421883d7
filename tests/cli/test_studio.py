"""Commands beside a real studio in a process of its own, started as a person starts it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest

from cognate_core.config import TrainingConfig
from tests.browser.studio import running_studio
from tests.cli.conftest import Cognate
from tests.cli.test_commands import assert_refused


@pytest.mark.slow
def test_a_running_studio_is_asked_by_its_address(
    cognate: Cognate, tmp_path: Path, tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COGNATE_TOKEN", raising=False)  # the one of the data directory is found
    settings = tmp_path / "small.toml"
    settings.write_text(tiny_config.with_overrides({"max_steps": 3}).to_toml(), encoding="utf-8")
    with running_studio(tmp_path / "home") as studio:
        at_it = ("--server", studio.url)
        assert json.loads(cognate(*at_it, "health", "--json").stdout)["read_only"] is False
        assert json.loads(cognate(*at_it, "coordination", "--json").stdout)["address"] == studio.url
        assert_refused(cognate("start", settings), "is already running", f"Or add --server {studio.url}.")
        for words in (("link",), (*at_it, "link")):
            link = cognate(*words).stdout.strip()
            assert link.startswith(f"{studio.url}/login?key=")
            assert [httpx2.get(link).status_code for _ in range(2)] == [303, 401]
        started = cognate(*at_it, "start", settings, "--name", "Asked for")
        assert started.exit_code == 0, started.output
        watched = cognate("watch", started.stdout.strip())  # the studio that is open is found
        assert "Completed." in watched.stderr, watched.output
        (model,) = json.loads(cognate("models", "--json").stdout)
        downloaded = cognate(*at_it, "model", "download", model["id"], "weights", "--to", tmp_path)
        assert (tmp_path / "model.safetensors").is_file(), downloaded.output
        wrong = tmp_path / "elsewhere"
        monkeypatch.setenv("COGNATE_HOME", str(wrong))  # a person who has not this data directory has not its token
        assert_refused(cognate(*at_it, "runs"), "This needs the studio's token")
        assert_refused(cognate(*at_it, "delete", started.stdout.strip()), "This needs the studio's token")
        assert_refused(cognate("link"), "No studio is open on this data folder")
        assert not wrong.exists()
