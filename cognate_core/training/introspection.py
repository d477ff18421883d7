"""What a step's forward passes tell of pondering and memory, added up over the batches of an optimizer step."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cognate_core.model import IGNORED_TARGET, NOTHING, CognateOutput


@dataclass(slots=True)
class Introspection:
    """Sums over forward passes and the tokens whose targets count.

    The means are None for what the model does not have or no token did.

    Attributes:
        ponder_counts: tokens by number of ponder steps, from 0.
    """

    ponder_counts: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    _sums: dict[str, tuple[float, float]] = field(default_factory=dict)  # name -> (sum, how many)

    def add(self, output: CognateOutput, targets: Tensor) -> None:
        """Take in one forward pass. targets: (batch, time)."""
        counted = targets != IGNORED_TARGET
        if output.ponder_steps is not None:
            self.add_counts(torch.bincount(output.ponder_steps[counted]))
        if output.ponder_loss is not None:
            self._put("ponder_loss", float(output.ponder_loss.detach()), 1)
        figures = output.memory_figures
        if figures is not None and figures.notes is not None and figures.written is not None:
            self._put("memory_notes", figures.notes, 1)
            self._put("memory_written", figures.written, 1)
        if output.memory_reads is not None:
            gate, null = output.memory_reads.gate[counted], output.memory_reads.null[counted]  # (counted, n_layers)
            could_read = output.memory_reads.positions[..., 0][counted] != NOTHING
            self._put("memory_gate", float(gate.sum()), gate.numel())
            self._put("memory_null_share", float(null[could_read].sum()), int(could_read.sum()))

    def add_counts(self, counts: Tensor) -> None:
        """Add to the histogram of ponder steps."""
        longer, shorter = sorted((self.ponder_counts, counts), key=len, reverse=True)
        self.ponder_counts = longer.clone()
        self.ponder_counts[: len(shorter)] += shorter

    def means(self) -> dict[str, float | None]:
        """The fields of StepMetrics."""
        names = ("ponder_loss", "memory_notes", "memory_written", "memory_gate", "memory_null_share")
        values: dict[str, float | None] = {name: self._mean(name) for name in names}
        total = int(self.ponder_counts.sum())
        steps = torch.arange(len(self.ponder_counts))
        values["ponder_steps"] = float((steps * self.ponder_counts).sum()) / total if total else None
        return values

    def _put(self, name: str, value: float, count: float) -> None:
        total, number = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = (total + value, number + count)

    def _mean(self, name: str) -> float | None:
        total, number = self._sums.get(name, (0.0, 0.0))
        return total / number if number else None
