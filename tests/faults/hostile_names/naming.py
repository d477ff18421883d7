"""Names that break things, where they are shown, and who looks."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Dialog, Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    ARTIFACT_FILES,
    Evaluation,
    Event,
    ModelArtifacts,
    Phase,
    RunStatus,
    Sample,
    StepMetrics,
    utc_now,
)
from cognate_core.errors import CognateError
from cognate_core.labels import WORD_JOINER
from cognate_core.runs.home import database_path
from cognate_core.runs.names import valid_name
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.trash import Trash
from cognate_core.training.trainer import model_folder
from tests.browser.studio import listed_runs, wait_until_idle
from tests.faults.hostile import NAMES
from tests.faults.times import Tally, times

HARMLESS = "Harmless"


HOME_SHOWS = 8  # as many finished runs stand on Home


SOAK_SECONDS = 3600


DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$")  # as a folder, Windows takes them for devices


MARKED = "a script ran"


TIME = r", \d{4}-\d\d-\d\d \d\d:\d\d UTC"  # stands behind a model's name where one is chosen


def brief(name: str) -> str:
    """`name` for a report: a surrogate or a control character must not get out of it."""
    return ascii(name) if len(name) <= 60 else f"{name[:60]!a}... ({len(name)} characters)"


def folded(text: str) -> str:
    """As a page shows a name: on one line, with single spaces; what takes no room is not seen."""
    return " ".join(text.replace(WORD_JOINER, "").split())


def refusal(function: Callable[[], object]) -> str | None:
    """Why `function` is refused; None when it is not."""
    try:
        function()
    except CognateError as error:
        return str(error)
    return None


def accepted_names() -> list[str]:
    """Those that are taken, as they are kept."""
    return [name.strip() for name in NAMES if refusal(partial(valid_name, name)) is None]


def is_sentence(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Z][^\x00-\x1f\x7f\ud800-\udfff]{10,300}\.", text))


def report(tally: Tally, what: str, names: Sequence[str], problems: dict[str, str]) -> None:
    """One row of the table, then what was wrong with each name (or with a page as a whole)."""
    tried = len(names)
    tally(f"hostile names: {what}", tried=tried, survived=sum(name not in problems for name in names))
    listed = "\n".join(f"  {brief(name)}: {why}" for name, why in list(problems.items())[:40])
    assert not problems, f"{what}: {len(problems)} of {tried} names\n{listed}"


def written_artifacts(folder: Path, text: str) -> dict[str, str]:
    for file in ARTIFACT_FILES.values():
        (folder / file).write_text(text, encoding="utf-8")
    return {kind: str(folder / file) for kind, file in ARTIFACT_FILES.items()}


@dataclass
class Watch:
    """What must not happen while hostile names are looked at."""

    own: str
    seen: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        """Watch all pages of `context`, from before their first script."""
        context.add_init_script(
            f"Object.defineProperty(window, '__pwned', {{set: () => console.error({MARKED!r}), get: () => undefined}})"
        )
        context.on("page", self._page)
        context.on("request", lambda request: self._request(request.url))

    def _dialog(self, dialog: Dialog) -> None:
        self.seen.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _page(self, page: Page) -> None:
        page.on("dialog", self._dialog)
        page.on("pageerror", lambda error: self.seen.append(f"a page error: {error}"))
        page.on("console", lambda message: self.seen.append(MARKED) if MARKED in message.text else None)
        page.on("popup", lambda popup: self.seen.append(f"another window: {popup.url}"))

    def _request(self, url: str) -> None:
        if not url.startswith((self.own, "data:", "blob:", self.own.replace("http", "ws", 1))):
            self.seen.append(f"a request to {url[:80]}")

    def taken(self) -> list[str]:
        """What was seen since the last time."""
        seen, self.seen = self.seen, []
        return sorted(set(seen))


STRANGE_ELEMENTS = """() => {
  const root = document.querySelector('[data-testid=stApp]')
  const tags = 'script, iframe, object, embed, img, video, audio, base, link, meta, math, form, marquee, .katex'
  const found = [...root.querySelectorAll(tags)].map(e => `<${e.localName}>`)
  for (const e of root.querySelectorAll('*')) {
    for (const {name} of e.attributes) if (name.startsWith('on')) found.push(`<${e.localName} ${name}>`)
    const href = e.href?.baseVal ?? e.href
    const known = !href || href === 'https://huggingface.co/settings/tokens' || new URL(href).origin === location.origin
    if (!known) found.push(`a link to ${href}`)
  }
  return found
}"""


NOTHING_NEW = """() => new Promise(done => {
  let before = null
  const look = () => {
    const now = document.querySelectorAll('[data-testid=stMain] :not(.live-charts *)').length
    if (now === before) done()
    else setTimeout(look, 60)
    before = now
  }
  look()
})"""


WIDTH_OF_TEXT = """element => {
  const range = document.createRange()
  range.selectNodeContents(element)
  return range.getBoundingClientRect().width
}"""


@dataclass(frozen=True)
class Kept:
    """A run and its model, both of this name, in a data folder."""

    name: str
    run_id: str
    model_id: str

    @property
    def second(self) -> str:
        """The run's other model: it failed."""
        return f"{self.name} 2"


def fill(home: Path, names: Sequence[str]) -> list[Kept]:
    """Give the new data folder `home` finished runs: a harmless one, then one for each name. No studio has it open."""
    log, store, trash, kept = ProgressLog(database_path(home)), ArtifactStore(home), Trash(home), list[Kept]()
    for name in (HARMLESS, *names):
        each = Kept(name, uuid.uuid4().hex[:12], uuid.uuid4().hex[:12])
        kept.append(each)
        folder = home / "runs" / each.run_id
        config = TrainingConfig(output_dir=str(folder), max_steps=1, act_enabled=False, ltm_enabled=False)  # few charts
        log.create_run(each.run_id, name, config, [name, each.second], folder, None)
        log.claim(each.run_id)
        log.record(each.run_id, StepMetrics(name, 1, 2.5, 1e-3, 1.0, 1.0, 100, 0.5, 0.5))
        log.record(each.run_id, Evaluation(name, 1, "Synthetic", 2.5, 100))
        log.record(each.run_id, Sample(name, 1, "Synthetic", name, name, name))
        log.record(each.run_id, Event("warning", f"{name} was warned.", name, 1))
        stats = {"steps": 1, "planned_steps": 1, "tokens": 100, "seconds": 1.0, "heldout_loss": {"Synthetic": 2.5}}
        artifacts = ModelArtifacts(
            model_id=each.model_id,
            model_name=name,
            phase_name=Phase.TRAINING,
            parameter_count=1000,
            created_at=utc_now(),
            training_status="completed",
            focus="Synthetic",
            training_mode="AdamW",
            datasets_used=["Synthetic"],
            training_stats=stats,
            grokfast_enabled=False,
            act_enabled=False,
            ltm_enabled=False,
            artifacts=written_artifacts(
                model_folder(TrainingConfig(output_dir=str(folder)), name, use_again=False), name
            ),
            capabilities=["text generation"],
        )
        log.add_model(each.run_id, artifacts, store.describe(artifacts.artifacts))
        why = f"{each.second}: It would not learn."
        log.set_status(
            each.run_id,
            RunStatus.COMPLETED_WITH_FAILURES,
            message=f"Some models failed. {why}",
            error=why,
            progress=1.0,
        )
        if name != HARMLESS:
            trash.put("run", "r1", name, home / "runs" / "was-deleted", {})  # whose files are gone, as can be
    log.close()
    return kept


def shown_names() -> list[str]:
    return accepted_names()[: times(10, len(NAMES))]


class Looker:
    """Looks at pages and keeps, for each name, what was wrong."""

    def __init__(self, page: Page, watch: Watch, url: str) -> None:
        self.page, self.watch, self.url = page, watch, url
        self.problems: dict[str, str] = {}

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}/{path}")
        self.settle()

    def settle(self) -> None:
        """Until the page is drawn, and the browser has put up what came last."""
        wait_until_idle(self.page)
        self.page.evaluate(NOTHING_NEW)

    def open_run(self, kept: Kept) -> None:
        """Monitor with this run: by the links that there are, which takes half as long as loading the page anew."""
        if urlsplit(self.page.url).path == "/models":
            self.page.get_by_role("link", name="Its run").click()
            self.page.wait_for_url("**/monitor?*")
            self.settle()
        link = self.link(f"run={kept.run_id}").first  # among the other runs
        if not link.count():  # that page is broken, which was told when it was looked at
            self.open(f"monitor?run={kept.run_id}")
            return
        link.evaluate("link => link.click()")  # the list is folded up
        self.page.locator(f".st-key-model-{kept.run_id}").wait_for()
        self.settle()

    @contextmanager
    def not_hanging(self, name: str) -> Iterator[None]:
        """What is waited for in vain is the loss of this name, not the end of the test."""
        try:
            yield
        except PlaywrightTimeout as error:
            self.wrong(name, f"waited in vain: {folded(str(error))[:200]!a}")

    def wrong(self, name: str, why: str) -> None:
        self.problems[name] = f"{self.problems[name]}; {why}" if name in self.problems else why

    def text(self, name: str, where: str, place: Locator, expected: str) -> None:
        """`place` shows `expected`, and nothing else."""
        try:
            expect(place).to_be_visible()
        except AssertionError:
            self.wrong(name, f"{where} is not there")
            return
        text = folded(place.inner_text())
        if text != folded(expected):
            self.wrong(name, f"{where} shows {brief(text)}")
        elif place.evaluate(WIDTH_OF_TEXT) < 2:
            self.wrong(name, f"{where} shows nothing that can be seen")

    def quiet(self, name: str, where: str) -> None:
        """Nothing ran or broke, nothing was asked for outside, no element came out of a name."""
        broken = self.page.get_by_test_id("stAlert").filter(has_text="Something unexpected went wrong")
        for alert in broken.all_inner_texts():
            self.wrong(name, f"{where} is broken: {folded(alert)}")
        for what in (*self.watch.taken(), *self.page.evaluate(STRANGE_ELEMENTS)):
            self.wrong(name, f"{where}: {what}")

    def link(self, query: str) -> Locator:
        """What stands in the link to another page with this query, without the page's icon."""
        link = self.page.locator(f"[data-testid=stPageLink-NavLink][href*='{query}']")
        return link.get_by_test_id("stMarkdownContainer")

    def home(self, kept: Sequence[Kept]) -> None:
        self.open("")
        listed_runs(self.page).first.wait_for(state="attached")
        names = [folded(name) for name in listed_runs(self.page).all_text_contents()]  # a canvas shows no markup
        for each in kept:
            if folded(each.name) not in names:
                self.wrong(each.name, "is not in the table on Home as typed")
        self.quiet("on the whole", "Home")

    def trash(self, names: Sequence[str]) -> None:
        """The trash on Home, which is open, holds something of each name."""
        box = self.page.get_by_test_id("stExpander").filter(has_text=f"Trash ({len(names)})")
        box.locator("summary").click()
        shown = [folded(text) for text in box.get_by_test_id("stMarkdown").all_inner_texts()]
        for name in names:
            if folded(name) not in shown:
                self.wrong(name, "is not in the trash as typed")
        self.quiet("on the whole", "the trash")

    def monitor(self, kept: Kept) -> None:
        name, page = kept.name, self.page
        self.open_run(kept)
        self.text(name, "Monitor's title", page.locator("h1"), name)
        models = page.get_by_test_id("stButtonGroup").get_by_role("radio")
        for button, model in zip((models.first, models.nth(1)), (name, kept.second), strict=True):
            # Of an emoji alone, Streamlit makes the button's icon, and names it once more for who cannot see it.
            twice = folded(button.inner_text()) == folded(f"{model} {model}") and not model.isascii()
            self.text(name, "Monitor's choice of a model", button, f"{model} {model}" if twice else model)
        self.text(name, "Monitor's link to the model", self.link(f"model={kept.model_id}"), f"Try {name}")
        alerts = folded(" ".join(page.get_by_test_id("stAlert").all_inner_texts()))
        for expected in (f"{kept.second}: It would not learn.", f"{name} was warned."):
            if folded(expected) not in alerts:
                self.wrong(name, f"Monitor's alerts show {brief(alerts)}")
        samples = [folded(text) for text in page.get_by_test_id("stText").all_inner_texts()]
        if samples.count(folded(name)) < 2:
            self.wrong(name, f"Monitor's samples show {samples!a}")
        self.quiet(name, "Monitor")

    def other_runs(self, of: Kept, kept: Sequence[Kept]) -> None:
        """The list of all others below Monitor."""
        self.open(f"monitor?run={of.run_id}")
        self.page.get_by_text("Other runs").click()
        for each in kept:
            self.text(each.name, "Monitor's list of other runs", self.link(f"run={each.run_id}"), each.name)
        self.quiet("on the whole", "Monitor's list of other runs")

    def model(self, kept: Kept) -> None:
        """The model's page, by the link on Monitor."""
        name, page = kept.name, self.page
        self.link(f"model={kept.model_id}").click()
        page.wait_for_url(f"**/models?model={kept.model_id}")
        self.settle()
        self.text(name, "Models' heading", page.locator("h2").first, name)
        chosen = folded(self._chosen())
        if not re.fullmatch(re.escape(folded(name)) + TIME, chosen):
            self.wrong(name, f"Models' choice shows {brief(chosen)}")
        self.quiet(name, "Models")

    def choices(self, of: Kept, kept: Sequence[Kept]) -> None:
        """The open list of models on Models: each name that is in sight stands there as typed."""
        self.open(f"models?model={of.model_id}")
        self.page.get_by_test_id("stSelectbox").get_by_role("combobox").click()
        options = self.page.get_by_role("option")
        expect(options.first).to_be_visible()
        texts = [folded(text) for text in options.all_inner_texts()]
        for each in kept[: len(texts) - 1]:
            if not any(re.fullmatch(re.escape(folded(each.name)) + TIME, text) for text in texts):
                self.wrong(each.name, "is not among the choices of Models")
        self.page.keyboard.press("Escape")
        self.quiet("on the whole", "the choices of Models")

    def delete_and_keep(self, kept: Kept) -> None:
        """The question before a model is deleted, on its page."""
        self.page.get_by_role("button", name="Delete this model").click()
        dialog = self.page.get_by_role("dialog")
        sentence = folded(dialog.get_by_text("move to the trash").inner_text())
        if not sentence.startswith(folded(f"{kept.name} and its files")):
            self.wrong(kept.name, f"the question before it is deleted shows {brief(sentence)}")
        self.quiet(kept.name, "the question before it is deleted")
        dialog.get_by_role("button", name="Keep it").click()
        expect(dialog).to_have_count(0)

    def _chosen(self) -> str:
        box = self.page.get_by_test_id("stSelectbox")
        typed = box.get_by_role("combobox")
        return str(typed.input_value() or box.inner_text().removeprefix("Model").strip())
