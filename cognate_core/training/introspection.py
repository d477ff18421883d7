"""Figures on pondering and memory from forward passes, added up over the batches of an optimizer step."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cognate_core.model import IGNORED_TARGET, NOTHING, CognateOutput
from cognate_core.training.process_group import ProcessGroup

_NAMES = ("ponder_loss", "memory_notes", "memory_written", "memory_gate", "memory_null_share")


@dataclass(slots=True)
class Introspection:
    """Sums over forward passes and the tokens whose targets count.

    A mean is None if the model lacks the feature or no token used it.

    Attributes:
        ponder_counts: tokens by number of ponder steps, from 0.
    """

    ponder_counts: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    _sums: Tensor = field(default_factory=lambda: torch.zeros(len(_NAMES), 2, dtype=torch.float64))  # sum, how many

    def add(self, output: CognateOutput, targets: Tensor, weight: float) -> None:
        """Add one forward pass. targets: (batch, time). weight: the weight of its loss in the step's loss."""
        counted = targets != IGNORED_TARGET
        if output.ponder_steps is not None:
            self.add_counts(torch.bincount(output.ponder_steps[counted]))
        if output.ponder_loss is not None:
            self._put("ponder_loss", weight * float(output.ponder_loss.detach()), 1)
        figures = output.memory_figures
        if figures is not None:
            self._put("memory_notes", figures.notes, figures.ends)
            self._put("memory_written", figures.written, figures.usable)
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

    def add_up(self, group: ProcessGroup, most_steps: int) -> None:
        """Replace the sums by those over all workers. No token took more than `most_steps`."""
        if group.size == 1:
            return
        self._sums = group.sum_(self._sums)
        counts = torch.zeros(most_steps + 1, dtype=torch.long)
        counts[: len(self.ponder_counts)] = self.ponder_counts
        taken = group.sum_(counts).nonzero()
        self.ponder_counts = counts[: int(taken.max()) + 1 if len(taken) else 0]

    def means(self) -> dict[str, float | None]:
        """The fields of StepMetrics. The ponder loss is the sum of the passes' weighted parts."""
        values: dict[str, float | None] = {
            name: total / (1 if name == "ponder_loss" else number) if number else None
            for name, (total, number) in zip(_NAMES, self._sums.tolist(), strict=True)
        }
        total = int(self.ponder_counts.sum())
        steps = torch.arange(len(self.ponder_counts))
        values["ponder_steps"] = float((steps * self.ponder_counts).sum()) / total if total else None
        return values

    def _put(self, name: str, value: float, number: int) -> None:
        self._sums[_NAMES.index(name)] += torch.tensor((value, number), dtype=torch.float64)
