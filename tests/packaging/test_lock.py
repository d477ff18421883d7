"""uv.lock, from which `make` installs where there is uv."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "uv.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_lock_is_of_what_the_project_asks_for() -> None:
    (own,) = [each for each in tomllib.loads(LOCK)["package"] if each["name"] == PROJECT["name"]]
    locked = {
        (each["name"], SpecifierSet(each.get("specifier", "")), frozenset(each.get("extras", ())))
        for each in own["metadata"]["requires-dist"]
    }
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    wanted = [Requirement(each) for one in lists for each in one]
    asked = {(canonicalize_name(each.name), each.specifier, frozenset(each.extras)) for each in wanted}
    assert locked == asked, "run `uv lock`"


def test_the_lock_names_public_addresses_alone() -> None:
    assert set(re.findall(r"\w+://[^/\"]+", LOCK)) == {"https://pypi.org", "https://files.pythonhosted.org"}
