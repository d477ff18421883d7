"""What all parts must agree on about the two tasks, text and modular arithmetic."""

from __future__ import annotations

END_OF_TEXT_ID = 0
"""The token that starts each training sequence and ends each document. A document must not see the previous one in
its memory."""


ARITHMETIC = "Modular arithmetic"
"""The dataset of the Grokking lab: all problems of one operation modulo a prime."""


GROKKED_ACCURACY = 0.95
"""With this share of right answers to unseen problems, a model has understood: the published criterion."""
