"""The plain backbone, without pondering and memory: a reference from the papers, causality, gradients and files."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file

from cognate_core.config import TrainingConfig
from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.model import ARCHITECTURE_FIELDS, IGNORED_TARGET, CognateModel, CognateState, count_parameters
from tests.model.tiny import config_of, lively, seeded, token_ids


@st.composite
def small_configs(draw: st.DrawFn) -> TrainingConfig:
    n_heads = draw(st.integers(1, 4))
    head_dim = 2 * draw(st.integers(-(-8 // (2 * n_heads)), 6))
    return config_of(
        d_model=n_heads * head_dim,
        n_layers=draw(st.integers(1, 3)),
        n_heads=n_heads,
        vocab_size=draw(st.integers(300, 350)),
        max_seq_len=draw(st.integers(16, 40)),
    )


# Size


@settings(max_examples=20)
@given(config=small_configs())
def test_parameters_are_counted_by_component(config: TrainingConfig) -> None:
    counts = count_parameters(config)
    d, vocabulary, layers = config.d_model, config.vocab_size, config.n_layers
    assert counts == {
        "embedding": vocabulary * d,
        "attention": layers * 4 * d * d,
        "feed_forward": layers * 3 * d * 4 * d,
        "norms": (2 * layers + 1) * d,
        "head": vocabulary * d,
        "total": 2 * vocabulary * d + layers * (16 * d * d + 2 * d) + d,
    }
    assert counts["total"] == sum(weight.numel() for weight in CognateModel(config).parameters())


def test_the_full_size_model_is_counted_at_once_and_without_memory() -> None:
    counts = count_parameters(
        TrainingConfig(d_model=4096, n_layers=96, n_heads=64, act_enabled=False, ltm_enabled=False)
    )
    assert counts["feed_forward"] == 96 * 12 * 4096**2
    assert counts["total"] == sum(count for part, count in counts.items() if part != "total")


# The forward pass


def reference_logits(model: CognateModel, ids: np.ndarray) -> np.ndarray:
    """One sequence in float64, position by position, from the papers' formulas and not from the model's code."""
    config = model.config
    weights = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    d, heads = config.d_model, config.n_heads
    head_dim = d // heads

    def rms_norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return scale * x / np.sqrt((x**2).mean(-1, keepdims=True) + np.finfo(np.float32).eps)

    def rope(x: np.ndarray) -> np.ndarray:
        """x: (time, head_dim); pair (i, i + half) as one complex number, turned by position * theta_i."""
        half = head_dim // 2
        turning = np.exp(1j * np.outer(np.arange(len(x)), 10_000.0 ** (-2 * np.arange(half) / head_dim)))
        turned = (x[:, :half] + 1j * x[:, half:]) * turning
        return np.concatenate([turned.real, turned.imag], axis=1)

    x = weights["embedding.weight"][ids]
    for layer in range(config.n_layers):
        part = {name.removeprefix(f"blocks.{layer}."): w for name, w in weights.items()}
        normed = rms_norm(x, part["attention_norm.weight"])
        query, key, value = (normed @ w.T for w in np.split(part["attention.qkv.weight"], 3))
        mixed = np.zeros_like(x)
        for head in range(heads):
            own = slice(head * head_dim, (head + 1) * head_dim)
            q, k = rope(query[:, own]), rope(key[:, own])
            for now in range(len(ids)):
                cache = slice(max(n for n in range(now + 1) if n == 0 or ids[n] == END_OF_TEXT_ID), now + 1)
                scores = k[cache] @ q[now] / math.sqrt(head_dim)
                shares = np.exp(scores - scores.max())
                mixed[now, own] = (shares / shares.sum()) @ value[cache, own]
        x = x + mixed @ part["attention.out.weight"].T
        normed = rms_norm(x, part["feed_forward_norm.weight"])
        gate, up = (normed @ w.T for w in np.split(part["feed_forward.gate_up.weight"], 2))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ part["feed_forward.down.weight"].T
    return rms_norm(x, weights["final_norm.weight"]) @ weights["head.weight"].T


@settings(max_examples=12)
@given(config=small_configs(), seed=st.integers(0, 100), time=st.integers(1, 16))
def test_the_logits_are_those_of_the_reference(config: TrainingConfig, seed: int, time: int) -> None:
    model = lively(config, seed)
    ids = token_ids(2, time, seed)
    with torch.no_grad():
        logits = model(ids).logits
    assert logits.shape == (2, time, config.vocab_size)
    for row in range(2):
        expected = reference_logits(model, ids[row].numpy())
        assert np.abs(logits[row].numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def test_an_untrained_model_guesses_evenly() -> None:
    config = config_of(d_model=32, vocab_size=500)
    output = seeded(config)(token_ids(4, 32, 1, 500), token_ids(4, 32, 2, 500))
    assert output.loss.item() == pytest.approx(math.log(500), abs=0.05)


def test_the_first_weights_are_spread_as_in_gpt2() -> None:
    model = seeded(config_of(d_model=64, n_layers=8, vocab_size=1_000))
    for name, weight in model.named_parameters():
        if "norm" in name:
            assert (weight == 1).all()
        elif name.endswith(("attention.out.weight", "down.weight")):
            assert weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
        else:
            assert weight.std().item() == pytest.approx(0.02, rel=0.05)


@settings(max_examples=15)
@given(seed=st.integers(0, 100), changed=st.integers(1, 15))
def test_no_token_sees_a_later_one(seed: int, changed: int) -> None:
    model = lively(config_of(), seed)
    ids = token_ids(1, 16, seed, first=1)  # one document
    other = ids.clone()
    other[0, changed] = other[0, changed] % 299 + 1
    with torch.no_grad():
        before, after = model(ids).logits[0], model(other).logits[0]
    assert torch.equal(before[:changed], after[:changed])
    for position in range(changed, 16):
        assert not torch.equal(before[position], after[position]), "an earlier token is not seen"


def test_the_rows_of_a_batch_do_not_see_each_other() -> None:
    model = lively(config_of())
    ids = token_ids(3, 12)
    with torch.no_grad():
        together = model(ids).logits
        alone = torch.cat([model(ids[row : row + 1]).logits for row in range(3)])
        other = ids.clone()
        other[1] = token_ids(1, 12, seed=9)[0]
        beside_another = model(other).logits
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.equal(together[[0, 2]], beside_another[[0, 2]])


def test_the_same_word_means_another_thing_in_another_place() -> None:
    model = lively(config_of())
    ids = torch.tensor([[5, 7, 7, 7]])
    with torch.no_grad():
        logits = model(ids).logits[0]
    assert not torch.allclose(logits[1], logits[2], atol=1e-3)


# The loss


def test_the_loss_is_the_mean_over_the_targets_that_count() -> None:
    model = lively(config_of())
    ids, targets = token_ids(2, 10, 1), token_ids(2, 10, 2)
    targets[0, :7] = IGNORED_TARGET
    targets[1, 9] = IGNORED_TARGET
    with torch.no_grad():
        output = model(ids, targets)
    wanted = []
    for row, time in (targets != IGNORED_TARGET).nonzero().tolist():
        logits = output.logits[row, time].double().numpy()
        wanted.append(np.log(np.exp(logits).sum()) - logits[targets[row, time]])
    assert len(wanted) == 12
    assert output.loss.item() == pytest.approx(np.mean(wanted), rel=1e-5)


def test_an_ignored_target_changes_nothing() -> None:
    model = lively(config_of())
    ids, targets = token_ids(1, 8, 1), token_ids(1, 8, 2)
    targets[0, 5:] = IGNORED_TARGET
    with torch.no_grad():
        whole, cut = model(ids, targets).loss, model(ids[:, :5], targets[:, :5]).loss
    assert whole.item() == pytest.approx(cut.item(), rel=1e-6)


def test_without_targets_there_is_no_loss() -> None:
    assert seeded(config_of())(token_ids(1, 4)).loss is None


def test_gradients_reach_every_parameter() -> None:
    model = seeded(config_of())
    model(token_ids(2, 16, 1), token_ids(2, 16, 2)).loss.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name
        assert weight.grad.isfinite().all(), name


@pytest.mark.parametrize("cache", [0, 20])
def test_a_text_that_is_too_long_is_refused_in_plain_words(cache: int) -> None:
    model = seeded(config_of(max_seq_len=32))
    state = CognateState()
    if cache:
        model(token_ids(1, cache), state=state)
    with pytest.raises(ValueError, match=r"^The text has 33 tokens; this model reads at most 32\. Shorten it\.$"):
        model(token_ids(1, 33 - cache), state=state)
    assert state.position == cache, "what was refused was read all the same"
    assert model(token_ids(1, 32 - cache), state=state).logits.shape[1] == 32 - cache


@settings(max_examples=25)
@given(pieces=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 50))
def test_reading_piece_by_piece_gives_the_same_logits(pieces: list[int], seed: int) -> None:
    model = lively(config_of(max_seq_len=64), seed)
    ids = token_ids(2, sum(pieces), seed)
    state = CognateState()
    found, start = [], 0
    with torch.no_grad():
        for size in pieces:
            found.append(model(ids[:, start : start + size], state=state).logits)
            start += size
        whole = model(ids).logits
    assert state.position == start
    assert torch.allclose(torch.cat(found, dim=1), whole, atol=1e-4)


# Files


def test_a_saved_model_gives_equal_logits(tmp_path: Path) -> None:
    config = config_of(d_model=24, n_layers=3, n_heads=3, vocab_size=333, max_seq_len=48)
    model = lively(config)
    model.save_pretrained(tmp_path)
    again = CognateModel.from_pretrained(tmp_path)
    ids = token_ids(2, 20)
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)
    assert not again.training
    assert {name: getattr(again.config, name) for name in ARCHITECTURE_FIELDS} == {
        name: getattr(config, name) for name in ARCHITECTURE_FIELDS
    }


def test_the_files_are_plain_safetensors_and_json(tmp_path: Path) -> None:
    model = seeded(config_of())
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    stored = load_file(tmp_path / "model.safetensors")
    assert set(stored) == {name for name, _ in model.named_parameters()}
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "model_type": "cognate",
        "d_model": 16,
        "n_layers": 2,
        "n_heads": 2,
        "vocab_size": 300,
        "max_seq_len": 32,
        "attention_window": 512,
        "act_enabled": False,
        "max_act_steps": 16,
        "act_inference_steps": 6,
        "act_threshold": 0.99,
        "ltm_enabled": False,
        "d_mem": 216,
        "mem_capacity": 4096,
        "mem_topk": 4,
        "mem_segment": 128,
        "mem_writes": 16,
        "mem_layers": "all",
    }


def test_a_model_of_the_first_format_is_a_plain_one(tmp_path: Path) -> None:
    """Before pondering and memory, config.json had the shape alone."""
    model = lively(config_of(max_seq_len=700))
    model.save_pretrained(tmp_path)
    shape = json.loads((tmp_path / "config.json").read_text())
    fields = ("model_type", "d_model", "n_layers", "n_heads", "vocab_size", "max_seq_len")
    (tmp_path / "config.json").write_text(json.dumps({name: shape[name] for name in fields}))
    again = CognateModel.from_pretrained(tmp_path)
    assert (again.pondering, again.writer) == (None, None)
    ids = token_ids(1, 700)
    with torch.no_grad():
        far = again(ids).logits
        expected = lively(config_of(max_seq_len=700, attention_window=700))(ids).logits
    assert torch.equal(far, expected), "it once looked back over the whole text"


def test_a_model_from_before_one_layer_could_read_alone_reads_in_all(tmp_path: Path) -> None:
    model = lively(config_of(ltm_enabled=True, d_mem=8, mem_segment=8, mem_writes=4))
    model.save_pretrained(tmp_path)
    shape = json.loads((tmp_path / "config.json").read_text())
    del shape["mem_layers"]
    (tmp_path / "config.json").write_text(json.dumps(shape))
    ids = token_ids(1, 30)
    with torch.no_grad():
        assert torch.equal(CognateModel.from_pretrained(tmp_path)(ids).logits, model(ids).logits)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_an_error(tmp_path: Path, name: str) -> None:
    seeded(config_of()).save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(OSError, match=name):
        CognateModel.from_pretrained(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    seeded(config_of(d_model=16)).save_pretrained(tmp_path)
    shape = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**shape, "d_model": 32}))
    with pytest.raises(RuntimeError, match="size mismatch"):
        CognateModel.from_pretrained(tmp_path)


def test_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    seeded(config_of(n_layers=2)).save_pretrained(tmp_path)
    shape = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**shape, "n_layers": 3}))
    with pytest.raises(RuntimeError, match="Missing key"):
        CognateModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 200, 10_000])
def test_weights_that_were_cut_off_are_refused(tmp_path: Path, kept: int) -> None:
    seeded(config_of()).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises((SafetensorError, RuntimeError, OSError)):
        CognateModel.from_pretrained(tmp_path)
