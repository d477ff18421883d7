"""The artifact store: whole files, and nothing outside the data folder is read or packed."""

import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cognate_core.errors import StorageError
from cognate_core.storage.artifacts import ArtifactStore

CONTENTS = {"weights": b"\x00\xff" * 70_000, "config": b'{"d_model": 16}', "log": b""}
FILES = {"weights": "model.safetensors", "config": "config.json", "log": "training_log.jsonl"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def store(home: Path) -> ArtifactStore:
    return ArtifactStore(home)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that is none of the studio's business."""
    path = tmp_path / "outside" / "secret.txt"
    path.parent.mkdir()
    path.write_text("a secret")
    return path


@pytest.fixture
def model(home: Path) -> dict[str, str]:
    """A model's files, kind -> path, as a trainer gives them."""
    folder = home / "runs" / "run1" / "my-model"
    folder.mkdir(parents=True)
    for kind, name in FILES.items():
        (folder / name).write_bytes(CONTENTS[kind])
    return {kind: str(folder / name) for kind, name in FILES.items()}


def rows(*paths: str) -> list[dict[str, Any]]:
    return [{"kind": f"kind {number}", "path": path} for number, path in enumerate(paths)]


class TestDescribe:
    def test_each_file_with_its_size_and_checksum_relative_to_home(
        self, store: ArtifactStore, model: dict[str, str]
    ) -> None:
        assert store.describe(model) == [
            {
                "kind": kind,
                "path": f"runs/run1/my-model/{FILES[kind]}",
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            for kind, content in CONTENTS.items()
        ]

    def test_the_paths_hold_after_the_data_folder_was_moved(
        self, store: ArtifactStore, home: Path, model: dict[str, str], tmp_path: Path
    ) -> None:
        described = store.describe(model)
        moved = ArtifactStore(home.rename(tmp_path / "elsewhere"))
        assert [moved.path(row["path"]).read_bytes() for row in described] == list(CONTENTS.values())

    def test_refuses_all_when_one_is_missing(self, store: ArtifactStore, model: dict[str, str]) -> None:
        Path(model["config"]).unlink()
        with pytest.raises(StorageError, match=r"config\.json.? is no longer there"):
            store.describe(model)

    def test_a_home_below_a_link_is_the_same_home(self, tmp_path: Path, home: Path, model: dict[str, str]) -> None:
        (tmp_path / "link").symlink_to(home)
        store = ArtifactStore(tmp_path / "link")
        assert [row["path"] for row in store.describe(model)] == [
            f"runs/run1/my-model/{name}" for name in FILES.values()
        ]


class TestPath:
    def test_relative_and_absolute_names_mean_the_same_file(self, store: ArtifactStore, model: dict[str, str]) -> None:
        relative = store.path("runs/run1/my-model/config.json")
        assert relative == store.path(model["config"]) == Path(model["config"])

    @pytest.mark.parametrize("name", ["../outside/secret.txt", "runs/../../outside/secret.txt", "/etc/hostname"])
    def test_refuses_what_lies_outside(self, store: ArtifactStore, outside: Path, home: Path, name: str) -> None:
        (home / "runs").mkdir()
        with pytest.raises(StorageError, match="is outside the studio's data folder and is not opened"):
            store.path(name)

    def test_refuses_an_absolute_name_outside(self, store: ArtifactStore, outside: Path) -> None:
        with pytest.raises(StorageError, match=r"secret\.txt is outside"):
            store.path(str(outside))

    def test_refuses_a_folder_beside_home_that_begins_like_it(self, store: ArtifactStore, home: Path) -> None:
        beside = home.with_name("home-2")
        beside.mkdir()
        (beside / "file").write_text("")
        with pytest.raises(StorageError, match="is outside"):
            store.path("../home-2/file")

    @pytest.mark.parametrize("target", ["inside", "outside", "itself", "nothing"])
    def test_refuses_a_symbolic_link(
        self, store: ArtifactStore, home: Path, outside: Path, model: dict[str, str], target: str
    ) -> None:
        link = home / "link"
        targets: dict[str, str | Path] = {
            "inside": model["config"],
            "outside": outside,
            "itself": "link",
            "nothing": home / "gone",
        }
        link.symlink_to(targets[target])
        with pytest.raises(
            StorageError,
            match=r"link is outside the studio's data folder and is not opened|link.? is no longer there",
        ):
            store.path("link")

    def test_refuses_a_file_below_a_link_to_outside(self, store: ArtifactStore, home: Path, outside: Path) -> None:
        (home / "folder").symlink_to(outside.parent)
        with pytest.raises(StorageError, match="is outside"):
            store.path("folder/secret.txt")

    @pytest.mark.parametrize("name", ["", ".", "runs", "gone.bin", "runs/run1/my-model/config.json/x"])
    def test_refuses_what_is_no_file(self, store: ArtifactStore, model: dict[str, str], name: str) -> None:
        with pytest.raises(StorageError, match="no longer there"):
            store.path(name)

    @pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "../" * 2000, "\ud800"], ids=["NUL", "long", "deep", "half"])
    def test_refuses_a_name_that_no_file_can_have(self, store: ArtifactStore, name: str) -> None:
        with pytest.raises(StorageError, match=r"no longer there|is outside|cannot be there"):
            store.path(name)


class TestZip:
    def unpacked(self, archive: bytes) -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            assert opened.testzip() is None
            return {name: opened.read(name) for name in opened.namelist()}

    def test_holds_every_file_byte_for_byte_without_folders(self, store: ArtifactStore, model: dict[str, str]) -> None:
        archive = store.zip(store.describe(model))
        assert self.unpacked(archive) == {FILES[kind]: content for kind, content in CONTENTS.items()}

    def test_holds_files_from_before_1980_too(self, store: ArtifactStore, model: dict[str, str]) -> None:
        # A small computer without a battery believes that it is 1970 until it has reached a time server.
        for path in model.values():
            os.utime(path, (0, 0))
        assert len(self.unpacked(store.zip(store.describe(model)))) == len(FILES)

    def test_refuses_all_when_one_is_missing_or_outside(
        self, store: ArtifactStore, outside: Path, model: dict[str, str]
    ) -> None:
        described = store.describe(model)
        with pytest.raises(StorageError, match="is outside"):
            store.zip([*described, *rows("../outside/secret.txt")])
        Path(model["weights"]).unlink()
        with pytest.raises(StorageError, match=r"model\.safetensors.? is no longer there"):
            store.zip(described)
