"""Models tried by other programs: text as it is written, how it came about, and answers of the lab's models."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from cognate_core.api.streams import Stream, working
from cognate_core.config import TrainingConfig
from cognate_core.contracts import MEMORY_FILE
from cognate_core.inference.calculator import Calculator
from cognate_core.inference.playground import Playground, problem_prompt
from cognate_core.runs import RunManager
from tests.browser.studio import running_studio
from tests.waiting import LONG, until

pytestmark = pytest.mark.usefixtures("one_thread")
MANY = 200  # tokens
PROMPT = "Maria has 12 apples."


@pytest.fixture
def write(text_model: str) -> str:
    return f"models/{text_model}/generate"


def events(text: str) -> list[dict[str, Any]]:
    """The events of a whole answer."""
    *lines, rest = text.split("\n\n")
    assert rest == "" and all(line.startswith("data: ") and "\n" not in line for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def written(told: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in told[:-1])


def test_it_writes_what_the_playground_writes(
    client: TestClient, trained: RunManager, text_model: str, write: str
) -> None:
    asked = {"prompt": PROMPT, "max_tokens": 30, "temperature": 1.2, "top_p": 0.95, "seed": 3}
    answer = client.post(write, json=asked)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    told = events(answer.text)
    player = Playground.from_folder(trained.weights(text_model)[0])
    pieces = list(player.stream(PROMPT, max_new_tokens=30, temperature=1.2, top_p=0.95, seed=3))
    assert [(event["text"], tuple(event["ids"])) for event in told[:-1]] == [(x.text, x.ids) for x in pieces] != []
    end = told[-1]
    assert end["done"] is True and end["tokens"] == sum(len(x.ids) for x in pieces) and end["seconds"] >= 0
    assert end["ended_by"] == ("max_tokens" if end["tokens"] == 30 else "model")


def test_it_asks_as_the_page_does_and_goes_back_to_a_checkpoint(
    client: TestClient, trained: RunManager, text_model: str, write: str
) -> None:
    asked = {"prompt": PROMPT, "as_problem": True, "max_tokens": 30, "temperature": 1.5, "top_p": 1, "seed": 1}
    folder = trained.weights(text_model)[0]
    for step, player in ((2, Playground.from_checkpoint(folder, 2)), (4, Playground.from_folder(folder))):
        expected = player.stream(problem_prompt(PROMPT), max_new_tokens=30, temperature=1.5, top_p=1.0, seed=1)
        told = events(client.post(write, json={**asked, "checkpoint_step": step}).text)
        assert written(told) == "".join(piece.text for piece in expected)
    answer = client.post(write, json={**asked, "checkpoint_step": 3})
    assert answer.status_code == 404 and "step 3 is no longer there" in answer.json()["detail"]


def test_requests_at_once_do_not_mix(client: TestClient, write: str) -> None:
    asked = [{"prompt": f"{name} has", "max_tokens": 60, "temperature": 1.5, "seed": 1} for name in ("Maria", "Tom")]
    alone = [written(events(client.post(write, json=each).text)) for each in asked]
    assert alone[0] != alone[1]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(4):
            together = pool.map(lambda each: written(events(client.post(write, json=each).text)), asked)
            assert list(together) == alone


def test_no_memory_is_read_or_kept(client: TestClient, trained: RunManager, text_model: str, write: str) -> None:
    memory = trained.weights(text_model)[0] / MEMORY_FILE
    first = written(events(client.post(write, json={"prompt": PROMPT}).text))
    memory.write_bytes(b"what the page keeps")
    assert written(events(client.post(write, json={"prompt": PROMPT}).text)) == first
    assert memory.read_bytes() == b"what the page keeps"


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": ""},
        {"prompt": " \n"},
        {"prompt": "x" * 4001},
        {"prompt": None},
        {"max_tokens": 0},
        {"max_tokens": 2001},
        {"temperature": -0.1},
        {"temperature": 2.1},
        {"temperature": 1e-9},
        {"top_p": 1.1},
        {"top_p": -1},
        {"seed": -1},
        {"seed": 2**31},
        {"checkpoint_step": -1},
        {"memory": True},
    ],
)
def test_what_is_asked_has_bounds(client: TestClient, write: str, wrong: dict[str, Any]) -> None:
    answer = client.post(write, json={"prompt": PROMPT, **wrong})
    assert answer.status_code == 422 and next(iter(wrong)) in answer.json()["problems"]
    assert "Value error" not in answer.text


@pytest.mark.parametrize("more", [0, 1, 50])
def test_what_is_not_read_of_a_long_prompt_is_told(
    client: TestClient, trained: RunManager, text_model: str, write: str, more: int
) -> None:
    player = Playground.from_folder(trained.weights(text_model)[0])
    limit = player.model.config.max_seq_len
    prompt = next(text for n in range(1, 4000) if len(player.tokenizer.encode(text := "7 " * n).ids) >= limit + more)
    longer = len(player.tokenizer.encode(prompt).ids) - limit
    told = events(client.post(write, json={"prompt": prompt, "max_tokens": 1}).text)
    assert told[-1]["unread_tokens"] == longer >= more


@pytest.mark.parametrize("edge", [{"temperature": 0}, {"temperature": 0.01}, {"temperature": 2}, {"top_p": 0}])
def test_the_edges_of_what_may_be_asked_are_answered(client: TestClient, write: str, edge: dict[str, Any]) -> None:
    told = events(client.post(write, json={"prompt": PROMPT, "max_tokens": 5, **edge}).text)
    assert told[-1]["done"] is True


def test_a_text_in_which_something_went_wrong_says_so(
    client: TestClient, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Iterator[object]:
        yield from ()
        raise MemoryError

    monkeypatch.setattr(Playground, "stream", broken)
    (told,) = events(client.post(write, json={"prompt": PROMPT}).text)
    assert "ran out of memory" in told["problem"]


def test_only_two_texts_are_written_at_once(client: TestClient, text_model: str, lab_model: str, write: str) -> None:
    paths = {
        write: {"prompt": "x"},
        f"models/{text_model}/explain": {"prompt": "x"},
        f"models/{lab_model}/calculate": {"a": 1, "b": 1},
    }
    with working.taken(), working.taken():
        for path, body in paths.items():
            answer = client.post(path, json=body)
            assert answer.status_code == 429 and "Try again" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) > 0
        assert client.get(f"models/{lab_model}/table").status_code == 429
    for _ in range(3):  # whatever is refused or fails gives its place back
        assert client.post(write, json={"prompt": "x", "max_tokens": 1}).status_code == 200
        assert client.post(f"models/{text_model}/explain", json={"prompt": "x", "written": [9999]}).status_code == 422


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
def test_a_client_that_hangs_up_ends_the_work_within_a_piece(spec_version: str) -> None:
    """Either way in which a server tells of it: by a message, or by refusing what is sent."""
    made, sent = [], []
    hung_up, ended = threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        for number in range(1000):
            made.append(number)
            if number == 3:
                assert hung_up.wait(LONG)
            yield b"x"

    async def hang_up_after_three() -> None:
        third = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await third.wait()
            hung_up.set()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            if third.is_set() and spec_version == "2.4":
                raise OSError
            sent.append(message)
            if len(sent) == 4:  # the head, and three pieces
                third.set()
                if spec_version == "2.4":  # nobody waits for a message
                    hung_up.set()

        stream = Stream(pieces(), ended.set, status=200, headers={}, kind="text/event-stream")
        await stream({"type": "http", "asgi": {"spec_version": spec_version}}, receive, send)

    asyncio.run(hang_up_after_three())
    assert ended.is_set() and len(made) <= 5


def test_each_word_is_explained_as_the_lens_shows_it(
    client: TestClient, trained: RunManager, text_model: str, write: str
) -> None:
    told = events(client.post(write, json={"prompt": PROMPT, "max_tokens": 40, "temperature": 1.0}).text)
    ids = [token for event in told[:-1] for token in event["ids"]]
    answer = client.post(f"models/{text_model}/explain", json={"prompt": PROMPT, "written": ids}).json()
    expected = Playground.from_folder(trained.weights(text_model)[0]).explain(PROMPT, ids)
    assert [word["text"] for word in answer["words"]] == [word.text for word in expected.words]
    assert "".join(word["text"] for word in answer["words"] if word["written"]) == written(told)
    for word, other in zip(answer["words"], expected.words, strict=True):
        assert word["probability"] == pytest.approx(other.probability, rel=1e-4)
        assert word["ponder_steps"] == other.ponder_steps
        assert word["expected"] == other.expected
        assert word["expected_probability"] == pytest.approx(other.expected_probability, rel=1e-4)
        assert [note["place"] for note in word["notes"]] == [note.place for note in other.notes]
    assert answer["shortened"] is False and any(word["notes"] for word in answer["words"])


@pytest.mark.parametrize("wrong", [{"written": [400]}, {"written": [-1]}, {"written": [0] * 2001}, {"written": ["x"]}])
def test_what_cannot_be_explained_is_told(client: TestClient, text_model: str, wrong: dict[str, Any]) -> None:
    assert client.post(f"models/{text_model}/explain", json={"prompt": PROMPT, **wrong}).status_code == 422
    empty = client.post(f"models/{text_model}/explain", json={"prompt": ""})
    assert empty.json() == {"words": [], "shortened": False}


def test_a_model_of_the_lab_calculates_and_shows_its_table(
    client: TestClient, trained: RunManager, lab_model: str
) -> None:
    calculator = Calculator.from_folder(trained.weights(lab_model)[0])
    told = client.get(f"models/{lab_model}/table").json()
    expected = calculator.table()
    assert (told["modulus"], told["first_b"]) == (calculator.problems.modulus, expected.first_right)
    assert told["heldout_accuracy"] == pytest.approx(expected.heldout_accuracy)
    rows, columns = expected.right.shape
    assert (len(told["right"]), {len(row) for row in told["right"]}) == (rows, {columns})
    for a, b in ((0, told["first_b"]), (rows - 1, told["first_b"] + columns - 1)):
        answer = client.post(f"models/{lab_model}/calculate", json={"a": a, "b": b}).json()
        found = calculator.calculate(a, b)
        assert (answer["answer"], answer["truth"]) == (found.answer, found.truth)
        right = str(int(found.answer == str(found.truth)))
        assert told["right"][a][b - told["first_b"]] == right
        assert told["learned_from"][a][b - told["first_b"]] == str(int(answer["learned_from"]))
    (earlier,) = client.get(f"models/{lab_model}").json()["checkpoint_steps"]
    assert client.get(f"models/{lab_model}/table?checkpoint_step={earlier}").status_code == 200
    assert client.get(f"models/{lab_model}/table?checkpoint_step=1").status_code == 404


@pytest.mark.parametrize("problem", [{"a": 10**6, "b": 1}, {"a": -1, "b": 1}, {"a": 10**30, "b": 1}, {"a": 1}])
def test_a_problem_that_is_not_in_the_table_is_told(
    client: TestClient, lab_model: str, problem: dict[str, int]
) -> None:
    answer = client.post(f"models/{lab_model}/calculate", json=problem)
    assert answer.status_code == 422 and answer.json()["problems"]


def test_a_model_of_the_other_kind_says_how_it_is_asked(client: TestClient, text_model: str, lab_model: str) -> None:
    answers = [
        client.post(f"models/{lab_model}/generate", json={"prompt": "x"}),
        client.post(f"models/{lab_model}/explain", json={"prompt": "x"}),
        client.post(f"models/{text_model}/calculate", json={"a": 1, "b": 1}),
        client.get(f"models/{text_model}/table"),
    ]
    assert [answer.status_code for answer in answers] == [409] * 4
    assert "writes no text" in answers[0].json()["detail"] and "Use generate for this one" in answers[3].text


def test_damaged_weights_are_told_before_anything_is_sent(
    client: TestClient, trained: RunManager, text_model: str, write: str
) -> None:
    (trained.weights(text_model)[0] / "model.safetensors").write_bytes(b"nonsense")
    answer = client.post(write, json={"prompt": "x"})
    assert answer.status_code == 503 and "cannot be opened" in answer.json()["detail"]
    assert client.post("models/none/generate", json={"prompt": "x"}).status_code == 404


# On the real server


def test_the_server_sends_each_piece_at_once_and_ends_when_the_client_hangs_up(
    tmp_path: Path, trained_home: Path, trained: RunManager, text_model: str
) -> None:
    shutil.copytree(trained_home, tmp_path / "server")
    os.mkfifo(tmp_path / "next")
    ended = tmp_path / "ended"
    asked = {"prompt": PROMPT, "max_tokens": MANY, "temperature": 2.0, "top_p": 1.0}
    asked["seed"] = long_seed(Playground.from_folder(trained.weights(text_model)[0]))
    address = f"/models/{text_model}"

    def let_one_be_written() -> None:
        with suppress(OSError):  # nobody waits for it now
            os.close(os.open(tmp_path / "next", os.O_WRONLY | os.O_NONBLOCK))

    def texts_ended() -> list[int]:
        let_one_be_written()
        return [int(line) for line in ended.read_text().splitlines()] if ended.exists() else []

    environment = {"OMP_NUM_THREADS": "1", "COGNATE_HELD": str(tmp_path)}
    command = (sys.executable, "-m", "tests.api.held_studio", "run", "--no-browser")
    with running_studio(tmp_path / "server", command, **environment) as studio:
        assert httpx2.post(f"{studio.url}/api/v1{address}/generate", json=asked, timeout=LONG).status_code == 401
        with httpx2.Client(base_url=f"{studio.url}/api/v1", timeout=LONG, headers=studio.shown) as client:
            with client.stream("POST", f"{address}/generate", json=asked) as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                assert "content-encoding" not in answer.headers
                lines = filter(None, answer.iter_lines())
                assert next(lines) and not ended.exists(), "it comes before the next one may be written"
                written = until(texts_ended, "the end of the text")
                *_, last = lines
            assert json.loads(last.removeprefix("data: "))["tokens"] == MANY
            assert len(written) == 1 and written[0] > MANY / 3
            for number in range(2, 5):  # were it not noticed that they hang up, there would be no place for the third
                with client.stream("POST", f"{address}/generate", json=asked) as answer:
                    assert answer.status_code == 200
                    next(answer.iter_lines())
                written = until(lambda: (found := texts_ended())[number - 1 :] and found, "the end of the work")  # noqa: B023
                assert written[-1] < MANY / 3, "it ends within a few pieces"
            whole = client.get(f"{address}/artifacts/weights", headers={"Accept-Encoding": "gzip"})
            headers = {"Range": "bytes=10-19", "Accept-Encoding": "gzip"}
            assert client.get(f"{address}/artifacts/weights", headers=headers).content == whole.content[10:20]
            assert int(whole.headers["content-length"]) == len(whole.content)


def long_seed(player: Playground) -> int:
    """A seed with which the model does not soon end its text."""
    for seed in range(50):
        pieces = player.stream(PROMPT, max_new_tokens=MANY, temperature=2.0, top_p=1.0, seed=seed)
        if sum(len(piece.ids) for piece in pieces) == MANY:
            return seed
    raise AssertionError("no seed writes a long text")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "generate"),
        ("POST", "explain"),
        ("POST", "calculate"),
        ("GET", "table"),
        ("GET", "accuracy"),
        ("POST", "accuracy"),
    ],
)
def test_a_model_whose_weights_were_not_kept_is_not_found_to_be_asked(
    api: TestClient, studio: RunManager, method: str, path: str
) -> None:
    run_id = studio.start(TrainingConfig(max_steps=3), "a run", ["model"])
    assert studio.wait(run_id, LONG)
    (model,) = studio.log.models()
    body = {"prompt": PROMPT, "text": PROMPT, "a": 1, "b": 2, "questions": 5}
    wanted = {"generate": ["prompt"], "explain": ["prompt"], "calculate": ["a", "b"]}
    sent = {name: body[name] for name in wanted.get(path, [])} if method == "POST" else None
    answer = api.request(method, f"/v1/models/{model.id}/{path}", json=sent)
    assert answer.status_code in (404, 409), answer.text
