"""Files of models as other programs fetch them: whole, in parts, checked, and while they are deleted."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cognate_core.api.routes.artifacts import wanted_range
from cognate_core.runs import RunManager
from tests.there import there


@pytest.fixture
def weights(text_model: str) -> str:
    return f"models/{text_model}/artifacts/weights"


@pytest.fixture
def content(trained: RunManager, text_model: str) -> bytes:
    return (trained.weights(text_model)[0] / "model.safetensors").read_bytes()


def test_files_are_listed_with_their_checksums_and_come_whole(client: TestClient, text_model: str) -> None:
    listed = client.get(f"models/{text_model}/artifacts").json()
    kinds = {"weights", "config", "tokenizer", "training_config", "training_log", "model_card"}
    assert {each["kind"] for each in listed} == kinds
    for each in listed:
        answer = client.get(f"models/{text_model}/artifacts/{each['kind']}")
        digest = hashlib.sha256(answer.content)
        assert (answer.status_code, len(answer.content), digest.hexdigest()) == (200, each["bytes"], each["sha256"])
        assert answer.headers["etag"] == f'"{each["sha256"]}"'
        assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
        assert answer.headers["content-disposition"] == f"attachment; filename*=utf-8''{each['name']}"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("0-0", 0, 1),
        ("5-9", 5, 10),
        ("100-", 100, None),
        ("-7", -7, None),
        ("-99999999", 0, None),
        ("3-99999999", 3, None),
    ],
)
def test_a_part_is_given(
    client: TestClient, weights: str, content: bytes, asked: str, first: int, last: int | None
) -> None:
    answer = client.get(weights, headers={"Range": f"bytes={asked}"})
    part = content[first:last]
    begin = first % len(content)
    assert (answer.status_code, answer.content) == (206, part)
    assert answer.headers["content-range"] == f"bytes {begin}-{begin + len(part) - 1}/{len(content)}"
    assert answer.headers["content-length"] == str(len(part))
    head = client.head(weights, headers={"Range": f"bytes={asked}"})
    assert (head.status_code, head.content) == (206, b"")
    assert dict(head.headers) == dict(answer.headers)


@pytest.mark.parametrize("asked", ["bytes={size}-", "bytes={size}-{size}", "bytes=-0", "bytes=999999999-"])
def test_a_part_behind_the_end_is_refused(client: TestClient, weights: str, content: bytes, asked: str) -> None:
    answer = client.get(weights, headers={"Range": asked.format(size=len(content))})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(content)}"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,4-5",
        "bytes=9-3",
        "bytes=x-",
        "bytes=-",
        "items=0-1",
        "bytes=1-2-3",
        "bytes=+1-2",
        "",
        "bytes=" + "0" * 90,
    ],
)
def test_what_names_no_single_part_gives_the_whole(
    client: TestClient, weights: str, content: bytes, asked: str
) -> None:
    for unit in ("bytes", "items"):
        answer = client.get(weights, headers={b"Range": f"{unit}={asked}".encode("latin-1")})
        assert (answer.status_code, answer.content) == (200, content)
        assert "content-range" not in answer.headers


def test_ranges_are_those_of_an_independent_reckoning() -> None:
    for size in (1, 2, 5):
        places = range(size)
        for first in range(7):
            assert list(there(wanted_range(f"bytes={first}-", size))) == [n for n in places if n >= first]
            assert list(there(wanted_range(f"bytes=-{first}", size))) == [n for n in places if n >= size - first]
            for last in range(first, 8):
                assert list(there(wanted_range(f"bytes={first}-{last}", size))) == [
                    n for n in places if first <= n <= last
                ]
    assert list(there(wanted_range("bytes=0-", 0))) == []


def test_a_part_is_given_only_of_the_file_that_is_meant(client: TestClient, weights: str, content: bytes) -> None:
    tag = client.head(weights).headers["etag"]
    part = {"Range": "bytes=4-7"}
    assert client.get(weights, headers={**part, "If-Range": tag}).content == content[4:8]
    for other in ('"other"', f"W/{tag}", "Mon, 23 Nov 2026 09:00:00 GMT"):
        assert client.get(weights, headers={**part, "If-Range": other}).content == content
    for known in (tag, "*", f'"x", W/{tag}'):
        answer = client.get(weights, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
    assert client.get(weights, headers={"If-None-Match": '"x"'}).status_code == 200


def test_head_tells_all_but_the_content(client: TestClient, weights: str, content: bytes) -> None:
    head, got = client.head(weights), client.get(weights)
    assert (head.status_code, head.content) == (200, b"") and dict(head.headers) == dict(got.headers)


def test_a_download_goes_on_where_it_broke_off(client: TestClient, weights: str, content: bytes) -> None:
    begun = client.get(weights, headers={"Range": "bytes=0-999"})
    rest = client.get(weights, headers={"Range": "bytes=1000-", "If-Range": begun.headers["etag"]})
    assert begun.content + rest.content == content


@pytest.mark.parametrize("kind", ["model.safetensors", "checkpoints", "%2e%2e%2fstudio.sqlite", "x" * 2000])
def test_only_known_kinds_have_an_address(client: TestClient, text_model: str, kind: str) -> None:
    answer = client.get(f"models/{text_model}/artifacts/{kind}", follow_redirects=False)
    assert answer.status_code in (307, 404) and b"SQLite" not in answer.content


def test_a_link_in_place_of_a_file_is_not_followed(
    client: TestClient, trained: RunManager, text_model: str, weights: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    path = trained.weights(text_model)[0] / "model.safetensors"
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    answer = client.get(weights)
    assert answer.status_code == 404 and "secret" not in answer.text
    assert client.get(f"models/{text_model}/archive").status_code == 503


def test_a_file_that_was_changed_is_not_given_under_its_old_checksum(
    client: TestClient, trained: RunManager, text_model: str, weights: str
) -> None:
    with (trained.weights(text_model)[0] / "model.safetensors").open("ab") as file:
        file.write(b"more")
    answer = client.get(weights)
    assert answer.status_code == 503 and "has changed since training wrote it" in answer.json()["detail"]


def test_the_archive_holds_what_the_page_gives(client: TestClient, trained: RunManager, text_model: str) -> None:
    answer = client.get(f"models/{text_model}/archive")
    assert answer.headers["content-type"] == "application/zip"
    assert f"cognate-{text_model}.zip" in answer.headers["content-disposition"]
    assert answer.content == trained.store.zip(trained.log.artifacts(text_model))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        for row in trained.log.artifacts(text_model):
            content = archive.read(Path(row["path"]).name)
            assert hashlib.sha256(content).hexdigest() == row["sha256"]


def test_a_download_while_deleting_is_whole_or_not_at_all(
    client: TestClient, trained: RunManager, text_model: str, content: bytes
) -> None:
    whole = {"weights": content, "archive": client.get(f"models/{text_model}/archive").content}
    counts = {200: 0, 404: 0, 503: 0}
    for _ in range(6):
        begin, got = threading.Barrier(3), []

        def download(path: str) -> None:
            begin.wait()  # noqa: B023
            got.append((path, client.get(f"models/{text_model}/{path}")))  # noqa: B023

        threads = [threading.Thread(target=download, args=(path,)) for path in ("artifacts/weights", "archive")]
        for thread in threads:
            thread.start()
        begin.wait()
        trained.delete_model(text_model)
        for thread in threads:
            thread.join()
        for path, answer in got:
            counts[answer.status_code] += 1
            if answer.status_code == 200:
                assert answer.content == whole[path.rpartition("/")[2]]
            else:
                assert (
                    "no longer there" in answer.json()["detail"] or "may have been deleted" in answer.json()["detail"]
                )
        trained.restore(trained.trash.entries()[0].id)
    assert sum(counts.values()) == 12


@pytest.mark.parametrize("path", ["artifacts/weights", "archive"])
def test_what_is_deleted_between_looking_it_up_and_opening_it_is_told(
    client: TestClient, trained: RunManager, text_model: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    looked_up = trained.log.artifacts(text_model)

    def deleted_meanwhile(model_id: str) -> list[dict[str, Any]]:
        monkeypatch.undo()
        trained.delete_model(model_id)
        return looked_up

    monkeypatch.setattr(trained.log, "artifacts", deleted_meanwhile)
    answer = client.get(f"models/{text_model}/{path}")
    assert answer.status_code in (404, 503)
    assert "no longer there" in answer.json()["detail"] or "may have been deleted" in answer.json()["detail"]
    assert trained.trash.entries()


def test_a_download_that_was_begun_stays_whole(trained: RunManager, text_model: str, content: bytes) -> None:
    """Every file is open before the first byte is sent."""
    rows = trained.log.artifacts(text_model)
    pieces = trained.store.zip_pieces(rows)
    begun = next(pieces)
    shutil.rmtree(trained.weights(text_model)[0])
    with zipfile.ZipFile(io.BytesIO(begun + b"".join(pieces))) as archive:
        assert archive.read("model.safetensors") == content and archive.testzip() is None
