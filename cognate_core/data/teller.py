"""Draws the numbers, people and things of an easy word problem, from the held-out ones or from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, TypeVar

from cognate_core.data.easy_words import FAMILIAR_PEOPLE, HELD_OUT_PEOPLE, LOOKS, PEOPLE, ROLES, WE, I, Who
from cognate_core.data.vocabulary import Thing, plural

T = TypeVar("T")
Operation = Literal["+", "-", "*", "/"]

_TIMES = 12  # the greatest factor, as in school multiplication tables


@dataclass(frozen=True, slots=True)
class Sum:
    """One calculation, in written order."""

    a: int
    operation: Operation
    b: int

    @property
    def result(self) -> int:
        match self.operation:
            case "+":
                return self.a + self.b
            case "-":
                return self.a - self.b
            case "*":
                return self.a * self.b
            case "/":
                return self.a // self.b

    def __str__(self) -> str:
        return f"{self.a} {self.operation} {self.b} = {self.result}"


def is_held_out(a: int, b: int) -> bool:
    """Whether this pair of numbers is reserved for held-out problems: one in twenty is."""
    return (7 * a + 3 * b) % 20 == 0


class Teller:
    """Draws the parts of one problem, from the held-out ones or from the rest."""

    def __init__(self, rng: Random, top: int, *, heldout: bool) -> None:
        self._rng, self._top, self._heldout = rng, top, heldout
        self._present: set[str] = set()

    def pick(self, options: Sequence[T]) -> T:
        return self._rng.choice(options)

    def two(self, options: Sequence[T]) -> list[T]:
        return self._rng.sample(options, 2)

    def perhaps(self, share: float) -> bool:
        return self._rng.random() < share

    def wording(self, *options: str) -> str:
        """One of several wordings. Of four or more, the last eighth (at least one) is held out."""
        kept = max(1, len(options) // 8) if len(options) > 3 else 0
        if not kept:
            return self.pick(options)
        return self.pick(options[-kept:] if self._heldout else options[:-kept])

    def numbers(self, operation: Operation) -> Sum:
        """Two numbers up to the limit. Their sum may reach the limit, or 40 if that is more."""
        draw, top = self._rng.randint, self._top
        while True:
            match operation:
                case "+":
                    a, b = draw(1, top - 1), draw(1, top)
                    fits = a + b <= max(40, top)
                case "-":
                    a = draw(2, top)
                    b, fits = draw(1, a), True
                case "*":
                    a, b = draw(2, _TIMES), draw(2, _TIMES)
                    fits = a * b <= top
                case "/":
                    b, result = draw(2, _TIMES), draw(2, _TIMES)
                    a, fits = b * result, b * result <= top
            if fits and is_held_out(a, b) == self._heldout:
                return Sum(a, operation, b)

    def after(self, before: int, operation: Operation) -> Sum | None:
        """A second step from `before`; None if none is possible."""
        room = max(40, self._top) - before if operation == "+" else before
        return Sum(before, operation, self._rng.randint(1, min(room, self._top))) if room > 0 else None

    def who(self) -> Who:
        """Somebody who is not in the problem yet; sometimes with a made-up name."""
        while True:
            which = self._rng.random()
            if which < 0.52:
                who = self.pick(HELD_OUT_PEOPLE if self._heldout else FAMILIAR_PEOPLE)
            elif which < 0.65:
                who = replace(self.pick(PEOPLE), name=self._made_up().capitalize())
            else:
                who = self.pick(ROLES) if which < 0.8 else I if which < 0.95 else WE
            if who.name not in self._present and not (who.plain and self._present):
                self._present.add(who.name)
                return who

    def thing(self, things: Sequence[Thing]) -> Thing:
        """One of `things` or a made-up one; sometimes with a word on how it looks."""
        thing = self.pick(things)
        if self.perhaps(0.06):
            name = self._made_up()
            thing = Thing(name, plural(name))
        look = f"{self.pick(LOOKS)} " if self.perhaps(0.12) else ""
        return Thing(look + thing.one, look + thing.many)

    def _made_up(self) -> str:
        draw = self._rng.choice
        return "".join(draw("bcdfghjklmnprstvz") + draw("aeiou") for _ in range(draw((2, 2, 3)))) + draw(("", "n", "l"))
