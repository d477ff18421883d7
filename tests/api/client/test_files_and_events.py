"""Files, models that are tried, and events over breaks."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.sync.client import connect

from cognate_core.client import Client
from cognate_core.client import events as client_events
from cognate_core.config import TrainingConfig
from cognate_core.errors import NotFound, StorageError, Unreachable
from cognate_core.runs import RunManager
from tests.api.conftest import model_called


class TestFiles:
    @pytest.fixture
    def model_id(self, manager: RunManager) -> str:
        return model_called(manager, "text")

    def test_a_file_is_saved_and_checked(self, studio: Client, model_id: str, tmp_path: Path) -> None:
        for row in studio.artifacts(model_id):
            file = tmp_path / row["name"]
            studio.download_artifact(model_id, row["kind"], file)
            assert hashlib.sha256(file.read_bytes()).hexdigest() == row["sha256"]
        assert len(list(tmp_path.iterdir())) == len(studio.artifacts(model_id))

    @pytest.mark.parametrize("there", [1, 1000, None], ids=["a byte", "a part", "all"])
    def test_what_is_there_is_not_fetched_again(
        self, studio: Client, model_id: str, tmp_path: Path, sent: list[httpx2.Request], there: int | None
    ) -> None:
        (row,) = [row for row in studio.artifacts(model_id) if row["kind"] == "weights"]
        studio.download_artifact(model_id, "weights", tmp_path / "whole")
        content = (tmp_path / "whole").read_bytes()
        (tmp_path / f"again.{row['sha256'][:16]}.part").write_bytes(content[:there])
        sent.clear()
        studio.download_artifact(model_id, "weights", tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == content
        asked = [request.headers.get("range") for request in sent]
        assert asked == ([None] if there is None else [None, f"bytes={there}-"])

    def test_a_part_that_is_damaged_is_noticed_and_thrown_away(
        self, studio: Client, model_id: str, tmp_path: Path
    ) -> None:
        (row,) = [row for row in studio.artifacts(model_id) if row["kind"] == "weights"]
        part = tmp_path / f"weights.{row['sha256'][:16]}.part"
        part.write_bytes(b"x" * 100)
        with pytest.raises(StorageError, match=r"is damaged: its checksum is wrong\. Download it again\."):
            studio.download_artifact(model_id, "weights", tmp_path / "weights")
        assert list(tmp_path.iterdir()) == []
        studio.download_artifact(model_id, "weights", tmp_path / "weights")

    def test_an_archive_and_a_report_are_whole_or_not_there(
        self, studio: Client, model_id: str, tmp_path: Path
    ) -> None:
        studio.save_archive(model_id, tmp_path / "all.zip")
        assert (tmp_path / "all.zip").read_bytes().startswith(b"PK")
        with pytest.raises(NotFound):
            studio.save_report("gone", tmp_path / "report.html")
        with pytest.raises(StorageError, match="cannot be written"):
            studio.save_archive(model_id, tmp_path / "no folder" / "all.zip")
        assert [path.name for path in tmp_path.iterdir()] == ["all.zip"]

    def test_a_file_of_this_computer_that_is_not_there_is_named(self, studio: Client, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"The file gone.zip cannot be opened \(No such file"):
            studio.open_run_archive(tmp_path / "gone.zip")


class TestTryingModels:
    def test_a_text_comes_in_pieces_and_ends_with_its_figures(self, studio: Client, manager: RunManager) -> None:
        *pieces, end = studio.generate(model_called(manager, "text"), "2 and 2 is", max_tokens=5, seed=1)
        assert sum(len(piece["ids"]) for piece in pieces) == end["tokens"]
        explained = studio.explain(model_called(manager, "text"), "2 and 2 is", [i for p in pieces for i in p["ids"]])
        assert (
            "".join(word["text"] for word in explained["words"] if word["written"]).strip()
            == "".join(piece["text"] for piece in pieces).strip()
        )

    def test_a_text_that_nobody_reads_on_leaves_room_for_others(self, studio: Client, manager: RunManager) -> None:
        for _ in range(4):  # two may be written at once
            pieces = studio.generate(model_called(manager, "text"), "2 and 2 is", max_tokens=200)
            assert next(pieces)
            pieces.close()

    def test_of_the_lab(self, studio: Client, manager: RunManager) -> None:
        lab = model_called(manager, "lab")
        table = studio.table(lab)
        found = studio.calculate(lab, 1, 2)
        assert (found["answer"] == str(found["truth"])) is (table["right"][1][2 - table["first_b"]] == "1")


class TestEvents:
    def test_of_a_run_end_with_it(self, studio: Client, tiny_config: TrainingConfig) -> None:
        run = studio.start("Heard", config=tiny_config.to_toml())
        events = list(studio.events(run["id"]))
        assert events[-1]["type"] == "training_complete"
        assert {event["run_id"] for event in events} == {run["id"]}
        ids = [event["id"] for event in events]
        assert ids == sorted(ids)

    def test_go_on_after_a_break_where_they_were(
        self, studio: Client, manager: RunManager, tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_events, "RECONNECT_SECONDS", (0.01,) * 5)
        broken = list[str]()

        @contextmanager
        def breaking(url: str, **more: Any) -> Iterator[Iterator[Any]]:
            broken.append(url)
            with connect(url, **more) as socket:

                def messages() -> Iterator[Any]:
                    yield next(iter(socket))
                    raise ConnectionResetError("The cable was pulled.")

                yield messages()

        monkeypatch.setattr(client_events, "connect", breaking)
        heard = studio.events(after=manager.broadcast.newest_id)  # it asks when the first is wanted: none gets lost
        run = studio.start("Broken", config=tiny_config.to_toml())
        kinds = list[str]()
        for event in heard:
            if event["run_id"] == run["id"]:
                kinds.append(event["type"])
                if event["type"] == "training_complete":
                    break
        assert "model_completed" in kinds
        assert len(broken) > 2
        assert all("?after=" in url for url in broken[1:])

    def test_of_a_studio_that_is_gone_end_with_a_sentence(
        self, studio: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_events, "RECONNECT_SECONDS", (0.01,) * 3)
        tried = list[str]()

        def refuse(url: str, **_: Any) -> Any:
            tried.append(url)
            raise ConnectionRefusedError("Nobody is there.")

        monkeypatch.setattr(client_events, "connect", refuse)
        with pytest.raises(Unreachable, match="Nothing answers there"):
            next(studio.events())
        assert len(tried) == 4

    def test_of_a_run_that_is_not_there(self, studio: Client) -> None:
        with pytest.raises(NotFound, match="There is no such run"):
            next(studio.events("gone"))


def test_no_part_of_the_client_hides_a_method_of_another() -> None:
    parts = [part for part in Client.__mro__ if part.__module__.startswith("cognate_core.client")]
    names = [name for part in parts for name, value in vars(part).items() if inspect.isfunction(value)]
    twice = {name for name in names if names.count(name) > 1 and not name.startswith("__")}
    assert twice == set()
