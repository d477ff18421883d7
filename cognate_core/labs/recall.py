"""The Memory lab's task: facts are told, a day goes by, then somebody asks.

    Mia's key is in the blue box. The sun comes up over the hill. ... Where is Mia's key? In the blue box.

Between the facts and the questions lies more text than attention reaches: without a memory, the colour can only be
guessed. The text consists of few words, and each word is a token.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cognate_core.contracts import END_OF_TEXT_ID

# fmt: off
NAMES = (
    "Mia", "Ben", "Lena", "Tom", "Anna", "Paul", "Emma", "Leo", "Nora", "Max",
    "Ida", "Finn", "Clara", "Jonas", "Ella", "Noah", "Marie", "Oscar", "Sofia", "Emil",
)
THINGS = ("key", "ball", "book", "hat", "cup")
COLOURS = (
    "red", "blue", "green", "yellow", "orange", "purple", "pink", "brown",
    "black", "white", "grey", "golden", "silver", "turquoise", "beige", "olive",
)
# fmt: on
DAY = (  # as many words each, so that texts that skip some of them are as long; over and over, in this order
    "The sun comes up over the hill.",
    "A dog barks at the milk van.",
    "Children walk to school along the river.",
    "At noon the church bells ring twice.",
    "Clouds gather and rain begins to fall.",
    "Soon the wet street shines like glass.",
    "One by one the lamps light up.",
    "The moon rises and everyone goes home.",
)
FACT = "{name}'s {thing} is in the {colour} box."
QUESTION = "Where is {name}'s {thing}?"
ANSWER = "In the {colour} box."
ASKED = "In the"  # what stands between a question and the colour

_PIECE = re.compile(r"'s\b|\w+|[^\w\s]")
_APOSTROPHES = str.maketrans({"\N{RIGHT SINGLE QUOTATION MARK}": "'", "\N{MODIFIER LETTER APOSTROPHE}": "'"})


def _pieces(text: str) -> list[str]:
    """The words and marks of a text, in lower case."""
    return _PIECE.findall(text.translate(_APOSTROPHES).casefold())


def _word_list() -> tuple[str, ...]:
    frames = " ".join((FACT, QUESTION, ANSWER)).replace("{", "").replace("}", "")
    kinds = {"name", "thing", "colour"}
    others = dict.fromkeys(word for word in _pieces(" ".join((frames, *DAY))) if word not in kinds)
    return ("<end of text>", *others, *NAMES, *THINGS, *COLOURS)


WORDS = _word_list()
"""The words by token id."""

_IDS = {word.casefold(): number for number, word in enumerate(WORDS)}
SENTENCE = len(_pieces(DAY[0]))  # tokens of each sentence of the day


class UnknownWordError(ValueError):
    """A text has a word that the model never saw."""


def encode(text: str) -> list[int]:
    """The tokens of a text, whether its words begin with capital letters or not.

    Raises:
        UnknownWordError: not all words are known; the message says which, and what can be written instead.
    """
    pieces = _pieces(text)
    unknown = list(dict.fromkeys(piece for piece in pieces if piece not in _IDS))
    if unknown:
        raise UnknownWordError(_advice(unknown))
    return [_IDS[piece] for piece in pieces]


def _advice(unknown: list[str]) -> str:
    word = unknown[0]
    close = difflib.get_close_matches(word, list(_IDS), n=1)
    meant = f' Did you mean "{WORDS[_IDS[close[0]]]}"?' if close else ""
    words = ", ".join(f'"{each}"' for each in unknown)
    return (
        f"This model knows only a few words, and {words} {'is' if len(unknown) == 1 else 'are'} not among them.{meant} "
        f'Write, for example: "{FACT.format(name=NAMES[0], thing=THINGS[0], colour=COLOURS[1])}" '
        f"Names: {', '.join(NAMES)}. Things: {', '.join(THINGS)}. Colours: {', '.join(COLOURS)}."
    )


def decode(ids: Sequence[int]) -> str:
    """The text of some tokens, with capital letters and marks where they belong."""
    text, begins = "", True
    for number in ids:
        word = WORDS[number]
        joins = word in (".", "?", "'s")
        text += ("" if joins or not text else " ") + (word[0].upper() + word[1:] if begins else word)
        begins = word in (".", "?") or number == END_OF_TEXT_ID
    return text


@dataclass(frozen=True, slots=True)
class Texts:
    """A batch of texts. All attributes: (batch, length).

    Attributes:
        tokens: their ids.
        answers: True for the colours after questions.
        knowable: True for what a reader with a memory can know: all except what a fact tells and what a question asks
            about. To learn to predict these too only disturbs (docs/experiments.md).
    """

    tokens: npt.NDArray[np.int64]
    answers: npt.NDArray[np.bool_]
    knowable: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Recall:
    """Texts: facts, each about another thing of somebody, sentences of a day, then a question for each fact, shuffled.

    Attributes:
        facts: told and asked for in each text.
        distance: the fewest tokens between a colour that is told and the same colour asked for.
        alike: in this share of the texts, all facts are about one thing or one person: else to find either is enough.
    """

    facts: int = 4
    distance: int = 64
    alike: float = 0.4

    def __post_init__(self) -> None:
        most = len(NAMES) * len(THINGS)
        if not 1 <= self.facts <= most:
            raise ValueError(f"There must be 1 to {most} facts, each about another thing; got {self.facts}.")

    @property
    def length(self) -> int:
        """Tokens of a text, including the end-of-text before it."""
        return 1 + self.facts * (len(_FACT) + len(_QUESTION)) + self.sentences * SENTENCE

    @property
    def sentences(self) -> int:
        """Sentences between the facts and the questions."""
        return -(-self.distance // SENTENCE)

    @property
    def chance(self) -> float:
        """How often a guess is right."""
        return 1 / len(COLOURS)

    def batch(self, size: int, random: np.random.Generator) -> Texts:
        """Some texts. The same random state gives the same texts."""
        tokens = np.stack([self._text(random) for _ in range(size)])
        first = self.length - self.facts * len(_QUESTION) + _ANSWER
        answers = np.zeros(tokens.shape, dtype=np.bool_)
        answers[:, first :: len(_QUESTION)] = True
        return Texts(tokens, answers, (tokens < _FIRST_NAME) | answers)

    def _text(self, random: np.random.Generator) -> npt.NDArray[np.int64]:
        about = self._about(random)
        blanks = _FIRST + np.stack(
            (about // len(THINGS), about % len(THINGS), random.integers(len(COLOURS), size=self.facts)), axis=1
        )
        first = int(random.integers(len(DAY)))
        day = _DAY[(first + np.arange(self.sentences)) % len(DAY)]
        asked = _filled(_QUESTION, random.permutation(blanks))
        return np.concatenate([[END_OF_TEXT_ID], _filled(_FACT, blanks).ravel(), day.ravel(), asked.ravel()])

    def _about(self, random: np.random.Generator) -> npt.NDArray[np.int64]:
        """Different pairs of a name and a thing, (facts,): the name's number times the number of things, plus that."""
        kind = random.random()
        if kind < self.alike / 2 and self.facts <= len(THINGS):
            return random.integers(len(NAMES)) * len(THINGS) + random.choice(len(THINGS), self.facts, replace=False)
        if kind < self.alike and self.facts <= len(NAMES):
            return random.choice(len(NAMES), self.facts, replace=False) * len(THINGS) + random.integers(len(THINGS))
        return random.choice(len(NAMES) * len(THINGS), self.facts, replace=False)


_FIRST_NAME = _IDS[NAMES[0].casefold()]
_FIRST_COLOUR = _IDS[COLOURS[0]]
_FIRST = np.array([_FIRST_NAME, _IDS[THINGS[0]], _FIRST_COLOUR])
_EXAMPLE = {"name": NAMES[0], "thing": THINGS[0], "colour": COLOURS[0]}
_FACT = np.array(encode(FACT.format(**_EXAMPLE)))
_QUESTION = np.array(encode(f"{QUESTION} {ANSWER}".format(**_EXAMPLE)))
_ANSWER = int(np.flatnonzero(_QUESTION == _FIRST_COLOUR)[0])  # the place of the colour after a question
_DAY = np.array([encode(sentence) for sentence in DAY])


def _filled(sentence: npt.NDArray[np.int64], blanks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The example sentence once for each row of `blanks`, (n, 3), with its name, thing and colour: (n, tokens)."""
    sentences = np.tile(sentence, (len(blanks), 1))
    for example, ids in zip(_FIRST, blanks.T, strict=True):
        sentences[:, sentence == example] = ids[:, None]
    return sentences
