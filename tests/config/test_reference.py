"""The page of all settings says what they say of themselves."""

from tests.config.reference import FILE, reference


def test_the_page_is_as_it_would_be_written_now() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(), "run `make docs`"
