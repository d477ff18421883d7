"""School word problems made by a grammar: the training text when no public problem set is available.

Easy ones come from `easy_problems.py`; those of up to four steps from `word_problem_templates/`. No files, no tokens,
and no '#### N' line. The number of problems has no known limit: a million is possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from cognate_core.data.easy_problems import Level, easy_problem
from cognate_core.data.problem_builder import ProblemBuilder
from cognate_core.data.word_problem_templates import TEMPLATES

LEVELS: dict[str, Level] = {
    "sums-to-20": Level(("+", "-"), 20),
    "one-step-to-100": Level(("+", "-", "*", "/"), 100),
    "two-steps": Level(("+", "-"), 20, steps=(1, 2, 2)),
}
"""The easy levels of the setting `word_problems`; "all" means the templates."""


@dataclass(frozen=True, slots=True)
class WordProblem:
    """A question, its worked solution (one line per step), the final number and the number of steps."""

    question: str
    solution: str
    answer: str
    steps: int


def word_problems(count: int, seed: int, level: str = "all", *, heldout: bool = False) -> list[WordProblem]:
    """The first `count` different problems of the series for `seed`.

    Args:
        level: how hard they are: one of LEVELS, or "all".
        heldout: make problems of names, pairs of numbers and wordings that the level's other problems never have.

    Raises:
        ValueError: count is negative, or `heldout` is set for "all", which holds out no wordings.
    """
    if count < 0:
        raise ValueError(f"The number of word problems must be 0 or more, not {count}.")
    if heldout and level == "all":
        raise ValueError('Level "all" holds out no wordings; choose an easy level.')
    rng = Random(seed)
    problems: dict[str, WordProblem] = {}
    while len(problems) < count:
        problem = _told(rng) if level == "all" else _easy(rng, LEVELS[level], heldout=heldout)
        problems.setdefault(problem.question, problem)
    return list(problems.values())


def _told(rng: Random) -> WordProblem:
    template = rng.choice(TEMPLATES)
    builder = ProblemBuilder(rng)
    question = builder.phrase(template(builder))
    return WordProblem(question, "\n".join(builder.lines), str(builder.result), len(builder.lines))


def _easy(rng: Random, level: Level, *, heldout: bool) -> WordProblem:
    question, sums = easy_problem(rng, level, heldout=heldout)
    return WordProblem(question, "\n".join(map(str, sums)), str(sums[-1].result), len(sums))
