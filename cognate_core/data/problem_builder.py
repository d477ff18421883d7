"""Builds one word problem: draws people, things and numbers, and keeps the solution's steps.

It knows no template. One call computes a step and writes it down: text and numbers cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from cognate_core.data import vocabulary as v
from cognate_core.data.vocabulary import Part, Person, Thing

T = TypeVar("T")


class ProblemBuilder:
    """Builds one problem: draws people, things and numbers, and keeps the solution's steps."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.lines: list[str] = []
        self.result = 0

    def number(self, low: int, high: int, step: int = 1) -> int:
        return self._rng.randrange(low, high + 1, step)

    def pick(self, options: Sequence[T]) -> T:
        return self._rng.choice(options)

    def two(self, options: Sequence[T]) -> list[T]:
        return self._rng.sample(options, 2)

    def chance(self) -> bool:
        return self._rng.random() < 0.5

    def person(self) -> Person:
        return self.pick(v.PEOPLE)

    def people(self, number: int = 2) -> list[Person]:
        return self._rng.sample(v.PEOPLE, number)

    def ware(self, wares: Sequence[v.Ware]) -> tuple[Thing, int]:
        ware = self.pick(wares)
        return ware.thing, self.number(ware.low, ware.high)

    def plus(self, saying: str, a: int, b: int, unit: Thing) -> int:
        return self._step(saying, f"{a} + {b}", a + b, unit)

    def minus(self, saying: str, a: int, b: int, unit: Thing) -> int:
        if b > a:
            raise ArithmeticError(f"{a} - {b} is below zero in: {saying}")
        return self._step(saying, f"{a} - {b}", a - b, unit)

    def times(self, saying: str, a: int, b: int, unit: Thing) -> int:
        return self._step(saying, f"{a} * {b}", a * b, unit)

    def divide(self, saying: str, a: int, b: int, unit: Thing) -> int:
        if a % b:
            raise ArithmeticError(f"{a} / {b} is not whole in: {saying}")
        return self._step(saying, f"{a} / {b}", a // b, unit)

    def part(self, part: Part, whole: int, unit: Thing) -> int:
        single = self.divide(f"{part.one} of {unit.count(whole)} is", whole, part.parts, unit)
        return single if part.count == 1 else self.times(f"{part.words} is", part.count, single, unit)

    def phrase(self, text: str) -> str:
        """The text on one line, with one option of each "[this|that]" and a capital after each full stop."""
        while "]" in text:
            head, _, tail = text.partition("]")
            before, _, options = head.rpartition("[")
            text = before + self.pick(options.split("|")) + tail
        line = " ".join(text.split())
        return ". ".join(sentence[:1].upper() + sentence[1:] for sentence in line.split(". "))

    def _step(self, saying: str, calculation: str, result: int, unit: Thing) -> int:
        self.lines.append(self.phrase(f"{saying} {calculation} = {unit.count(result)}."))
        self.result = result
        return result
