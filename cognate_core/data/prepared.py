"""Prepared training data: a folder of packed tokens, and the order in which training draws from it."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from cognate_core.contracts import DataReport
from cognate_core.contracts.json_lines import report_from_json
from cognate_core.data.packing import Packed
from cognate_core.data.tokenizer import load_tokenizer
from cognate_core.errors import DataError
from cognate_core.files import replace_durably, require_space, sync_folder, write_durably

MANIFEST = "manifest.json"
DATA_CHANGED = (
    "The training text is no longer what this run began with (a dataset or file has changed or is gone). Restore it "
    "and resume, or start a new run."
)


@dataclass(frozen=True, slots=True)
class HeldoutPrompt:
    """A held-out problem to try the model on while it trains."""

    dataset: str
    prompt: str
    expected: str


class PreparedData:
    """A folder made by the DatasetLoader: tokenizer, packed sequences of each source, and where they came from.

    The manifest holds a checksum of each file and of itself, and is written last.

    Raises:
        DataError: the folder is incomplete, or a file has changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            manifest = _read_manifest(folder)
            for name, checksum in manifest["sha256"].items():
                with (folder / name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != checksum:
                        raise ValueError(f"{name} differs from what was written")
            self.report = report_from_json(manifest["report"])
            self.sources: list[str] = manifest["sources"]
            self.prompts = [HeldoutPrompt(**prompt) for prompt in manifest["prompts"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"The prepared data in {folder} is incomplete or damaged ({error}). Start the run again to prepare it "
                "again."
            ) from error

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


def prepared_before(folder: Path) -> PreparedData | None:
    """What an earlier run prepared there; None if it is missing, incomplete or damaged."""
    try:
        return PreparedData(folder)
    except DataError:
        return None


def put_in_place(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder, then rename it to `folder`: prepared data is there whole or not at all.

    A damaged folder is replaced. A sound one, made by another run in the meantime, stays.
    """
    temporary = folder.with_name(f"{folder.name}.tmp-{uuid.uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        if folder.exists() and prepared_before(folder) is None:
            shutil.rmtree(folder)  # damaged
        temporary.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if prepared_before(folder) is None:  # else another run made the same in the meantime
            raise


def write_prepared(
    folder: Path,
    tokenizer: Tokenizer,
    packed: Mapping[str, Mapping[str, Packed]],
    prompts: Sequence[HeldoutPrompt],
    report: DataReport,
) -> None:
    """Write what PreparedData reads, into an existing folder. `packed` is source -> split -> sequences."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for number, splits in enumerate(packed.values()):
        for split, sequences in splits.items():
            arrays[f"{number}-{split}-tokens.npy"] = sequences.tokens
            arrays[f"{number}-{split}-counted.npy"] = sequences.counted
    require_space(folder, sum(array.nbytes for array in arrays.values()), "The prepared data")
    checksums: dict[str, str] = {}

    def write(name: str, content: bytes) -> None:
        write_durably(folder / name, content)
        checksums[name] = hashlib.sha256(content).hexdigest()

    write("tokenizer.json", tokenizer.to_str(pretty=True).encode())
    for name, array in arrays.items():
        write(name, _npy(array))
    manifest = {
        "sources": list(packed),
        "prompts": [asdict(prompt) for prompt in prompts],
        "report": asdict(report),
        "sha256": checksums,
    }
    write_durably(folder / MANIFEST, _manifest(manifest))
    sync_folder(folder)


def read_report(folder: Path) -> DataReport:
    """Where the data of a prepared folder came from. Its packed text is not read.

    Raises:
        DataError: the manifest is missing or damaged.
    """
    try:
        return report_from_json(_read_manifest(folder)["report"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"The prepared data in {folder} is incomplete or damaged ({error}).") from error


def write_report(folder: Path, report: DataReport) -> None:
    """Replace the report by that of the newest run that uses the folder, whole or not at all."""
    replace_durably(folder / MANIFEST, _manifest({**_read_manifest(folder), "report": asdict(report)}))


def _manifest(values: Mapping[str, Any]) -> bytes:
    return json.dumps({**values, "own_sha256": _checksum(values)}, indent=1).encode()


def _read_manifest(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if values.pop("own_sha256") != _checksum(values):
        raise ValueError(f"{MANIFEST} differs from what was written")
    return values


def _checksum(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


class Batches:
    """Endless training batches; their order depends only on the seed and the position.

    Each source is drawn in proportion to its weight, at any time to within one sequence, and is reshuffled each epoch.
    """

    def __init__(self, sources: Mapping[str, Packed], weights: Mapping[str, float], batch_size: int, seed: int) -> None:
        self._sources = {name: packed for name, packed in sources.items() if len(packed.tokens)}
        if not self._sources:
            raise DataError("There are no training sequences. Raise the training length or choose other data.")
        shares = np.array(
            [weights.get(name, 1.0) if weights else len(packed.tokens) for name, packed in self._sources.items()],
            dtype=np.float64,
        )
        if not shares.sum():
            raise DataError(
                f"The only data available ({', '.join(self._sources)}) has a mixture weight of zero. "
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

    def next_sources(self, count: int) -> list[tuple[str, int]]:
        """Like `next` for `count` sequences, without reading them: the source of each and its index there."""
        return [self._next_index() for _ in range(count)]

    def skip(self, count: int) -> None:
        """Continue as if `count` sequences had been read."""
        if len(self._shares) == 1:
            self._drawn += count
            return
        for _ in range(count):
            self._drawn[self._furthest_behind()] += 1

    def epochs(self) -> dict[str, float]:
        """How often each source has been passed through so far."""
        return {
            name: float(drawn / len(packed.tokens))
            for (name, packed), drawn in zip(self._sources.items(), self._drawn, strict=True)
        }

    def shares(self) -> dict[str, float]:
        """Each source's share of the sequences."""
        return dict(zip(self._sources, self._shares.tolist(), strict=True))

    def token_shares(self) -> dict[str, float]:
        """Each source's share of the tokens that count as targets; empty if none counts."""
        tokens = {
            name: share * float(self._sources[name].counted[:, 1:].sum()) / len(self._sources[name].tokens)
            for name, share in self.shares().items()
        }
        together = sum(tokens.values())
        return {name: count / together for name, count in tokens.items()} if together else {}

    def state_dict(self) -> dict[str, Any]:
        """The position; with the seed it determines everything that follows."""
        return {"drawn": self._drawn.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self._drawn = np.array(state["drawn"], dtype=np.int64)

    def _next_sequence(self) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        name, index = self._next_index()
        packed = self._sources[name]
        return packed.tokens[index], packed.counted[index]

    def _furthest_behind(self) -> int:
        """The source furthest behind its share: the next to draw from."""
        return int((self._shares * (self._drawn.sum() + 1) - self._drawn).argmax())

    def _next_index(self) -> tuple[str, int]:
        chosen = self._furthest_behind()
        name, packed = list(self._sources.items())[chosen]
        epoch, position = divmod(int(self._drawn[chosen]), len(packed.tokens))
        if self._order.get(chosen, (-1, None))[0] != epoch:
            rng = np.random.default_rng((self._seed, chosen, epoch))
            self._order[chosen] = (epoch, rng.permutation(len(packed.tokens)))
        self._drawn[chosen] += 1
        return name, int(self._order[chosen][1][position])
