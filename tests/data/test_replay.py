from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.packing import Packed
from cognate_core.data.prepared import Batches, PreparedData
from cognate_core.data.replay import batch_at
from cognate_core.errors import DataError


def packed(rows: int, first: int) -> Packed:
    tokens = np.arange(first, first + rows, dtype=np.uint16)[:, None].repeat(3, 1)
    return Packed(tokens, np.ones((rows, 3), dtype=np.uint8), 0)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.lists(st.integers(0, 5), min_size=4, max_size=4),
    st.integers(1, 4),
    st.integers(0, 30),
)
def test_skipping_comes_to_where_reading_does(rows: list[int], weights: list[int], size: int, batches: int) -> None:
    sources = {f"s{n}": packed(count, 100 * n) for n, count in enumerate(rows)}
    shares = {f"s{n}": float(weights[n]) for n in range(len(rows))}
    if not any(shares.values()):
        shares = {}
    read = Batches(sources, shares, size, seed=7)
    for _ in range(batches):
        read.next()
    skipped = Batches(sources, shares, 1, seed=7)
    skipped.skip(batches * size)
    assert skipped.state_dict() == read.state_dict()
    tokens, _ = read.next()
    found = skipped.next_sources(size)
    assert [int(sources[name].tokens[index][0]) for name, index in found] == tokens[:, 0].tolist()


@pytest.fixture(scope="module")
def prepared(tiny_config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of prepared data."""
    loader = MixtureLoader(tiny_config, tmp_path_factory.mktemp("data"), lambda _: None, lambda _: None)
    asyncio.run(loader.download_dataset("Synthetic", "built in"))
    return Path(asyncio.run(loader.create_mixed_training_data()))


@pytest.fixture
def config(tiny_config: TrainingConfig) -> TrainingConfig:
    return tiny_config.with_overrides({"batch_size": 2, "gradient_accumulation_steps": 2})


def words_of(data: PreparedData, tokens: np.ndarray) -> list[str]:
    """An independent reading: split where the end of text stands."""
    tokenizer = data.tokenizer()
    whole = " ".join(map(str, tokens.tolist())).split(f" {END_OF_TEXT_ID} ")
    ids = [[int(token) for token in part.split() if int(token) != END_OF_TEXT_ID] for part in whole]
    return [tokenizer.decode(part) for part in ids if part]


def test_a_batch_is_told_as_training_read_it(prepared: Path, config: TrainingConfig, tmp_path: Path) -> None:
    data = PreparedData(prepared)
    batches = Batches({name: data.packed(name, "train") for name in data.sources}, {}, 2, seed=3)
    for _ in range(4):  # two steps of two batches
        batches.next()
    expected = [(row, mask) for _ in range(2) for row, mask in zip(*batches.next(), strict=True)]
    found = batch_at(prepared, config, 3, 3, tmp_path / "begin")
    assert [each.texts for each in found] == [words_of(data, row) for row, _ in expected]
    assert [each.counted_tokens for each in found] == [int(mask[1:].sum()) for _, mask in expected]
    assert {each.source for each in found} == {"Synthetic"}
    assert found[0].texts[0].startswith("Problem:")


def test_a_part_of_a_long_text_is_told_as_one(config: TrainingConfig, tmp_path: Path) -> None:
    story = " ".join(f"On day {n} it rained." for n in range(90))
    (tmp_path / "own.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in (story, "Once.", "So.")))
    own = config.with_overrides({"dataset_path": str(tmp_path / "own.jsonl"), "batch_size": 50})
    loader = MixtureLoader(own, tmp_path / "data", lambda _: None, lambda _: None)
    asyncio.run(loader.download_dataset("Own file", "own.jsonl"))
    folder = Path(asyncio.run(loader.create_mixed_training_data()))
    found = {tuple(each.texts): each for each in batch_at(folder, own, 3, 1, tmp_path / "begin")}
    parts = [each for each in found.values() if each.partial]
    assert len(parts) > 2
    for each in parts:
        assert each.texts[0] in story, "a part is told as it stands in the text"
    whole = [each for each in found.values() if not each.partial]
    assert all(text in ("Once.", "So.") for each in whole for text in each.texts)


def test_a_branch_is_told_from_where_it_began(prepared: Path, config: TrainingConfig, tmp_path: Path) -> None:
    begin = tmp_path / "begin" / "step-00000002"
    begin.mkdir(parents=True)
    (begin / "state.json").write_text(json.dumps({"step": 2, "batches": {"drawn": [8]}}))
    assert batch_at(prepared, config, 3, 3, tmp_path / "begin") == batch_at(prepared, config, 3, 3, tmp_path / "none")
    with pytest.raises(DataError, match="began after step 2"):
        batch_at(prepared, config, 3, 2, tmp_path / "begin")


def test_data_that_are_gone_are_told(config: TrainingConfig, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is incomplete"):
        batch_at(tmp_path, config, 3, 1, tmp_path / "begin")
