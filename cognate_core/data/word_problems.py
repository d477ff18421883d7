"""School word problems made by a grammar: the training text when no public problem set can be had.

Inside: `word_problems`. The templates and the words they use stand beside it. It knows nothing of files, of tokens or
of the '#### N' line that a training text may want at the end. It sets no limit on the number of problems; a million can
be had, and nobody has looked for the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from cognate_core.data.story import Story
from cognate_core.data.word_problem_templates import TEMPLATES


@dataclass(frozen=True, slots=True)
class WordProblem:
    """A question, its worked solution (one line per step), the final number and the number of steps."""

    question: str
    solution: str
    answer: str
    steps: int


def word_problems(count: int, seed: int) -> list[WordProblem]:
    """The first `count` problems of the series that `seed` names; no question comes twice."""
    if count < 0:
        raise ValueError(f"The number of word problems must be 0 or more, not {count}.")
    rng = Random(seed)
    problems: dict[str, WordProblem] = {}
    while len(problems) < count:
        problem = _tell(rng.choice(TEMPLATES), rng)
        problems.setdefault(problem.question, problem)
    return list(problems.values())


def _tell(template: Callable[[Story], str], rng: Random) -> WordProblem:
    story = Story(rng)
    question = story.phrase(template(story))
    return WordProblem(question, "\n".join(story.lines), str(story.result), len(story.lines))
