from __future__ import annotations

import ast
import functools
import math
import re
from pathlib import Path

import pytest

from cognate_core.config import form_fields
from cognate_core.contracts import perplexity
from cognate_core.insight.glossary import GLOSSARY, explained, found_terms

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "pages").rglob("*.py"))
SPOKEN = [*PAGES, *sorted((ROOT / "cognate_core" / "insight").glob("*.py"))]
SPOKEN.append(ROOT / "cognate_core" / "model" / "cognate.py")  # New run shows the parts that it counts
SPOKEN.append(ROOT / "cognate_core" / "contracts" / "metrics.py")  # the titles of Monitor's charts
OTHER_WORDS = {  # a page may say a term in another form
    "epoch": "passes (epochs)",
    "gradient norm": "gradient size",
    "mixture weights": "mixture",
}


def texts_in(source: str) -> list[str]:
    """Every string of a Python file but its docstrings."""
    tree = ast.parse(source)
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and isinstance(node.body[0], ast.Expr)
    }
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in documentation)
    return [node.value for node in strings if isinstance(node.value, str)]


@functools.cache
def what_people_read() -> str:
    texts = [text for path in SPOKEN if path.name != "glossary.py" for text in texts_in(path.read_text("utf-8"))]
    texts += [f"{info.title} {info.description}" for info in form_fields().values()]
    return "\n".join(texts).casefold()


def terms_explained() -> list[tuple[str, str]]:
    """(file, term) of each `explained(...)` on a page."""
    return [
        (path.name, ast.literal_eval(node.args[0]))
        for path in PAGES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "explained"
    ]


def test_every_term_that_a_page_explains_exists() -> None:
    asked = terms_explained()
    assert {"run_figures.py", "model_card.py", "text_playground.py"} <= {file for file, _ in asked}
    assert [(file, term) for file, term in asked if term not in GLOSSARY] == []


@pytest.mark.parametrize("name", GLOSSARY)
def test_every_term_is_spoken_of_on_a_page_or_in_the_settings(name: str) -> None:
    words = OTHER_WORDS.get(name, name).casefold()
    assert re.search(rf"\b{re.escape(words)}", what_people_read()), f"nobody says {words!r}"


@pytest.mark.parametrize("name", GLOSSARY)
def test_a_meaning_is_a_plain_sentence_that_leads_on_to_terms_that_exist(name: str) -> None:
    term = GLOSSARY[name]
    assert term.meaning[0].isalnum() and term.meaning.endswith(".")
    assert not re.search(r"[—*_`<>\[\]$]", term.plain + term.meaning), "it would be read as Markdown"
    assert set(term.see) <= set(GLOSSARY) - {name}


def test_pure_guessing_and_perplexity_are_as_the_glossary_says() -> None:
    """The two formulas that it names, reckoned from the definition of the loss."""
    vocabulary = 400
    loss = -sum(1 / vocabulary * math.log(1 / vocabulary) for _ in range(vocabulary))
    assert "logarithm of the vocabulary" in GLOSSARY["loss"].meaning
    assert loss == pytest.approx(math.log(vocabulary))
    assert perplexity(loss) == pytest.approx(vocabulary)


def test_a_tooltip_has_the_meaning_and_what_is_said_of_the_place() -> None:
    assert explained("step") == GLOSSARY["step"].meaning
    assert explained("step", "So far.") == f"{GLOSSARY['step'].meaning} So far."
    with pytest.raises(KeyError):
        explained("no such term")


def test_the_search_reads_names_lay_words_and_meanings() -> None:
    assert found_terms("LOSS ")[0].name == "loss"
    assert found_terms("held")[0].name == "held-out loss"
    assert [term.name for term in found_terms("by heart learning")].count("overfitting") == 1
    assert found_terms("thinks")[0].name.startswith("ponder")
    assert found_terms("no such word") == []
    assert [term.name for term in found_terms("  ")] == sorted(GLOSSARY, key=str.casefold)
