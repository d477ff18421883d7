"""The GrokFast filter over the gradients of the 25M model, against a plain loop of the published rule."""

from __future__ import annotations

import torch

from cognate_core.config.presets import PRESETS
from cognate_core.model import CognateModel
from cognate_core.training.grokfast import GrokFastEMA
from tests.bench.model import step_seconds
from tests.bench.timing import heading, line, seconds
from tests.there import there


def main() -> None:
    heading("GrokFast EMA on 25M gradients")
    config = PRESETS["as-specified"].config
    parameters = list(CognateModel(config).parameters())
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    averages = [there(parameter.grad).clone() for parameter in parameters]

    def plain_loop() -> None:
        for index, parameter in enumerate(parameters):
            averages[index] = averages[index] * 0.98 + there(parameter.grad) * 0.02
            parameter.grad = there(parameter.grad) + averages[index] * 2.0

    def keep_finite() -> None:
        for parameter in parameters:
            there(parameter.grad).normal_()

    loop = seconds(plain_loop, repeats=7)
    keep_finite()
    fused = seconds(GrokFastEMA(parameters).step, repeats=7)
    step = step_seconds(config, "fp32") * config.gradient_accumulation_steps
    line("plain loop", f"{loop * 1000:.1f} ms")
    line("GrokFastEMA.step", f"{fused * 1000:.1f} ms", f"{loop / fused:.1f} x faster than the loop")
    line("share of a training step", f"{fused / step:.2%}", f"of {step:.2f} s")
