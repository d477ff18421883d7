"""The sections of the Datasets page. Each gets the chosen dataset, all datasets on this computer, and the cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import streamlit as st

from cognate_core.config import TrainingConfig, as_text, field_extra, form_fields
from cognate_core.config.presets import PRESETS
from cognate_core.contracts import BEYOND_LIMIT
from cognate_core.errors import ConfigError
from cognate_core.insight.data_charts import length_chart
from cognate_core.insight.glossary import explained
from cognate_core.insight.words import compact
from pages.components.batch_view import show_sequence
from pages.components.dataset_cache import lengths_of, mixture_of, near_duplicates_of, overlap_of, rows_of
from pages.components.fitting_length import fitting_button
from pages.components.layout import shown
from pages.components.live_charts import Still, still_charts
from pages.components.tables import table
from pages.components.token_view import rows_as_tokens

if TYPE_CHECKING:
    from cognate_core.data.inspection_cache import Choice
    from cognate_core.data.overlap import Kind

    Here = Mapping[str, Choice]

ROWS_ON_A_PAGE = 5
LONGEST_SHOWN = 2000  # characters of one side of a row
EXAMPLES = 5
REASONS_SHOWN = 10
NEW_TOKENIZER = "new"
USUAL = PRESETS["first-run"].config  # the defaults of this page
_MOST = "This page reads at most {:,}, as a run does by default."
SPLITS = {
    "training": _MOST.format(USUAL.max_train_samples),
    "held-out": f"Set aside to measure the model on text it never saw. {_MOST.format(USUAL.max_eval_samples)}",
}
KINDS: dict[Kind, str] = {
    "same": "The same question",
    "numbers": "The same except for numbers",
    "passage": "A shared passage",
}


def rows_view(choice: Choice, here: Here, cache: Path) -> None:
    """How many rows there are, their source, what was skipped, and the rows themselves."""
    source = rows_of(choice)
    splits = dict(zip(SPLITS, (source.train, source.heldout), strict=True))
    with st.container(horizontal=True):
        for split, documents in splits.items():
            st.metric(f"{split.capitalize()} rows", f"{len(documents):,}", help=SPLITS[split], width="content")
        characters = [len(document.text) for documents in splits.values() for document in documents]
        st.metric("Characters in a row, mean", f"{sum(characters) / len(characters):,.0f}", width="content")
        st.metric("Characters together", compact(sum(characters)), width="content")
    beyond = sum(count for why, count in source.skipped.items() if why.startswith(BEYOND_LIMIT))
    there = len(source.train) + len(source.heldout) + beyond
    all_rows = f" The file has {there:,} usable rows." if choice.path else ""
    where = "your own file" if choice.path else source.origin
    st.caption(f"From: {shown(where)}.{all_rows}")
    left_out = [(why, count) for why, count in source.skipped.most_common() if not why.startswith(BEYOND_LIMIT)]
    if left_out:
        reasons = "".join(f"\n- {count:,}: {shown(why)}" for why, count in left_out[:REASONS_SHOWN])
        st.warning(f"Rows that are left out:{reasons}", icon=":material/filter_alt:")
    for sentence in source.notes:
        st.info(shown(sentence), icon=":material/translate:")
    if source.unused:
        st.info(f"These columns are not read: {shown(', '.join(source.unused))}.", icon=":material/view_column:")
    split = st.segmented_control(
        "Rows to show", list(splits), default="training", required=True, key="split", bind="query-params"
    )
    documents = splits[split or "training"]
    as_tokens = st.toggle("Show tokens", help=explained("tokenizer"), key="tokens", bind="query-params")
    config = _token_settings() if as_tokens else None
    pages = -(-len(documents) // ROWS_ON_A_PAGE)
    place = st.empty()
    page = st.pagination(pages, key=f"page-{choice.path or choice.name}-{split}") if pages > 1 else 1
    first = (page - 1) * ROWS_ON_A_PAGE
    on_page = documents[first : first + ROWS_ON_A_PAGE]
    titles = [
        f"Row {number:,} of {len(documents):,}, {len(document.text):,} characters"
        for number, document in enumerate(on_page, start=first + 1)
    ]
    with place.container():
        if config is not None:
            rows_as_tokens(choice, dict(zip(titles, on_page, strict=True)), config)
        else:
            for title, document in zip(titles, on_page, strict=True):
                with st.container(border=True):
                    st.caption(title)
                    _text(document.prompt)
                    _text(document.answer)


def _token_settings() -> TrainingConfig | None:
    """What decides how rows become tokens; None if it cannot be used."""
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        typed_length = _setting("train_seq_len")
    with right:
        answers_only = _answers_only()
    return _config({"train_seq_len": typed_length, "loss_on_answer_only": answers_only})


def lengths_view(choice: Choice, here: Here, cache: Path) -> None:
    """Row lengths in tokens, what does not fit the training length, and how much of a batch would be padding."""
    from cognate_core.data.inspection import prepared_folders

    prepared = {str(folder.path): folder.report for folder in prepared_folders(cache) if folder.report is not None}
    left, middle, right = st.columns(3)
    with left:
        typed_length = _setting("train_seq_len")
        long_rows = _one_of("long_rows")
    with middle:
        tokenizer = st.selectbox(
            "Tokenizer",
            [NEW_TOKENIZER, *prepared],
            format_func=lambda folder: _tokenizer_words(folder, prepared),
            help=explained("tokenizer"),
        )
    with right:
        vocab_size = _setting("vocab_size", disabled=tokenizer != NEW_TOKENIZER)
    config = _config({"train_seq_len": typed_length, "vocab_size": vocab_size, "long_rows": long_rows})
    if config is None:
        return
    folder, training_length = None if tokenizer == NEW_TOKENIZER else Path(tokenizer), config.train_seq_len
    train, heldout, vocabulary = lengths_of(
        choice, folder, config.vocab_size, training_length, cut_rows=config.long_rows == "cut"
    )
    with st.container(horizontal=True):
        st.metric("Tokens in a row, mean", f"{train.mean:,.0f}", width="content")
        st.metric("Half are shorter than (median)", f"{train.median:,.0f}", width="content")
        st.metric("95 % are shorter than", f"{train.percentile_95:,.0f}", width="content")
        st.metric("Longest", f"{train.longest:,}", width="content")
        st.metric("All training rows", f"{compact(int(train.tokens.sum()))} tokens", width="content")
    dark = st.context.theme.type == "dark"
    rows = {"training rows": train.tokens, "held-out rows": heldout.tokens}
    alt = "How many rows there are of each length, in tokens"
    still_charts([Still("Length of the rows", "", alt, length_chart(rows, training_length, dark=dark))], key="lengths")
    _fit(train, training_length)
    new = "A new tokenizer, trained on the training rows of this dataset"
    kind = new if folder is None else "The tokenizer of an earlier run"
    st.caption(
        f"{kind}, with {vocabulary:,} word pieces. A run on several datasets trains one tokenizer on all of them: its "
        "lengths differ a little."
    )


def _fit(train: Any, training_length: int) -> None:
    """How the training rows fit this length."""
    rows = len(train.tokens)
    words = []
    if train.left_out:
        share = train.left_out / rows
        words.append(f"{train.left_out:,} of {rows:,} training rows ({share:.1%}) are too long and are left out.")
    if train.cut:
        words.append(f"{train.cut:,} of {rows:,} rows are longer and continue in further sequences.")
    if not words:
        words.append("Every training row fits.")
    if train.sequences:
        words.append(f"Packed, the rows fill {train.sequences:,} sequences, of which {train.padding:.1%} is padding.")
    text = f"**At a training length of {training_length:,} tokens:** {' '.join(words)}"
    if train.left_out > rows / 20:
        st.warning(f"{text} Raise the training length to learn from all of them.", icon=":material/content_cut:")
    else:
        st.markdown(text)
    length = train.fitting()
    if length is not None and length > training_length:
        fitting_button(length, ["look.train_seq_len"])


def overlap_view(choice: Choice, here: Here, cache: Path) -> None:
    """Whether held-out questions are also in the training rows of this or another dataset."""
    st.markdown(
        "A model that has read the test before looks better than it is. Which held-out questions are also in training "
        "rows?"
    )
    trained = {choice.name: choice, **here}
    names = st.pills(
        "Look for them in the training rows of",
        list(trained),
        selection_mode="multi",
        default=[choice.name],
        key=f"seen-{choice.name}",
    )
    if not names:
        st.caption("Choose at least one dataset.")
        return
    found = {name: overlap_of(trained[name], choice) for name in names}
    rows: list[dict[str, Any]] = [
        {
            "training rows of": name,
            "held-out rows": each.heldout_rows,
            **{KINDS[kind].lower(): each.count(kind) for kind in KINDS},
            "together": len(each.matches) / each.heldout_rows,
        }
        for name, each in found.items()
    ]
    table(
        rows,
        column_config={"together": st.column_config.NumberColumn(format="percent")},
        width="content",
    )
    n = next(iter(found.values())).passage_words
    st.caption(
        "The comparison ignores upper case, spaces and punctuation. Each row counts once, under the closest match. A "
        f"passage is {n} words in a row: as in the GPT-3 paper (arXiv 2005.14165, appendix C), the length of a short "
        "question here, from 8 to 13 words. Training skips rows that equal a held-out row of the same dataset word for "
        "word; it reads all others."
    )
    examples = [(name, match) for name, each in found.items() for match in each.matches]
    kinds = [kind for kind in KINDS if any(match.kind == kind for _, match in examples)]
    if not kinds:
        st.success("None of the held-out questions are in training rows.", icon=":material/check_circle:")
        return
    kind = st.segmented_control(
        "Examples", kinds, default=kinds[0], required=True, format_func=KINDS.__getitem__, key=f"kind-{'-'.join(kinds)}"
    )
    heldout = rows_of(choice).heldout
    for name, match in [example for example in examples if example[1].kind == (kind or kinds[0])][:EXAMPLES]:
        with st.container(border=True):
            left, right = st.columns(2)
            with left:
                st.caption(f"Held-out row {match.heldout + 1:,}" + _passage_words(match))
                _text(heldout[match.heldout].text)
            with right:
                st.caption(f"Training row {match.train + 1:,} of {shown(name)}")
                _text(rows_of(trained[name]).train[match.train].text)


def _passage_words(match: Any) -> str:
    return f": {match.share:.0%} of its passages are in training rows" if match.kind == "passage" else ""


def near_duplicates_view(choice: Choice, here: Here, cache: Path) -> None:
    """Training rows that nearly repeat another row, and a few of them beside it."""
    st.markdown("A row that nearly repeats another teaches a model little. Which training rows do?")
    found, source = near_duplicates_of(choice), rows_of(choice)
    of_heldout = sum(each.of_heldout for each in found)
    with st.container(horizontal=True):
        st.metric("Repeat an earlier training row", f"{len(found) - of_heldout:,}", width="content")
        st.metric("Repeat a held-out row", f"{of_heldout:,}", width="content")
        st.metric("Share of the training rows", f"{len(found) / len(source.train):.1%}", width="content")
    st.caption(
        "A row counts if only capitals, punctuation or a few words differ: in the question and in the answer, at least "
        "80 % of the sequences of two or three words are the same. Problems with other numbers do not count."
    )
    if not found:
        st.success("No training row nearly repeats another row.", icon=":material/check_circle:")
        return
    st.info(
        f'To train without them, set "{form_fields()["near_duplicates"].title}" to "remove" on New run.',
        icon=":material/filter_alt:",
    )
    for each in found[:EXAMPLES]:
        split, documents = ("Held-out", source.heldout) if each.of_heldout else ("Training", source.train)
        with st.container(border=True):
            left, right = st.columns(2)
            with left:
                st.caption(f"Training row {each.row + 1:,}: {each.similarity:.0%} the same")
                _text(source.train[each.row].text)
            with right:
                st.caption(f"{split} row {each.repeats + 1:,}")
                _text(documents[each.repeats].text)


def mixture_view(choice: Choice, here: Here, cache: Path) -> None:
    """What a run would draw from several datasets, and a sample batch."""
    from cognate_core.data.inspection_cache import MOST_SEQUENCES
    from cognate_core.data.mixture import sample_batch, shares

    chosen = _mixed(choice, here)
    if chosen is None:
        st.caption("Choose at least one dataset.")
        return
    choices, overrides = chosen
    overrides["seed"] = _setting("seed")
    with st.expander("More settings of the run"):
        columns = st.columns(2)
        fields = ("max_steps", "batch_size", "gradient_accumulation_steps", "train_seq_len", "vocab_size")
        for number, field in enumerate(fields):
            with columns[number % 2]:
                overrides[field] = _setting(field)
        overrides["loss_on_answer_only"] = _answers_only()
        overrides["long_rows"] = _one_of("long_rows")
        overrides["near_duplicates"] = _one_of("near_duplicates")
    config = _config(overrides)
    if config is None:
        return
    mixture = mixture_of(choices, config)
    table(
        [
            {
                "dataset": share.name,
                "sequences": share.sequences,
                "share of the sequences": share.of_sequences,
                "share of the tokens learned": share.of_tokens,
                "passes (epochs)": share.passes,
                "rows too long": share.left_out,
            }
            for share in shares(mixture, config)
        ],
        column_config={
            "share of the sequences": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1),
            "share of the tokens learned": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1),
            "passes (epochs)": st.column_config.NumberColumn(format="%.2f", help=explained("epoch")),
        },
    )
    drawn = config.max_steps * config.gradient_accumulation_steps * config.batch_size
    st.caption(
        f"{config.max_steps:,} steps draw {drawn:,} sequences. The tokenizer was trained on this text, as in a run."
    )
    _first_batch(sample_batch(mixture, config, min(config.batch_size, MOST_SEQUENCES)), config)


def _mixed(choice: Choice, here: Here) -> tuple[list[Choice], dict[str, Any]] | None:
    """The datasets to mix and their settings; None if none is chosen. An uploaded file is read alone."""
    if choice.path:
        return [choice], choice.settings
    names = st.pills(
        "Datasets",
        list(here),
        selection_mode="multi",
        default=[choice.name, *(name for name in here if name not in (choice.name, "Synthetic"))],
        key=f"mixed-{choice.name}",
    )
    info = form_fields()["mixture_weights"]
    weights = st.text_input(
        str(info.title), help=info.description, placeholder="GSM8K=2, SVAMP=1", key="weights", bind="query-params"
    )
    return ([here[name] for name in names], {"dataset_sources": names, "mixture_weights": weights}) if names else None


def _first_batch(sequences: list[Any], config: TrainingConfig) -> None:
    st.subheader("The first batch", anchor=False)
    st.caption(
        f"What a run with seed {config.seed:,} reads first. Grey text is only read; the model is graded on the rest "
        "and on each end of a row (targets)."
    )
    number = 1
    if len(sequences) > 1:
        number = st.pagination(len(sequences), key=f"sequence-{len(sequences)}")
    with st.container(border=True):
        show_sequence(sequences[number - 1], f"Sequence {number:,} of {config.batch_size:,}")


def _setting(field: str, *, disabled: bool = False) -> str:
    """A field for a setting, as on New run; the address keeps it."""
    info = form_fields()[field]
    unit = field_extra(info)["unit"]
    typed = st.text_input(
        f"{info.title} ({unit})" if unit else str(info.title),
        as_text(getattr(USUAL, field)),
        help=info.description,
        key=f"look.{field}",
        disabled=disabled,
        bind="query-params",
        persist_state="session",
    )
    return typed.strip()


def _answers_only() -> bool:
    info = form_fields()["loss_on_answer_only"]
    return st.toggle(str(info.title), help=info.description, key="look.loss_on_answer_only", bind="query-params")


def _one_of(field: str) -> str:
    """The choices of a setting, as on New run; the address keeps what is chosen."""
    info = form_fields()[field]
    default = str(getattr(USUAL, field))
    chosen = st.segmented_control(
        str(info.title),
        get_args(info.annotation),
        default=default,
        required=True,
        help=info.description,
        key=f"look.{field}",
        bind="query-params",
        persist_state="session",
    )
    return chosen or default


def _config(overrides: Mapping[str, Any]) -> TrainingConfig | None:
    """The typed settings as a config; None, and an error for each invalid field, if they cannot be used."""
    from cognate_core.data.inspection import LONGEST_LENGTH

    try:
        return USUAL.with_overrides({"max_seq_len": LONGEST_LENGTH, **overrides})
    except ConfigError as error:
        for sentence in error.problems.values():
            st.error(shown(sentence), icon=":material/error:")
        return None


def _tokenizer_words(folder: str, prepared: Mapping[str, Any]) -> str:
    if folder == NEW_TOKENIZER:
        return "A new one, trained on this text"
    report = prepared[folder]
    names = ", ".join(source.name for source in report.sources if source.loaded)
    return f"Of an earlier run: {names}, {report.vocabulary:,} pieces, {report.content_hash[:6]}"


def _text(text: str) -> None:
    """A row's text as it is; only the beginning of a very long one."""
    if text:
        st.text(text[:LONGEST_SHOWN])
    if len(text) > LONGEST_SHOWN:
        st.caption(f"The first {LONGEST_SHOWN:,} of {len(text):,} characters.")
