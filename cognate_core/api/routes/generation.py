"""Trying a model: streamed text, why it expects each word, and the answers of a Grokking lab model.

Each request starts with an empty memory. The memory that a person may keep on the page is neither read nor written.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, field_validator
from starlette.responses import Response

from cognate_core.api.requests import GetManager, Input, ModelId
from cognate_core.api.routes.figures import Figure
from cognate_core.api.streams import Stream, working
from cognate_core.errors import ConfigError, NotFound, RunError, plain_sentence
from cognate_core.runs import RunManager

if TYPE_CHECKING:
    from cognate_core.inference.playground import Piece

router = APIRouter(prefix="/models/{model_id}", tags=["trying models"])

MOST_CHARACTERS = 4000  # of a prompt, as on the page
MOST_TOKENS = 2000
COLDEST = 0.01  # between 0 and this, probabilities overflow
EVENT_STREAM = "text/event-stream"  # the only text type that the server sends uncompressed
Step = Annotated[
    int | None, Field(ge=0, le=10**9, description="The step of a kept checkpoint. Default: the finished model.")
]
_log = logging.getLogger(__name__)


class StepQuery(Input):
    """Which checkpoint of the model."""

    checkpoint_step: Step = None


class TextRequest(StepQuery):
    """What to continue, and how."""

    prompt: str = Field(max_length=MOST_CHARACTERS, description="A problem, or the beginning of a text.")
    as_problem: bool = Field(False, description="Whether to write Problem: and Solution: around it, as the page does.")
    max_tokens: int = Field(120, ge=1, le=MOST_TOKENS)
    temperature: float = Field(0.7, ge=0, le=2, description=f"0: always the likeliest token; else {COLDEST} or more.")
    top_p: float = Field(0.9, ge=0, le=1, description="Only the likeliest tokens that together have this probability.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="The same seed writes the same text.")

    @field_validator("prompt")
    @classmethod
    def _is_something(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("The prompt is empty. Send a problem, or the beginning of a text.")
        return prompt

    @field_validator("temperature")
    @classmethod
    def _can_be_divided_by(cls, temperature: float) -> float:
        if 0 < temperature < COLDEST:
            raise ValueError(f"The temperature must be 0, or {COLDEST} or more.")
        return temperature


class TextPiece(BaseModel):
    """One event: whole letters, and the tokens that spell them."""

    text: str
    ids: list[int]


class TextEnd(BaseModel):
    """The last event."""

    done: Literal[True] = True
    tokens: int
    seconds: float = Field(description="Since the model began to read the prompt.")
    ended_by: Literal["model", "max_tokens"]
    unread_tokens: int = Field(description="At the beginning of the prompt, because the model reads only so much.")


class TextProblem(BaseModel):
    """The last event if the model could not continue."""

    problem: str


class ExplanationRequest(StepQuery):
    """A text: its prompt, and the token ids that the model wrote after it."""

    prompt: str = Field(max_length=MOST_CHARACTERS)
    as_problem: bool = False
    written: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list, max_length=MOST_TOKENS)


class Note(BaseModel):
    """A memory note that was read. `place`: the index of the word that wrote it."""

    word: str
    place: int | None
    share: Figure


class Word(BaseModel):
    """A stretch of text, and how the model came to expect it."""

    text: str
    written: bool = Field(description="Whether the model wrote it.")
    probability: Figure
    expected: str = Field(description="The likeliest token in its place. Empty: the end of the text.")
    expected_probability: Figure
    ponder_steps: int | None = Field(description="Null: the model does not ponder.")
    recall: Figure = Field(description="How strongly it used its memory's notes, 0 to 1. Null: it has no memory.")
    notes: list[Note]


class Explained(BaseModel):
    """Why the model expects each word of a text."""

    words: list[Word]
    shortened: bool = Field(description="Whether the beginning is left out, because it reads only so much.")


class ProblemRequest(StepQuery):
    """Two numbers of the model's table."""

    a: int = Field(ge=0, le=10**6)
    b: int = Field(ge=0, le=10**6)


class Answer(BaseModel):
    """The answer of a Grokking lab model to one problem."""

    answer: str
    probability: Figure
    truth: int
    learned_from: bool = Field(description="Whether it was a training problem.")


class WholeTable(BaseModel):
    """All problems of a Grokking lab model: a string for each a, with a character for each b."""

    modulus: int
    operation: str
    first_b: int
    right: list[str] = Field(description='"1" where its answer is right, else "0".')
    learned_from: list[str] = Field(description='"1" for a training problem, else "0".')
    heldout_accuracy: Figure


_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events, each a line `data: ` with a JSON object, then an empty line: the pieces as they are "
        "written, then how the text ended.",
        "content": {
            EVENT_STREAM: {
                "schema": {  # of one event
                    "type": "object",
                    "properties": {"data": {"type": "string", "contentMediaType": "application/json"}},
                    "required": ["data"],
                    "examples": [
                        {"data": '{"text": " 12", "ids": [17, 4]}'},
                        {"data": '{"done": true, "tokens": 2, "seconds": 0.1, "ended_by": "model"}'},
                    ],
                }
            }
        },
    }
}


@router.post("/generate", response_class=Response, responses=_EVENTS)
def generate(model_id: ModelId, body: TextRequest, manager: GetManager) -> Stream:
    """Let the model write, and send each piece at once. Disconnect to end it."""
    sought = _sought(manager, model_id, body.checkpoint_step, writes_text=True)
    with working.taken() as slot:
        from cognate_core.inference.playground import opened

        player, prompt = opened(*sought), _prompt(body)
        pieces = player.stream(
            prompt,
            max_new_tokens=body.max_tokens,
            temperature=body.temperature,
            top_p=body.top_p,
            seed=body.seed,
        )
        events = _events(pieces, body.max_tokens, player.unread(prompt))
        slot.callback(events.close)  # frees the state of the text when its reader goes
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return Stream(
            events,
            slot.pop_all().close,
            status=HTTPStatus.OK,
            headers=headers,
            kind=EVENT_STREAM,
        )


@router.post("/explain")
def explain(model_id: ModelId, body: ExplanationRequest, manager: GetManager) -> Explained:
    """Why the model expects each word of a text."""
    sought = _sought(manager, model_id, body.checkpoint_step, writes_text=True)
    with working.taken():
        from cognate_core.inference.playground import opened

        player = opened(*sought)
        known = player.model.config.vocab_size
        if any(token >= known for token in body.written):
            raise ConfigError({"written": f"The model has {known:,} tokens, numbered from 0. Send only those."})
        explanation = player.explain(_prompt(body), body.written)
    return Explained(words=[Word(**asdict(word)) for word in explanation.words], shortened=explanation.shortened)


@router.post("/calculate")
def calculate(model_id: ModelId, body: ProblemRequest, manager: GetManager) -> Answer:
    """What a Grokking lab model answers to one problem of its table."""
    sought = _sought(manager, model_id, body.checkpoint_step, writes_text=False)
    with working.taken():
        from cognate_core.inference.calculator import opened

        try:
            return Answer(**asdict(opened(*sought).calculate(body.a, body.b)))
        except ValueError as error:
            raise ConfigError({"b": str(error)}) from error


@router.get("/table")
def table(model_id: ModelId, query: Annotated[StepQuery, Query()], manager: GetManager) -> WholeTable:
    """All problems of a Grokking lab model: which it answers right, and which it learned from."""
    sought = _sought(manager, model_id, query.checkpoint_step, writes_text=False)
    with working.taken():
        from cognate_core.inference.calculator import opened

        calculator = opened(*sought)
        found = calculator.table()
    return WholeTable(
        modulus=calculator.problems.modulus,
        operation=calculator.problems.operation,
        first_b=found.first_right,
        right=_signs(found.right),
        learned_from=_signs(found.learned_from),
        heldout_accuracy=found.heldout_accuracy,
    )


def _sought(manager: RunManager, model_id: str, step: int | None, *, writes_text: bool) -> tuple[Path, str, int | None]:
    """A model's folder, the hash of its weights, and the step of the chosen checkpoint (None: the finished model).

    Raises:
        NotFound: there is no such model, or no checkpoint of that step is kept.
        RunError: it is a model of the other kind.
        StorageError: its files are gone.
    """
    model = manager.log.model(model_id)
    if writes_text and not model.writes_text:
        raise RunError("A Grokking lab model writes no text. Use calculate.")
    if not writes_text and model.writes_text:
        raise RunError("Only a Grokking lab model calculates. Use generate for this one.")
    if step == model.step:
        step = None
    if step is not None and step not in manager.kept_steps(model_id):
        raise NotFound(f"The checkpoint of step {step:,} is no longer there. Choose another step.")
    return *manager.weights(model_id), step


def _prompt(body: TextRequest | ExplanationRequest) -> str:
    from cognate_core.inference.playground import problem_prompt

    return problem_prompt(body.prompt) if body.as_problem else body.prompt


def _events(pieces: Iterator[Piece], most: int, unread: int) -> Generator[bytes]:
    """The events of a text while it is written."""
    began, tokens = time.monotonic(), 0
    try:
        for piece in pieces:
            tokens += len(piece.ids)
            yield _event(TextPiece(text=piece.text, ids=list(piece.ids)))
    except Exception as error:  # noqa: BLE001  (the status is already sent: report any error as an event)
        _log.exception("A text could not be finished")
        yield _event(TextProblem(problem=plain_sentence(error)))
        return
    seconds = round(time.monotonic() - began, 3)
    ended_by: Literal["model", "max_tokens"] = "max_tokens" if tokens >= most else "model"
    yield _event(TextEnd(tokens=tokens, seconds=seconds, ended_by=ended_by, unread_tokens=unread))


def _event(told: BaseModel) -> bytes:
    return f"data: {json.dumps(told.model_dump())}\n\n".encode()


def _signs(rows: Any) -> list[str]:
    return ["".join("1" if each else "0" for each in row) for row in rows]
