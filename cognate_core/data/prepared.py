"""Prepared training data: a folder of packed tokens, and the order in which training draws from it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from cognate_core.contracts import DataReport, SourceReport
from cognate_core.data.packing import Packed
from cognate_core.data.tokenizer import load_tokenizer
from cognate_core.errors import DataError

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class HeldoutPrompt:
    """A held-out problem to try the model on while it trains."""

    dataset: str
    prompt: str
    expected: str


class PreparedData:
    """A folder that the DatasetLoader made: tokenizer, packed sequences of each source, and where they came from.

    The manifest is written last: a folder without one is not complete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            self.report = report_from_json(manifest["report"])
            self.sources: list[str] = manifest["sources"]
            self.prompts = [HeldoutPrompt(**prompt) for prompt in manifest["prompts"]]
            sizes: dict[str, int] = manifest["sizes"]
            if any((folder / name).stat().st_size != size for name, size in sizes.items()):
                raise ValueError("a file is cut short")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"The prepared data in {folder} is not complete. Start the run again.") from error

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the tokens."""
        return load_tokenizer(self.folder / "tokenizer.json")

    def packed(self, source: str, split: str) -> Packed:
        """The sequences of a source; `split` is "train" or "heldout". Mapped from disk, not read whole."""
        stem = f"{self.sources.index(source)}-{split}"
        return Packed(
            tokens=np.load(self.folder / f"{stem}-tokens.npy", mmap_mode="r", allow_pickle=False),
            counted=np.load(self.folder / f"{stem}-counted.npy", mmap_mode="r", allow_pickle=False),
            skipped=0,
        )


def write_prepared(
    folder: Path,
    tokenizer: Tokenizer,
    packed: Mapping[str, Mapping[str, Packed]],
    prompts: Sequence[HeldoutPrompt],
    report: DataReport,
) -> None:
    """Write what PreparedData reads into an existing folder. `packed` is source -> split -> sequences."""
    tokenizer.save(str(folder / "tokenizer.json"))
    for number, splits in enumerate(packed.values()):
        for split, sequences in splits.items():
            np.save(folder / f"{number}-{split}-tokens.npy", sequences.tokens, allow_pickle=False)
            np.save(folder / f"{number}-{split}-counted.npy", sequences.counted, allow_pickle=False)
    manifest = {
        "sources": list(packed),
        "prompts": [asdict(prompt) for prompt in prompts],
        "report": asdict(report),
        "sizes": {path.name: path.stat().st_size for path in folder.iterdir()},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def write_report(folder: Path, report: DataReport) -> None:
    """Put the report of the newest run that uses the folder in place of the one before, whole or not at all."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    temporary = folder / f"{MANIFEST}.tmp-{uuid.uuid4().hex}"
    temporary.write_text(json.dumps({**manifest, "report": asdict(report)}, indent=1), encoding="utf-8")
    temporary.replace(folder / MANIFEST)


def report_from_json(values: Mapping[str, Any]) -> DataReport:
    """The DataReport that `asdict` turned into `values`."""
    sources = [SourceReport(**source) for source in values["sources"]]
    return DataReport(**{**values, "sources": sources})


class Batches:
    """Endless training batches, in an order that depends on the seed and the position alone.

    Each source is drawn as often as its weight says, to within one sequence at any time, and is passed through in a
    new shuffled order each epoch.
    """

    def __init__(self, sources: Mapping[str, Packed], weights: Mapping[str, float], batch_size: int, seed: int) -> None:
        self._sources = {name: packed for name, packed in sources.items() if len(packed.tokens)}
        if not self._sources:
            raise DataError("There is no training sequence. Raise the training length or choose other data.")
        shares = np.array(
            [weights.get(name, 1.0) if weights else len(packed.tokens) for name, packed in self._sources.items()],
            dtype=np.float64,
        )
        if not shares.sum():
            raise DataError(
                f"Only {', '.join(self._sources)} could be had, and the mixture weights leave it out. "
                "Give it a weight above zero."
            )
        self._shares = shares / shares.sum()
        self._batch_size, self._seed = batch_size, seed
        self._drawn = np.zeros(len(shares), dtype=np.int64)  # sequences taken from each source so far
        self._order: dict[int, tuple[int, npt.NDArray[np.int64]]] = {}  # source -> (epoch, permutation)

    def next(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(tokens, counted), each (batch_size, length + 1)."""
        rows = [self._next_sequence() for _ in range(self._batch_size)]
        tokens, counted = zip(*rows, strict=True)
        return np.stack(tokens).astype(np.int64), np.stack(counted).astype(np.int64)

    def epochs(self) -> dict[str, float]:
        """How often each source has been passed through so far."""
        return {
            name: float(drawn / len(packed.tokens))
            for (name, packed), drawn in zip(self._sources.items(), self._drawn, strict=True)
        }

    def state_dict(self) -> dict[str, Any]:
        """The position; with the seed it decides everything that follows."""
        return {"drawn": self._drawn.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self._drawn = np.array(state["drawn"], dtype=np.int64)

    def _next_sequence(self) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        lag = self._shares * (self._drawn.sum() + 1) - self._drawn  # the source furthest behind its share is next
        chosen = int(lag.argmax())
        packed = list(self._sources.values())[chosen]
        epoch, position = divmod(int(self._drawn[chosen]), len(packed.tokens))
        if self._order.get(chosen, (-1, None))[0] != epoch:
            rng = np.random.default_rng((self._seed, chosen, epoch))
            self._order[chosen] = (epoch, rng.permutation(len(packed.tokens)))
        self._drawn[chosen] += 1
        index = self._order[chosen][1][position]
        return packed.tokens[index], packed.counted[index]
