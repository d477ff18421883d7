"""ArithmeticModel against the plain transformer that it must equal, its losses, and its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cognate_core.arithmetic import ArithmeticModel, answer_loss, beginning, evaluate
from cognate_core.config.presets import PRESETS
from tests.arithmetic.plain import PlainModel
from tests.arithmetic.tiny import config_of


def both(**changes: Any) -> tuple[ArithmeticModel, PlainModel]:
    """The two models with the same weights, all of them large, so that every part shows in the logits."""
    config = config_of(**changes)
    model = ArithmeticModel(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    plain = PlainModel(config.arithmetic_modulus, config.d_model, config.n_layers, config.n_heads)
    plain.load_state_dict(model.state_dict())
    return model, plain


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("n_heads", [1, 4])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_logits_and_gradients_are_those_of_the_plain_transformer(n_layers: int, n_heads: int, rows: int) -> None:
    model, plain = both(n_layers=n_layers, n_heads=n_heads)
    generator = torch.Generator().manual_seed(2)
    left, right, answer = torch.randint(0, 7, (3, rows), generator=generator)
    logits, expected = model(left, right), plain(left, right)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    F.cross_entropy(logits, answer).backward()
    F.cross_entropy(expected, answer).backward()
    wanted = dict(plain.named_parameters())
    for name, weight in model.named_parameters():
        assert weight.grad is not None and wanted[name].grad is not None, name
        torch.testing.assert_close(weight.grad, wanted[name].grad, rtol=1e-3, atol=1e-5, msg=name)


def test_size_and_first_weights_are_the_published_ones() -> None:
    config = PRESETS["grokking"].config
    torch.manual_seed(3)
    model = ArithmeticModel(config)
    torch.manual_seed(3)
    plain = PlainModel(config.arithmetic_modulus, config.d_model, config.n_layers, config.n_heads)
    assert sum(weight.numel() for weight in model.parameters()) == 422_784
    assert list(model.state_dict()) == list(plain.state_dict())
    for name, weight in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name


def test_stable_max_is_its_definition() -> None:
    logits = torch.tensor([[3.0, -2.0, 0.0], [-1.0, 500.0, 0.5]], requires_grad=True)
    s = [[4.0, 1 / 3, 1.0], [0.5, 501.0, 1.5]]
    expected = -(torch.tensor([s[0][1] / sum(s[0]), s[1][2] / sum(s[1])]).log().mean())
    loss = answer_loss(logits, torch.tensor([1, 2]), stable_max=True)
    assert loss.item() == pytest.approx(float(expected), rel=1e-6)
    loss.backward()
    plain = logits.detach().double().requires_grad_()
    shares = torch.where(plain >= 0, plain + 1, 1 / (1 - plain))
    (-(shares / shares.sum(1, keepdim=True)).log()[[0, 1], [1, 2]].mean()).backward()
    assert plain.grad is not None
    torch.testing.assert_close(logits.grad, plain.grad.float())


def test_loss_without_stable_max_is_cross_entropy() -> None:
    logits, answers = torch.randn(5, 9), torch.tensor([0, 8, 3, 3, 1])
    expected = (logits.exp().sum(1).log() - logits[torch.arange(5), answers]).mean()
    torch.testing.assert_close(answer_loss(logits, answers, stable_max=False), expected)


def test_evaluation_is_that_of_each_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    start = beginning(config_of())
    model, problems = start.model, start.problems
    monkeypatch.setattr("cognate_core.arithmetic.model._ROWS", 4)
    losses, right = [], []
    for index in problems.heldout:
        logits = model(problems.left[index][None], problems.right[index][None])[0].detach()
        losses.append(float(-logits.log_softmax(0)[problems.answer[index]]))
        right.append(int(logits.argmax()) == int(problems.answer[index]))
    loss, accuracy = evaluate(model, problems, problems.heldout)
    assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert accuracy == pytest.approx(sum(right) / len(right))


def test_saved_model_is_the_same(tmp_path: Path) -> None:
    model, _ = both(n_layers=3, arithmetic_operation="/")
    model.save_pretrained(tmp_path)
    state = torch.get_rng_state()
    again = ArithmeticModel.from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    left, right = torch.arange(7), torch.arange(7)
    assert torch.equal(again(left, right), model(left, right))
    assert again.config.arithmetic_operation == "/"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    both()[0].save_pretrained(tmp_path)
    shape = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**shape, "model": "poem"}))
    with pytest.raises(ValueError, match="of the kind 'poem'"):
        ArithmeticModel.from_pretrained(tmp_path)
