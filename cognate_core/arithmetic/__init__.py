"""Arithmetic modulo a prime, the task for observing grokking. Importing this loads torch."""

from cognate_core.arithmetic.model import ArithmeticModel, answer_loss, evaluate
from cognate_core.arithmetic.problems import ArithmeticBatches, Beginning, Problems, beginning, tokenizer

__all__ = [
    "ArithmeticBatches",
    "ArithmeticModel",
    "Beginning",
    "Problems",
    "answer_loss",
    "beginning",
    "evaluate",
    "tokenizer",
]
