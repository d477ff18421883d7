"""Publishing a model on the Hugging Face hub: its known files, without anything of this computer, in one commit.

The token comes only from the environment variable HF_TOKEN, and only the hub's client gets it. It is not saved, logged
or shown, and it is removed from every message of the hub or its client.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cognate_core.config import DATASETS, TrainingConfig
from cognate_core.config.portable import portable_config, without_folders
from cognate_core.contracts import ARTIFACT_FILES
from cognate_core.errors import CognateError, NoHubToken, PublishError
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import TrainedModel

TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105  (its name, not its value)
HOW_TO_SET_IT = (
    f"There is no {TOKEN_VARIABLE}. Create a token with write access at https://huggingface.co/settings/tokens, then "
    f"start the studio with it in the environment variable {TOKEN_VARIABLE}."
)
WHAT_IS_SENT = (
    "The upload contains the weights, the model's shape, its tokenizer, its settings, its training log (with samples "
    "of its held-out text) and its description. It does not contain checkpoints, the memory of conversations, note and "
    "tags, or names of this computer's folders."
)
LICENSES = ("apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0")
"""Some licenses that the hub knows. Without one, nobody may use the model, so its maker should choose."""

_SENDABLE_TOKEN = re.compile(r"[!-~]+")  # what a header can carry


@dataclass(frozen=True, slots=True)
class _File:
    """One file to upload: its name in the repository, and its path or its changed content."""

    name: str
    content: Path | bytes

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def has_token() -> bool:
    """Whether there is a token to publish with."""
    return bool(os.environ.get(TOKEN_VARIABLE, "").strip())


def publish_model(
    reader: ProgressReader,
    store: ArtifactStore,
    model_id: str,
    repo_id: str,
    *,
    private: bool = True,
    license_name: str | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> str:
    """Upload a model to the hub in one commit, and create its repository if needed; returns its address there.

    Args:
        repo_id: "owner/name", or "name" for a repository of the token's owner.
        private: only the owner can see it. An existing public repository is then refused.
        license_name: one of LICENSES, for the description; None: none is named.
        say: gets progress sentences.

    Raises:
        NoHubToken: there is no token, or it cannot be sent.
        PublishError: the hub refuses or cannot be reached.
        RunError: there is no such model.
        StorageError: one of its files is gone.
    """
    token = _token()
    repo_id = repo_id.strip()
    say("Checking the files")
    model = reader.model(model_id)
    files = _files_of(reader, store, model, license_name)
    try:
        return _send(files, token, repo_id, private, model.trained_as, say)
    except CognateError:
        raise
    except Exception as error:  # noqa: BLE001  (the hub's client and its transport raise many unrelated kinds)
        # Without its cause: the client's request contains the token, which must not reach a log.
        raise PublishError(_sentence(error, repo_id).replace(token, "...")) from None


def _token() -> str:
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise NoHubToken(HOW_TO_SET_IT)
    if not _SENDABLE_TOKEN.fullmatch(token):
        raise NoHubToken(f"{TOKEN_VARIABLE} contains characters that no token has. Copy it again.")
    return token


def _send(files: list[_File], token: str, repo_id: str, private: bool, title: str, say: Callable[[str], object]) -> str:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api = HfApi(token=token, library_name="cognate-studio", library_version=version("cognate-studio"))
    say("Asking the hub for the repository")
    repo = api.create_repo(repo_id, private=private, exist_ok=True)
    if private and not api.model_info(repo.repo_id).private:
        raise PublishError(
            f"{repo.repo_id} already exists and is public. Choose another name, make it private on the hub, or publish "
            "for everybody."
        )
    size = sum(file.size for file in files)
    say(f"Uploading {len(files)} files, {size / 1e6:,.1f} MB")
    operations = [
        CommitOperationAdd(file.name, file.content if isinstance(file.content, bytes) else str(file.content))
        for file in files
    ]
    api.create_commit(repo.repo_id, operations, commit_message=f"{title}, trained with Cognate Studio")
    return f"{api.endpoint}/{repo.repo_id}"


def _files_of(
    reader: ProgressReader, store: ArtifactStore, model: TrainedModel, license_name: str | None
) -> list[_File]:
    """The known artifacts, unchanged since training; texts without this computer's folders."""
    files = []
    for row in reader.artifacts(model.id):
        if row["kind"] not in ARTIFACT_FILES:
            continue
        path = store.path(row["path"])
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != row["sha256"]:
                raise PublishError(f"The file {path.name} has changed since training, so the model is not published.")
        name = ARTIFACT_FILES[row["kind"]]
        if row["kind"] == "weights":
            files.append(_File(name, path))
            continue
        text = path.read_text(encoding="utf-8")
        if row["kind"] == "training_config":
            text = portable_config(TrainingConfig.from_toml(text)).to_toml()
        elif row["kind"] == "model_card":
            text = _front_matter(model, license_name) + text
        if row["kind"] != "tokenizer":  # a tokenizer contains no paths
            text = without_folders(text, store.home)
        files.append(_File(name, text.encode()))
    return files


def _front_matter(model: TrainedModel, license_name: str | None) -> str:
    """The metadata of a model card for the hub. JSON strings are valid YAML, so no name is misread."""
    text = "text generation" in model.details["capabilities"]
    datasets = [
        DATASETS[name].id for name in model.details["datasets_used"] if name in DATASETS and DATASETS[name].row_format
    ]
    fields: dict[str, Any] = {
        "license": license_name,
        "library_name": "cognate-studio",
        "pipeline_tag": "text-generation" if text else None,
        "tags": ["cognate-studio", *(["adaptive-computation"] if model.details["act_enabled"] else [])],
        "datasets": datasets,
    }
    lines = [f"{name}: {json.dumps(value)}" for name, value in fields.items() if value]
    return "\n".join(["---", *lines, "---", "", ""])


def _sentence(error: Exception, repo_id: str) -> str:
    """The sentence about `error` for people."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):  # an error of a file being uploaded
        return _sentence(error.__cause__, repo_id)
    if isinstance(error, HFValidationError):  # raised before any request to the hub
        return (
            f"{repo_id[:100]!r} is not a repository name. Type owner/name, only with letters, digits, - _ and . (at "
            "most 96), such as ada/tiny-cognate."
        )
    if isinstance(error, OfflineModeIsEnabled):
        return "Access to the hub is disabled: HF_HUB_OFFLINE is set. Start the studio without it, then publish again."
    if isinstance(error, HfHubHTTPError):
        return _of_status(error.response.status_code, repo_id)
    if isinstance(error, ValueError) and "README.md" in str(error):
        return f"The hub does not accept the model's description: {' '.join(str(error).split())[:300]}"
    if isinstance(error, OSError) or type(error).__module__.startswith(("httpx", "httpcore")):
        return f"The hub cannot be reached ({type(error).__name__}). Check the network, then publish again."
    return f"The hub's answer was not understood ({type(error).__name__}). Try again later."


def _of_status(status: int, repo_id: str) -> str:
    match status:
        case 401:
            return (
                f"The hub does not know the token in {TOKEN_VARIABLE}. Create a new one, then start the studio with it."
            )
        case 402 | 403:
            return (
                f"The token in {TOKEN_VARIABLE} may not write to {repo_id}. Give it write access, or choose a "
                "repository of its owner."
            )
        case 404:
            return f"The hub cannot find {repo_id}, or the token may not see it. Check the owner's name."
        case 409 | 412:
            return f"Somebody else has just changed {repo_id}. Nothing was published; try again."
        case 413:
            return "The hub says that the model is too large for this repository."
        case 429:
            return "The hub has received too many requests. Try again in a few minutes."
        case _ if status >= 500:
            return f"The hub is not working at the moment (status {status}). Try again later."
        case _:
            return f"The hub refused the request (status {status})."
