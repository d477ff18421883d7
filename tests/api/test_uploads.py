"""Files of people's own, sent to the API."""

from __future__ import annotations

import asyncio
import csv
import io
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from starlette.testclient import TestClient

from cognate_core.api import create_api
from cognate_core.api.requests import Uploads
from cognate_core.api.routes.settings import Settings
from cognate_core.api.routes.uploads import _coming
from cognate_core.api.security import guard
from cognate_core.config import TrainingConfig
from cognate_core.data import uploads
from cognate_core.runs import ReadOnlyManager, RunManager
from tests.faults.hostile import NAMES

ROWS = b"".join(b'{"question": "What is %d + 1?", "answer": "%d"}\n' % (n, n + 1) for n in range(40))
BYTES = {"Content-Type": "application/octet-stream"}
FILES = "/v1/files"


def send(api: TestClient, content: bytes | Iterator[bytes] = ROWS, name: str = "mine.jsonl") -> Any:
    return api.post(FILES, params={"name": name}, content=content, headers=BYTES)


def test_a_file_is_kept_listed_looked_at_and_removed(api: TestClient, studio: RunManager) -> None:
    answer = send(api)
    file = answer.json()
    assert (answer.status_code, file["label"], file["rows"], file["bytes"]) == (201, "mine.jsonl", 40, len(ROWS))
    assert (studio.home / "uploads" / file["name"]).read_bytes() == ROWS
    assert api.get(FILES).json() == {"items": [file], "next": None}
    rows = api.get(f"/v1/datasets/{file['name']}/rows?limit=2").json()
    assert (rows["origin"], rows["training_rows"], rows["heldout_rows"], len(rows["items"])) == ("own file", 38, 2, 2)
    assert api.delete(f"{FILES}/{file['name']}").status_code == 204
    assert api.delete(f"{FILES}/{file['name']}").status_code == 404
    assert api.get(FILES).json()["items"] == [] and list((studio.home / "uploads").iterdir()) == []


def test_columns_that_are_not_read_are_named(api: TestClient) -> None:
    name = send(api, b'[{"id": 1, "text": "one"}, {"id": 2, "text": "two"}]', "a.json").json()["name"]
    assert api.get(f"/v1/datasets/{name}/rows").json()["unused_columns"] == ["id"]


def test_its_owner_says_how_it_is_read(api: TestClient, studio: RunManager) -> None:
    table = "Frage,Antwort\n1+1?,2\n1+2?,3\n".encode("utf-16")
    assert "none of the columns" in send(api, table, "a.csv").json()["detail"]
    columns = {"question": "Frage", "answer": "Antwort"}
    said = {"name": "a.csv", "read_by": ["dataset_columns=question=Frage, answer=Antwort"], "licence": "CC0"}
    file = api.post(FILES, params=said, content=table, headers=BYTES).json()
    assert (file["rows"], file["licence"], file["read_by"]) == (2, "CC0", {"dataset_columns": columns})
    rows = api.get(f"/v1/datasets/{file['name']}/rows").json()
    assert rows["items"][0]["prompt"].startswith("Problem: 1+")
    assert send(api, table, "again.csv").json()["read_by"] == {"dataset_columns": columns}, "it stays"
    of_studio = Uploads(studio.home / "uploads", any_other=False)
    asked = {"dataset_path": file["name"]}
    assert Settings.model_validate({"settings": asked}).to_config(of_studio).dataset_columns == columns
    other = {"text": "Frage"}
    assert (
        Settings.model_validate({"settings": {**asked, "dataset_columns": other}}).to_config(of_studio).dataset_columns
        == other
    )


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("seed=3", "Only dataset_columns, text_rows, text_encoding can be set for a file."),
        ("text_encoding=klingon", "There is no encoding 'klingon'."),
        ("dataset_columns=question=x", "Choose columns for question and answer"),
        ("text_rows=pages", "Rows of plain text must be"),
    ],
)
def test_what_says_nothing_of_reading_is_refused(api: TestClient, studio: RunManager, said: str, sentence: str) -> None:
    answer = api.post(FILES, params={"name": "a.jsonl", "read_by": [said]}, content=ROWS, headers=BYTES)
    assert answer.status_code == 422 and sentence in answer.text
    assert not (studio.home / "uploads").exists() or not list((studio.home / "uploads").iterdir())


def test_it_comes_in_pieces_and_the_same_content_is_one_file(api: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for first in range(0, len(ROWS), 100):
            yield ROWS[first : first + 100]

    first, second = send(api, pieces(), "a.jsonl").json(), send(api, name="b.jsonl").json()
    assert first["name"] == second["name"]
    assert [file["label"] for file in api.get(FILES).json()["items"]] == ["b.jsonl"]


def test_many_are_listed_page_by_page(api: TestClient) -> None:
    for number in range(3):
        send(api, ROWS + b"\n" * number)
    listed: list[dict[str, Any]] = []
    after = ""
    while after is not None:
        page = api.get(FILES, params={"limit": 2, **({"after": after} if after else {})}).json()
        listed, after = [*listed, *page["items"]], page["next"]
    assert len({file["name"] for file in listed}) == len(listed) == 3
    assert [file["kept_at"] for file in listed] == sorted((file["kept_at"] for file in listed), reverse=True)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b"", "The file is empty"),
        ("a.csv", b"x,y\n1,2\n3,4\n", "none of the columns"),
        ("a.parquet", b"not parquet", "not a readable Parquet file"),
        ("a.jsonl", ROWS[:45], "at least two"),
        ("a.exe", ROWS, "its name must end in .jsonl"),
        ("..", ROWS, "its name must end in .jsonl"),
    ],
)
def test_what_cannot_be_used_gets_the_sentence_of_the_page_and_is_not_kept(
    api: TestClient, studio: RunManager, name: str, content: bytes, sentence: str
) -> None:
    answer = send(api, content, name)
    assert answer.status_code == 422 and sentence in answer.json()["detail"]
    assert str(studio.home) not in answer.text
    assert not any((studio.home / "uploads").glob("*"))


def test_what_is_too_large_is_refused_before_it_is_whole(
    api: TestClient, studio: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 2 << 20)
    sent = []

    def endless() -> Iterator[bytes]:
        for number in range(100):
            sent.append(number)
            yield b"x" * 100_000

    answer = send(api, endless())
    assert answer.status_code == 422 and "larger than 2 MB" in answer.json()["detail"]
    assert list((studio.home / "uploads").iterdir()) == []


def test_a_file_whose_reading_breaks_is_not_kept(studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*_: object, **__: object) -> NoReturn:
        raise OverflowError("as a reader may, unexpectedly")

    monkeypatch.setattr(uploads, "own_file_source", break_off)
    with pytest.raises(OverflowError):
        uploads.keep("a.jsonl", [b"rows"], studio.home)
    assert list((studio.home / "uploads").iterdir()) == []


def test_the_api_takes_what_pages_take_and_more() -> None:
    config = tomllib.loads((Path(__file__).parents[2] / ".streamlit/config.toml").read_text(encoding="utf-8"))
    assert config["server"]["maxUploadSize"] <= guard.MOST_FILE_BYTES >> 20, "Streamlit counts in MiB"
    assert uploads.MOST_BYTES <= guard.MOST_FILE_BYTES


def test_a_file_that_does_not_come_whole_is_not_kept(studio: RunManager) -> None:
    app = create_api(lambda: studio)
    messages = iter(
        [{"type": "http.request", "body": ROWS, "more_body": True}, *[{"type": "http.disconnect"} for _ in range(9)]]
    )
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": FILES,
        "raw_path": FILES.encode(),
        "query_string": b"name=a.jsonl",
        "headers": [(b"content-type", b"application/octet-stream")],
    }
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 422
    assert list((studio.home / "uploads").iterdir()) == []


def test_hostile_names_are_labels_and_never_paths(api: TestClient, studio: RunManager, tmp_path: Path) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["question", "answer"], *[[f"What is {n}?", n] for n in range(5)]])
    content = text.getvalue().encode()
    before = {path for path in tmp_path.rglob("*") if "uploads" not in path.parts}
    for name in NAMES:
        for called in (name[:190], f"{name[:190]}.csv"):
            called = called.encode(errors="replace").decode()
            answer = send(api, content, called)
            assert answer.status_code in (201, 422), ascii(called)
            if answer.status_code == 201:
                assert answer.json()["label"] == called
    assert {path for path in tmp_path.rglob("*") if "uploads" not in path.parts} == before
    assert len(list((studio.home / "uploads").iterdir())) == 2, "one content, one file, and its note"


@pytest.mark.parametrize(
    "name", ["..%2fstudio.sqlite", "%2e%2e", "f" * 32 + ".csv", "f" * 32 + ".csv%00", "x" * 65, "*"]
)
def test_no_other_file_is_removed(api: TestClient, studio: RunManager, name: str) -> None:
    kept = send(api).json()["name"]
    for address in (f"{FILES}/{name}", f"{FILES}/{kept}.about", f"{FILES}/{kept[:-1]}"):
        assert api.delete(address).status_code in (404, 405, 422)
    assert api.get(f"/v1/datasets/{name}/rows").status_code in (404, 422)
    assert len(api.get(FILES).json()["items"]) == 1 and (studio.home / "studio.sqlite").exists()


def test_a_file_that_a_run_needs_stays(api: TestClient, studio: RunManager, tiny_config: TrainingConfig) -> None:
    name = send(api).json()["name"]
    config = tiny_config.with_overrides({"dataset_path": str(studio.home / "uploads" / name)})
    studio.log.create_run("r1", "my run", config, ["m"], studio.home / "runs" / "r1", None)
    answer = api.delete(f"{FILES}/{name}")
    assert answer.status_code == 409 and "my run" in answer.json()["detail"]
    assert len(api.get(FILES).json()["items"]) == 1


def test_only_two_come_in_at_once(api: TestClient) -> None:
    with _coming.taken(), _coming.taken():
        assert send(api).status_code == 429
    assert send(api).status_code == 201


def test_one_that_cannot_be_removed_is_told_and_stays(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    name = send(api).json()["name"]

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        answer = api.delete(f"{FILES}/{name}")
    sentence = "mine.jsonl could not be removed (Permission denied)."
    assert (answer.status_code, answer.json()["detail"]) == (503, sentence)
    assert api.delete(f"{FILES}/{name}").status_code == 204


def test_who_only_looks_keeps_and_removes_nothing(api: TestClient, studio: RunManager) -> None:
    name = send(api).json()["name"]
    looking = TestClient(create_api(lambda: ReadOnlyManager(studio.home)))
    for answer in (send(looking, ROWS + b"\n"), looking.delete(f"{FILES}/{name}")):
        assert answer.status_code == 409 and "already running" in answer.json()["detail"]
    assert looking.post("/v1/datasets/Synthetic/fetch", json={}).status_code == 409
    assert [file["name"] for file in looking.get(FILES).json()["items"]] == [name]
