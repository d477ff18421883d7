"""ArithmeticLoader: the DatasetLoader of the Grokking lab. It calculates the problems and fetches nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cognate_core.arithmetic.problems import Problems, beginning, tokenizer
from cognate_core.config import TrainingConfig
from cognate_core.contracts import ARITHMETIC, DataReport, DatasetLoader, RecordSink, SourceReport
from cognate_core.data.prepared import prepared_before, put_in_place, write_prepared


class ArithmeticLoader(DatasetLoader):
    """Prepares a folder with the tokenizer and the problems' report; each model splits the problems by its own seed."""

    def __init__(self, config: TrainingConfig, cache: Path, record: RecordSink) -> None:
        self._config, self._cache, self._record = config, cache, record

    async def download_dataset(self, dataset_name: str, dataset_id: str) -> bool:
        return True

    async def create_mixed_training_data(self) -> str:
        problems = beginning(self._config).problems
        report = _report(problems, self._config)
        folder = self._cache / "arithmetic" / report.content_hash  # not to displace costly texts
        if prepared_before(folder) is None:
            put_in_place(folder, lambda unfinished: write_prepared(unfinished, tokenizer(problems), {}, [], report))
        self._record(report)
        return str(folder)

    def get_dataset_results(self) -> dict[str, bool]:
        return {ARITHMETIC: True}


def _report(problems: Problems, config: TrainingConfig) -> DataReport:
    train = len(problems.train)
    what = f"x {problems.operation} y modulo {problems.modulus}"
    facts = [ARITHMETIC, problems.operation, problems.modulus, train]
    source = SourceReport(
        name=ARITHMETIC,
        asked_for=what,
        origin=f"calculated on this computer: {what}",
        loaded=True,
        reason="",
        train_rows=train,
        heldout_rows=len(problems.heldout),
        train_tokens=train,  # one answer each
        train_sequences=train,
    )
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    return DataReport([source], fallback=False, content_hash=digest, vocabulary=problems.modulus + 2, from_cache=False)
