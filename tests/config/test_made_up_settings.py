"""A setting is entered in one place, and arrives in form, commands, API, TOML, sweep, branch, report and data hash."""

from __future__ import annotations

from pathlib import Path

from tests.copied import assert_passes, copy_library

MADE_UP = {
    "training": 'made_up_pull: int = _setting(2, title="Made-up pull", help="How hard it pulls.", ge=1, le=9)',
    "data": 'made_up_cut: int = _setting(1, title="Made-up cut", help="Where it is cut.", prepares_data="tokens")',
}


def test_a_new_setting_is_one_line(tmp_path: Path) -> None:
    copy_library(tmp_path, "cognate_core", "pages")
    for section, line in MADE_UP.items():  # each is the last class of its file
        with (tmp_path / "cognate_core" / "config" / "fields" / f"{section}.py").open("a") as file:
            file.write(f"\n    {line}\n")
    assert_passes(Path(__file__).with_name("with_made_up_settings.py"), tmp_path)
