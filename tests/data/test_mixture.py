"""What the mixture foretells, against what `Batches` then really draws."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.data.documents import Document
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.mixture import Mixture, mix, sample_batch, shares
from cognate_core.data.prepared import Batches, PreparedData
from cognate_core.data.sources import SourceDocuments, synthetic_source
from cognate_core.errors import DataError


def source(name: str, rows: int, words: int) -> SourceDocuments:
    documents = [
        Document(f"Problem: {name} number {n}\nSolution:", f" {'so ' * words}{n}\n#### {n}") for n in range(rows)
    ]
    return SourceDocuments(name, name, "here", documents, documents[:1])


def config(**settings: object) -> TrainingConfig:
    small = {"vocab_size": 400, "train_seq_len": 64, "max_seq_len": 64, "batch_size": 4, "max_steps": 30}
    return TrainingConfig.from_values({"dataset_sources": ["GSM8K", "SVAMP"], **small, **settings})


@pytest.fixture(scope="module")
def sources() -> list[SourceDocuments]:
    return [source("GSM8K", 60, 12), source("SVAMP", 25, 3)]


@pytest.mark.parametrize("weights", [{}, {"GSM8K": 1, "SVAMP": 3}, {"SVAMP": 2}, {"GSM8K": 0, "SVAMP": 1}])
def test_shares_and_passes_are_what_training_draws(sources: list[SourceDocuments], weights: dict[str, float]) -> None:
    settings = config(mixture_weights=weights, gradient_accumulation_steps=3)
    mixture = mix(sources, settings)
    foretold = {share.name: share for share in shares(mixture, settings)}
    batches = Batches(mixture.packed, weights, settings.batch_size, settings.seed)
    tokens: Counter[str] = Counter()
    for sequence in sample_batch(mixture, settings, 30 * 3 * 4):
        tokens[sequence.dataset] += sequence.tokens("target", "end")
    for _ in range(30 * 3):
        batches.next()
    for name, share in foretold.items():
        assert share.sequences == len(mixture.packed[name].tokens)
        one = 1 / share.sequences  # whole sequences are drawn
        assert batches.epochs()[name] == pytest.approx(share.passes, abs=one)
        assert tokens[name] / tokens.total() == pytest.approx(share.of_tokens, abs=0.02)
    assert sum(share.of_sequences for share in foretold.values()) == pytest.approx(1)


@pytest.mark.parametrize("answers_only", [False, True])
def test_the_sample_is_the_batch_that_training_gets(sources: list[SourceDocuments], answers_only: bool) -> None:
    settings = config(loss_on_answer_only=answers_only, seed=5)
    mixture = mix(sources, settings)
    tokens, counted = Batches(mixture.packed, {}, settings.batch_size, seed=5).next()
    sample = sample_batch(mixture, settings, settings.batch_size)
    for row, sequence in enumerate(sample):
        kinds = [piece.kind for piece in sequence.pieces for _ in range(piece.tokens)]
        assert [kind in ("target", "end") for kind in kinds] == [bool(counts) for counts in counted[row, 1:]]
        ids = [token for token in tokens[row, 1:].tolist() if token != END_OF_TEXT_ID]
        assert "".join(piece.text for piece in sequence.pieces) == mixture.tokenizer.decode(ids)
        assert all(
            piece.text.startswith("Problem: ") == answers_only for piece in sequence.pieces if piece.kind == "given"
        )
    assert (sum(sequence.tokens("given") for sequence in sample) > 0) is answers_only


def test_another_seed_draws_another_batch(sources: list[SourceDocuments]) -> None:
    mixture = mix(sources, config())
    first, again, other = (sample_batch(mixture, config(seed=seed), 4) for seed in (1, 1, 2))
    assert first == again != other


def test_a_text_that_spells_the_end_of_text_is_no_end() -> None:
    rows = [Document("", f"<|endoftext|> spelt {n}") for n in range(4)]
    own = SourceDocuments("Own file", "mine", "mine", rows, rows[:1])
    settings = config()
    (sequence,) = sample_batch(mix([own], settings), settings, 1)
    assert sum(piece.kind == "end" for piece in sequence.pieces) == 3  # the fourth is held out, too
    assert sum(piece.text.count("<|endoftext|>") for piece in sequence.pieces) == 3


def test_what_a_long_text_goes_on_from_is_only_read() -> None:
    rows = [Document("", " ".join(f"word {n}" for n in range(60))), Document("", "short")]
    own = SourceDocuments("Own file", "mine", "mine", rows, [Document("", "held out")])
    settings = config(train_seq_len=16, batch_size=40)
    mixture = mix([own], settings)
    packed = mixture.packed["Own file"]
    sample = sample_batch(mixture, settings, len(packed.tokens))  # each sequence once
    begun = [sequence for sequence in sample if sequence.pieces[0].kind == "given"]
    assert len(begun) == sum(packed.tokens[:, 0] != END_OF_TEXT_ID) > 1
    assert {sequence.tokens("given") for sequence in begun} == {1}
    assert sum(sequence.tokens("end") for sequence in sample) <= 2, "each of the two texts ends once at most"
    assert sum(sequence.tokens("target", "end") for sequence in sample) == packed.counted.sum()


def test_it_packs_as_the_loader_does_and_leaves_its_sources_as_they_are(tmp_path: Path) -> None:
    settings = TrainingConfig(
        dataset_sources=["Synthetic"], max_train_samples=50, max_eval_samples=5, vocab_size=400, train_seq_len=128
    )
    documents = synthetic_source(settings)
    documents.train.append(documents.heldout[0])
    before = list(documents.train)
    mixture = mix([documents], settings)
    assert (documents.train, documents.skipped) == (before, Counter())

    async def prepare() -> str:
        loader = MixtureLoader(settings, tmp_path, lambda _: None, lambda _: None)
        await loader.download_dataset("Synthetic", "built in")
        return await loader.create_mixed_training_data()

    prepared = PreparedData(Path(asyncio.run(prepare())))
    assert prepared.tokenizer().to_str() == mixture.tokenizer.to_str()
    assert (prepared.packed("Synthetic", "train").tokens == mixture.packed["Synthetic"].tokens).all()
    assert (prepared.packed("Synthetic", "train").counted == mixture.packed["Synthetic"].counted).all()


def test_a_dataset_without_a_sequence_has_no_share(sources: list[SourceDocuments]) -> None:
    settings = config(train_seq_len=16)
    mixture = mix([sources[0], source("SVAMP", 5, 0)], settings)
    empty = Mixture(mixture.tokenizer, {name: packed for name, packed in mixture.packed.items() if name == "GSM8K"})
    assert len(empty.packed["GSM8K"].tokens) == 0
    with pytest.raises(DataError, match="no training sequences"):
        shares(empty, settings)
    if len(mixture.packed["SVAMP"].tokens):
        assert [share.of_sequences for share in shares(mixture, settings)] == [0.0, 1.0]


def test_long_rows_are_cut_as_in_training(sources: list[SourceDocuments]) -> None:
    settings = config(loss_on_answer_only=True, train_seq_len=24, long_rows="cut")
    mixture = mix(sources, settings)
    assert [share.left_out for share in shares(mixture, settings)] == [0, 0]
    tokens, counted = Batches(mixture.packed, {}, settings.batch_size, settings.seed).next()
    begin_inside = 0
    for row, sequence in enumerate(sample_batch(mixture, settings, settings.batch_size)):
        first = 1 if tokens[row, 0] == END_OF_TEXT_ID else 0  # a piece shows the token before it, which is only read
        begin_inside += not first
        kinds = [piece.kind in ("target", "end") for piece in sequence.pieces for _ in range(piece.tokens)]
        assert kinds == counted[row, first:].astype(bool).tolist()
    assert begin_inside
