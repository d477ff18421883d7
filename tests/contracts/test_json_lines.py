"""Records through JSON and back, out of logs that may be torn, and which of them count after a rewind."""

import dataclasses
import json
import math
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cognate_core.contracts import (
    DataReport,
    Evaluation,
    Event,
    LayerFigures,
    PonderHistogram,
    Record,
    Rewind,
    Sample,
    SourceReport,
    StepMetrics,
)
from cognate_core.contracts.json_lines import is_before, read_records, record_from_json, record_to_json

texts = st.text(max_size=30) | st.just("half a letter \ud800") | st.just("two\nlines\u2028 and \x85more")
counts = st.integers(0, 2**53)
floats = st.floats()
optional_floats = st.none() | st.floats()

sources = st.builds(
    SourceReport,
    name=texts,
    asked_for=texts,
    origin=texts,
    loaded=st.booleans(),
    reason=texts,
    train_rows=counts,
    heldout_rows=counts,
    skipped=st.dictionaries(texts, counts, max_size=3),
    train_tokens=counts,
    train_sequences=counts,
)
KINDS: dict[type, st.SearchStrategy[Any]] = {
    StepMetrics: st.builds(
        StepMetrics,
        texts,
        counts,
        floats,
        floats,
        floats,
        floats,
        counts,
        floats,
        floats,
        *[optional_floats] * 6,
    ),
    PonderHistogram: st.builds(PonderHistogram, texts, counts, st.lists(counts, max_size=5)),
    LayerFigures: st.builds(
        LayerFigures,
        texts,
        counts,
        st.lists(texts, max_size=3),
        *[st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=3)] * 3,
        st.lists(st.lists(counts, max_size=3), max_size=3),
    ),
    Evaluation: st.builds(
        Evaluation, texts, counts, texts, floats, counts, optional_floats, st.none() | counts, optional_floats
    ),
    Sample: st.builds(Sample, texts, counts, texts, texts, texts, texts),
    Event: st.builds(
        Event, st.sampled_from(["info", "warning", "error"]), texts, st.none() | texts, st.none() | counts, texts
    ),
    DataReport: st.builds(DataReport, st.lists(sources, max_size=3), st.booleans(), texts, counts, st.booleans()),
    Rewind: st.builds(Rewind, texts, st.integers(-1, 2**53), st.integers(-1, 2**53)),
}
any_record = st.one_of(*KINDS.values())


def test_every_kind_of_record_is_tested_here() -> None:
    assert set(KINDS) == set(typing.get_args(Record))


def there_and_back(record: Record) -> Record:
    return record_from_json(json.loads(json.dumps(record_to_json(record), allow_nan=False)))


def comparable(record: Record) -> Any:
    """All fields, those that == leaves out too, with a word for what is no number."""
    return type(record), {key: "NaN" if value != value else value for key, value in dataclasses.asdict(record).items()}


def as_it_comes_back(record: Record) -> Record:
    """What is no number comes back as NaN, or as None where a row may lack the figure."""
    lacking = {field.name: math.nan if field.type == "float" else None for field in dataclasses.fields(record)}
    changes: dict[str, Any] = {
        key: lacking[key]
        for key, value in dataclasses.asdict(record).items()
        if isinstance(value, float) and not math.isfinite(value)
    }
    return dataclasses.replace(record, **changes)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=60)
@given(data=st.data())
def test_a_record_goes_through_json_and_comes_back(kind: type, data: st.DataObject) -> None:
    record: Record = data.draw(KINDS[kind])
    assert type(record) is kind
    assert comparable(there_and_back(record)) == comparable(as_it_comes_back(record))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_no_number_is_null_and_comes_back_as_none_at_all(value: float) -> None:
    metrics = StepMetrics("m", 1, value, 0.1, value, value, 5, 0.2, 0.3, None, value, 4.0)
    values = record_to_json(metrics)
    assert [values[name] for name in ("loss", "grad_norm", "filtered_grad_norm")] == [None] * 3
    found = there_and_back(metrics)
    assert isinstance(found, StepMetrics)
    assert math.isnan(found.loss) and math.isnan(found.grad_norm) and math.isnan(found.filtered_grad_norm)
    assert (found.learning_rate, found.seconds) == (0.1, 0.2)
    assert (found.ponder_steps, found.ponder_loss, found.memory_notes) == (None, None, 4.0)
    evaluation = there_and_back(Evaluation("m", 1, "GSM8K", value, 5))
    assert isinstance(evaluation, Evaluation) and math.isnan(evaluation.loss)


def test_the_time_of_an_event_is_kept() -> None:
    event = Event("info", "x", created_at="2020-01-01T00:00:00.000+00:00")
    found = there_and_back(event)
    assert isinstance(found, Event) and found.created_at == event.created_at


def test_the_sources_of_a_report_are_records_again() -> None:
    source = SourceReport("GSM8K", "openai/gsm8k", "hub", True, "", 1, 2, {"too long": 3}, 4, 5)
    report = there_and_back(DataReport([source], False, "abc", 400, True))
    assert isinstance(report, DataReport) and report.sources == [source]


GOOD = record_to_json(Evaluation("m", 1, "GSM8K", 2.0, 5))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"type": "Evaluation"},
        {**GOOD, "type": "Nonsense"},
        {**GOOD, "type": None},
        {**GOOD, "type": ["Evaluation"]},
        {**GOOD, "type": "SourceReport"},
        {**GOOD, "more": 1},
        {key: value for key, value in GOOD.items() if key != "dataset"},
        {"type": "DataReport", "sources": None, "fallback": 1, "content_hash": "", "vocabulary": 1, "from_cache": 1},
        {"type": "DataReport", "sources": [{}], "fallback": 1, "content_hash": "", "vocabulary": 1, "from_cache": 1},
        [],
        None,
        5,
        "Evaluation",
    ],
)
def test_what_is_no_record_is_refused(values: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        record_from_json(values)


# Logs


def line(record: Record) -> bytes:
    return json.dumps(record_to_json(record)).encode() + b"\n"


STEPS = [StepMetrics("m", step, 1.0 / step, 0.1, 0.5, 0.6, 5, 0.2, 0.3 * step) for step in range(1, 6)]
LOG = b"".join(line(record) for record in STEPS)


def test_a_log_that_is_not_there_has_no_records(tmp_path: Path) -> None:
    assert list(read_records(tmp_path / "gone.jsonl")) == []
    assert list(read_records(tmp_path)) == []


def test_a_log_comes_back_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LOG)
    assert list(read_records(tmp_path / "log")) == STEPS


@settings(max_examples=60)
@given(records=st.lists(any_record, max_size=8))
def test_any_records_come_back_out_of_a_log(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(b"".join(line(record) for record in records))
    found = [comparable(record) for record in read_records(path)]
    assert found == [comparable(as_it_comes_back(record)) for record in records]


@settings(max_examples=100)
@given(end=st.integers(0, len(LOG)))
@example(end=len(LOG) - 1)
def test_a_log_that_was_cut_off_gives_what_is_whole(tmp_path_factory: pytest.TempPathFactory, end: int) -> None:
    path = tmp_path_factory.getbasetemp() / "torn.jsonl"
    path.write_bytes(LOG[:end])
    whole = len([None for start in accumulated_ends() if start <= end])
    assert list(read_records(path)) == STEPS[:whole]


def accumulated_ends() -> list[int]:
    """Where each line of LOG is whole: before its line break."""
    return [len(b"".join(line(record) for record in STEPS[: count + 1])) - 1 for count in range(len(STEPS))]


@pytest.mark.parametrize(
    "torn",
    [b"\n", b"{}\n", b"null\n", b"\x00\x00\x00\n", b"\xff\xfe\n", b'{"type": "Steps', b"5\n"],
)
@pytest.mark.parametrize("place", [0, 2, 5])
def test_nothing_is_trusted_behind_a_line_that_is_not_whole(tmp_path: Path, torn: bytes, place: int) -> None:
    lines = [line(record) for record in STEPS]
    (tmp_path / "log").write_bytes(b"".join([*lines[:place], torn, *lines[place:]]))
    assert list(read_records(tmp_path / "log")) == STEPS[:place]


# Rewinds


def of_step(kind: type, step: int) -> Record:
    records: dict[type, Record] = {
        StepMetrics: StepMetrics("m", step, 1.0, 0.1, 0.5, 0.6, 5, 0.2, 0.3),
        PonderHistogram: PonderHistogram("m", step, [1]),
        LayerFigures: LayerFigures("m", step, ["layer 1"], [0.1], [None], [0.01], [[1]]),
        Evaluation: Evaluation("m", step, "GSM8K", 2.0, 5),
        Sample: Sample("m", step, "GSM8K", "p", "t", "e"),
        Event: Event("info", "x", "m", step),
    }
    return records[kind]


@pytest.mark.parametrize(
    ("kind", "last"),
    [(StepMetrics, 8), (PonderHistogram, 8), (LayerFigures, 8), (Evaluation, 5), (Sample, 5), (Event, 20)],
)
def test_what_still_counts_after_a_rewind(kind: type, last: int) -> None:
    rewind = Rewind("m", 8, 5)
    assert [step for step in range(21) if is_before(of_step(kind, step), rewind)] == list(range(last + 1))


@pytest.mark.parametrize("kind", [StepMetrics, PonderHistogram, LayerFigures, Evaluation, Sample])
def test_from_the_start_nothing_that_was_measured_counts(kind: type) -> None:
    assert not any(is_before(of_step(kind, step), Rewind("m", -1, -1)) for step in range(5))


def test_what_happened_stays_and_what_is_no_row_goes() -> None:
    from_start = Rewind("m", -1, -1)
    assert is_before(Event("info", "at no step"), from_start)
    assert not is_before(DataReport([], False, "", 1, False), from_start)
    assert not is_before(from_start, from_start)
