"""Who may speak to the studio, by where it listens; and how it says that it is open."""

from __future__ import annotations

import re
import threading
import webbrowser
from pathlib import Path

import pytest
import streamlit as st

import app
from cognate_core.api import Policy
from cognate_core.errors import ConfigError, RunError

TOKEN = "a-token-of-the-test"


def policy(monkeypatch: pytest.MonkeyPatch, address: str | None, *hosts: str) -> Policy:
    options = {"server.address": address, "server.allowedHosts": list(hosts)}
    monkeypatch.setattr(st, "get_option", options.__getitem__)
    return app.policy()


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_at_home_all_need_the_token_of_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    monkeypatch.delenv("COGNATE_TOKEN", raising=False)
    asked = policy(monkeypatch, address, "LocalHost")
    assert asked == Policy((tmp_path / "home" / "token").read_text(), frozenset({"localhost"}))


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.5", "studio.lan", "", None])
def test_elsewhere_all_need_a_token_that_was_chosen_and_a_name(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    monkeypatch.delenv("COGNATE_TOKEN", raising=False)
    with pytest.raises(RunError, match="needs a token of your own"):
        policy(monkeypatch, address, "studio.lan")
    monkeypatch.setenv("COGNATE_TOKEN", "short")
    with pytest.raises(ConfigError, match="16 or more"):
        policy(monkeypatch, address, "studio.lan")
    monkeypatch.setenv("COGNATE_TOKEN", TOKEN)
    with pytest.raises(RunError, match=r"server\.allowedHosts"):
        policy(monkeypatch, address, "127.0.0.1", "localhost")
    asked = policy(monkeypatch, address, "127.0.0.1", "Studio.lan")
    assert asked == Policy(TOKEN, frozenset({"127.0.0.1", "studio.lan"}))
    monkeypatch.setenv("COGNATE_OPEN", "1")
    with pytest.raises(RunError, match="this computer alone"):
        policy(monkeypatch, address, "127.0.0.1", "studio.lan")


def test_a_name_for_others_and_an_open_studio_do_not_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGNATE_TOKEN", TOKEN)
    assert policy(monkeypatch, "127.0.0.1", "127.0.0.1", "studio.lan") == Policy(
        TOKEN, frozenset({"127.0.0.1", "studio.lan"})
    )
    monkeypatch.setenv("COGNATE_OPEN", "1")
    assert policy(monkeypatch, "127.0.0.1", "127.0.0.1") == Policy(TOKEN, frozenset({"127.0.0.1"}), open=True)
    with pytest.raises(RunError, match="this computer alone"):
        policy(monkeypatch, "127.0.0.1", "127.0.0.1", "studio.lan")
    monkeypatch.setenv("COGNATE_OPEN", "yes")
    with pytest.raises(ConfigError, match="0 or 1"):
        policy(monkeypatch, "127.0.0.1")


class AtOnce(threading.Thread):
    """A thread that has ended when it has started."""

    start = threading.Thread.run


@pytest.mark.parametrize("headless", [True, False])
def test_a_browser_is_opened_where_there_is_a_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], headless: bool
) -> None:
    options = {
        "server.address": "0.0.0.0",
        "server.port": 8599,
        "server.sslCertFile": None,
        "server.headless": headless,
    }
    opened: list[str] = []
    monkeypatch.setattr(st, "get_option", options.__getitem__)
    monkeypatch.setattr(threading, "Thread", AtOnce)
    monkeypatch.setattr(webbrowser, "open", opened.append)
    app.welcome()
    said = capsys.readouterr().out
    (printed,) = re.findall(r"http://127\.0\.0\.1:8599(/login\?key=\S+)", said)
    assert app.links.use(printed.partition("=")[2])
    assert len(opened) == (not headless)
    for link in opened:
        assert app.links.use(link.partition("=")[2]) and link.startswith("http://127.0.0.1:8599/login?key=")
    monkeypatch.setenv("COGNATE_OPEN", "1")
    app.welcome()
    said = capsys.readouterr().out
    assert "Anyone on this computer can use Cognate Studio at http://127.0.0.1:8599." in said and "key=" not in said
