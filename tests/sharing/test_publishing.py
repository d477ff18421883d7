"""Publishing: the hub gets exactly the known files, nothing of this computer, and the token is seen nowhere.

The hub is a real HTTP server on this computer (tests/hub.py), asked by the real client in a process of its own. Large
files go through LFS: the Xet protocol, which the client prefers, is switched off by HF_HUB_DISABLE_XET.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cognate_core.config import TrainingConfig
from cognate_core.contracts import ARTIFACT_FILES, MEMORY_FILE, Event, ModelArtifacts, utc_now
from cognate_core.contracts.json_lines import record_to_json
from cognate_core.errors import PublishError, RunError, StorageError
from cognate_core.files import write_durably
from cognate_core.sharing import publishing
from cognate_core.sharing.publishing import LICENSES, publish_model
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_log import ProgressLog
from tests.hub import TOKEN, HubServer, publishing_hub
from tests.waiting import LONG

ROOT = Path(__file__).parents[1]
WEIGHTS = bytes(range(256)) * 200  # 51,200 bytes: six parts of 10,000

SCRIPT = """
import json, logging, sys, time
time.sleep = lambda seconds: None  # between the client's own tries
logging.basicConfig(level=logging.DEBUG, filename=sys.argv[2])
from pathlib import Path
from cognate_core.errors import CognateError, plain_sentence
from cognate_core.sharing.publishing import publish_model
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_reader import ProgressReader

home, found = Path(sys.argv[1]), []
for repo_id, options in json.loads(sys.argv[3]):
    said = []
    try:
        address = publish_model(
            ProgressReader(home / "studio.sqlite"), ArtifactStore(home), "model1", repo_id, say=said.append, **options
        )
        found.append({"address": address, "said": said, "error": ""})
    except CognateError as error:
        logging.exception("as a page would log it")
        found.append({"address": None, "said": said, "error": plain_sentence(error)})
print(json.dumps(found))
"""


@dataclass
class Published:
    """A data directory with one model, whose files are what is published."""

    home: Path
    log: ProgressLog

    @property
    def folder(self) -> Path:
        return self.home / "runs" / "run1" / "tiny"

    def publish(self, address: str, *asked: tuple[str, dict[str, Any]], **environment: str) -> list[dict[str, Any]]:
        """What came of each request, (repository, options), from one process."""
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(self.home), str(self.home.parent / "debug.log"), json.dumps(asked)],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
                **{"HF_ENDPOINT": address, "HF_HOME": str(self.home.parent / "hf"), "HF_HUB_DISABLE_XET": "1"},
                **{"NO_PROXY": "127.0.0.1", "HF_TOKEN": TOKEN},
                **environment,
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert TOKEN not in done.stdout + done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
        return found


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Published]:
    with one_model(tmp_path) as published:
        yield published


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with publishing_hub() as server:
        yield server


@contextmanager
def one_model(tmp_path: Path) -> Iterator[Published]:
    home = tmp_path / "home"
    home.mkdir()
    log = ProgressLog(home / "studio.sqlite")
    published = Published(home, log)
    folder = published.folder
    (folder / "checkpoints" / "step-00000002").mkdir(parents=True)
    config = TrainingConfig(
        output_dir=str(folder.parent), dataset_path=str(home / "uploads" / "0ab1.jsonl"), act_enabled=True
    )
    log.create_run("run1", "Tiny", config, ["tiny"], folder.parent, None)
    event = Event("warning", f"{folder}/checkpoints/step-00000002 is damaged, as {Path.home()}/mine.txt", "tiny", 2)
    contents = {
        "weights": WEIGHTS,
        "config": b'{"d_model": 16}\n',
        "tokenizer": json.dumps({"model": {"vocab": {str(home): 1}}}).encode(),
        "training_config": config.to_toml().encode(),
        "training_log": (json.dumps(record_to_json(event)) + "\n").encode(),
        "model_card": b"# tiny\n\nFigures.\n",
    }
    for kind, content in contents.items():
        write_durably(folder / ARTIFACT_FILES[kind], content)
    for other in (MEMORY_FILE, "accuracy.json", "metrics.csv", "checkpoints/step-00000002/weights.safetensors"):
        write_durably(folder / other, b"private")
    model = ModelArtifacts(
        model_id="model1",
        model_name="tiny",
        phase_name="Model Training",
        parameter_count=25,
        created_at=utc_now(),
        training_status="completed",
        focus="GSM8K",
        training_mode="GrokFast",
        datasets_used=["GSM8K", "Own file"],
        training_stats={},
        grokfast_enabled=True,
        act_enabled=True,
        ltm_enabled=False,
        artifacts={kind: str(folder / ARTIFACT_FILES[kind]) for kind in contents},
        capabilities=["text generation"],
    )
    log.add_model("run1", model, ArtifactStore(home).describe(model.artifacts))
    log.describe_model("model1", title="My ] : # model", note="a private note", tags=["private tag"])
    yield published
    log.close()


@dataclass
class Outcome:
    """What one process published, and what the hub has of it."""

    published: Published
    hub: HubServer
    found: dict[str, dict[str, Any]]

    def texts(self, repo: str) -> dict[str, str]:
        return {
            path: content.decode()
            for (of, path), content in self.hub.files.items()
            if of == repo and not path.endswith(".safetensors")
        }


REQUESTS: dict[str, dict[str, Any]] = {
    "ada/whole": {"license_name": "apache-2.0"},
    "ada/in-parts": {"private": False},
    "tiny": {},
    "ada/tiny": {},  # the same once more
    "ada/create-403": {},
    "ada/commit-500": {},
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    with one_model(tmp_path_factory.mktemp("publishing")) as published, publishing_hub() as hub:
        found = published.publish(hub.address, *REQUESTS.items())
        yield Outcome(published, hub, dict(zip(REQUESTS, found, strict=True)))


def test_the_hub_gets_exactly_the_known_files(outcome: Outcome) -> None:
    hub, whole = outcome.hub, outcome.found["ada/whole"]
    assert (whole["error"], outcome.found["ada/in-parts"]["error"]) == ("", "")
    assert whole["address"] == f"{hub.address}/ada/whole"
    assert whole["said"][0] == "Checking the files"
    assert whole["said"][-1].startswith("Uploading 6 files, 0.1 MB")
    assert hub.private["ada/whole"] and not hub.private["ada/in-parts"]
    assert hub.commits.count("ada/whole") == hub.commits.count("ada/in-parts") == 1
    for repo in ("ada/whole", "ada/in-parts"):
        got = {path: content for (of, path), content in hub.files.items() if of == repo}
        assert set(got) == set(ARTIFACT_FILES.values())
        for kind in ("weights", "config", "tokenizer"):
            assert got[ARTIFACT_FILES[kind]] == (outcome.published.folder / ARTIFACT_FILES[kind]).read_bytes()
    assert len(hub.parts) == 6
    assert hub.leaks == [], "the token goes to the hub alone, not to the store of large files"


def test_nothing_of_this_computer_is_sent(outcome: Outcome) -> None:
    got = outcome.texts("ada/whole")
    for path, text in got.items():
        if path != "tokenizer.json":  # its words are the model's
            assert str(outcome.published.home) not in text
            assert f"{Path.home()}/" not in text
        assert "private" not in text
    assert outcome.hub.messages[0] == "tiny, trained with Cognate Studio", "not what a person calls it since"
    settings = tomllib.loads(got["training_config.toml"])
    assert settings["output_dir"] == TrainingConfig().output_dir
    assert settings["dataset_path"] == "0ab1.jsonl"
    assert json.loads(got["training_log.jsonl"])["message"].startswith("runs/run1/tiny/checkpoints/step-00000002 is")


def test_the_description_begins_with_what_the_hub_reads(outcome: Outcome) -> None:
    card = outcome.texts("ada/whole")["README.md"]
    head, _, body = card.removeprefix("---\n").partition("---\n")
    assert yaml.safe_load(head) == {
        "license": "apache-2.0",
        "library_name": "cognate-studio",
        "pipeline_tag": "text-generation",
        "tags": ["cognate-studio", "adaptive-computation"],
        "datasets": ["openai/gsm8k"],
    }
    assert body == "\n# tiny\n\nFigures.\n"
    assert "license" not in yaml.safe_load(outcome.texts("ada/tiny")["README.md"].split("---")[1])


def test_the_token_is_seen_nowhere(outcome: Outcome) -> None:
    """Also when the hub itself says it back, and with every log switched on."""
    assert outcome.found["ada/create-403"]["error"] and outcome.found["ada/commit-500"]["error"]
    assert TOKEN not in json.dumps(outcome.found)
    outcome.published.log.raise_refused("run1")
    files = [path for path in outcome.published.home.parent.rglob("*") if path.is_file()]
    assert any(path.name == "debug.log" and path.stat().st_size > 1000 for path in files)
    assert [str(path) for path in files if TOKEN.encode() in path.read_bytes()] == []
    assert [path for (_, path), content in outcome.hub.files.items() if TOKEN.encode() in content] == []


def test_publishing_again_changes_what_is_there(outcome: Outcome) -> None:
    """A name alone is of the owner of the token."""
    assert outcome.found["tiny"]["address"] == outcome.found["ada/tiny"]["address"] == f"{outcome.hub.address}/ada/tiny"
    assert outcome.hub.commits.count("ada/tiny") == 2


FAULTS = {
    "ada/create-401": "does not know the token in HF_TOKEN",
    "ada/create-403": "may not write to ada/create-403",
    "ada/create-404": "cannot find ada/create-404",
    "ada/create-429": "too many requests",
    "ada/create-503": "not working at the moment (status 503)",
    "ada/create-418": "refused the request (status 418)",
    "ada/commit-403": "may not write to ada/commit-403",
    "ada/commit-412": "Somebody else has just changed",
    "ada/commit-429": "too many requests",
    "ada/public": "is public",
    "no good/name": "'no good/name' is not a repository name",
    "a/b/c": "is not a repository name",
    "../etc": "is not a repository name",
    "": "is not a repository name",
}


def test_each_refusal_is_a_sentence(published: Published, hub: HubServer) -> None:
    found = published.publish(hub.address, *((repo, {}) for repo in FAULTS))
    for (repo, words), each in zip(FAULTS.items(), found, strict=True):
        assert words in each["error"], repo
        assert re.fullmatch(r"[^\n]*\.", each["error"])
        assert each["address"] is None
    assert hub.commits == [] and hub.files == {}


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"HF_TOKEN": ""}, "There is no HF_TOKEN"),
        ({"HF_TOKEN": "hf_other"}, "does not know the token"),
        ({"HF_TOKEN": "hf_grün\n"}, "contains characters that no token has"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_what_stands_in_the_way_here_is_a_sentence(
    published: Published, hub: HubServer, environment: dict[str, str], words: str
) -> None:
    (found,) = published.publish(hub.address, ("ada/mine", {}), **environment)
    assert words in found["error"]
    assert hub.files == {}


def test_a_large_file_that_does_not_come_through_is_told(published: Published, hub: HubServer) -> None:
    hub.store_status = 403
    (found,) = published.publish(hub.address, ("ada/mine", {}))
    assert "may not write to ada/mine" in found["error"]
    assert hub.commits == []


def test_a_token_that_was_saved_elsewhere_is_not_taken(published: Published, hub: HubServer) -> None:
    saved = published.home.parent / "hf" / "token"
    saved.parent.mkdir()
    saved.write_text("hf_saved")
    (found,) = published.publish(hub.address, ("ada/mine", {}), HF_TOKEN="")
    assert found["error"] == publishing.HOW_TO_SET_IT
    assert hub.asked == []


def test_a_changed_or_missing_file_is_not_published(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    store = ArtifactStore(published.home)
    (published.folder / "config.json").write_bytes(b"{}")
    with pytest.raises(PublishError, match=r"config\.json has changed since training"):
        publish_model(published.log, store, "model1", "ada/mine")
    (published.folder / "config.json").unlink()
    with pytest.raises(StorageError, match="no longer there"):
        publish_model(published.log, store, "model1", "ada/mine")
    with pytest.raises(RunError, match="no such model"):
        publish_model(published.log, store, "gone", "ada/mine")


def test_the_licenses_are_known_to_the_hub() -> None:
    assert all(re.fullmatch(r"[a-z0-9.-]+", name) for name in LICENSES)
