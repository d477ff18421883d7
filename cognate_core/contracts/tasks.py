"""What all parts must agree on of the two tasks, text and modular arithmetic."""

from __future__ import annotations

END_OF_TEXT_ID = 0
"""The token that opens each training sequence and ends each document. What a document holds, the next must not see in
its memory."""


ARITHMETIC = "Modular arithmetic"
"""The dataset of the Grokking lab: all problems of one operation modulo a prime."""


GROKKED_ACCURACY = 0.95
"""From this share of right answers to problems that it never saw, a model has understood: the published measure."""
