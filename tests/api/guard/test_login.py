"""How a browser is let in."""

from __future__ import annotations

from contextlib import suppress
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from cognate_core.api.security import guard
from cognate_core.api.security.guard import Policy
from cognate_core.api.security.login import Links
from tests.api.guard.asking import AWAY, HERE, HOME, TOKEN, asking, known

HTML = {"Accept": "text/html,*/*"}


def is_let_in(client: TestClient) -> bool:
    address = client.base_url.copy_with(scheme="ws", path="/_stcore/stream")
    with suppress(WebSocketDisconnect), client.websocket_connect(str(address)) as connection:
        return client.get("/", headers=HTML).text == "a page" and connection.receive_text() == "open"
    return False


@pytest.mark.parametrize("policy", [HOME, AWAY], ids=["at home", "away"])
def test_a_link_lets_one_browser_in_and_it_stays(policy: Policy) -> None:
    links = Links()
    link = links.new()
    first, second = asking(policy, links=links), asking(policy, links=links)
    followed = first.get(link, headers=HTML)
    assert (followed.status_code, followed.headers["location"]) == (303, "./")
    cookie = followed.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "max-age=31536000" in cookie
    assert "path" not in cookie and "secure" not in cookie and TOKEN not in cookie
    assert is_let_in(first)
    again = second.get(link, headers=HTML)
    assert again.status_code == 401 and "This link no longer works" in again.text and "set-cookie" not in again.headers
    assert not is_let_in(second)
    assert first.get(link, headers=HTML).status_code == 303, "who is in need not read that"
    restarted = asking(policy)
    restarted.cookies.update(first.cookies)
    assert is_let_in(restarted)
    other = asking(Policy("another-token-of-16", policy.hosts))
    other.base_url, other.cookies = first.base_url, first.cookies
    assert not is_let_in(other)


def test_a_link_is_not_used_up_by_what_only_looks_at_it() -> None:
    links = Links()
    client, link = asking(links=links), links.new()
    assert client.head(link).status_code == 401
    for header in ({"Sec-Purpose": "prefetch;prerender"}, {"Purpose": "prefetch"}, {"X-Moz": "prefetch"}):
        assert client.get(link, headers={**HTML, **header}).status_code == 401
    assert client.get("/login?key=guessed").status_code == client.get("/login?key=").status_code == 401
    assert not is_let_in(client)
    assert client.get(link).status_code == 303 and is_let_in(client)


def test_who_is_not_let_in_reads_where_the_link_is_and_nothing_else() -> None:
    page = asking().get("/monitor?run=x", headers=HTML)
    assert page.status_code == 401 and "cognate link" in page.text and "terminal" in page.text
    assert "script" not in page.text and "default-src 'none'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


class Form(HTMLParser):
    """The form of a page: where it is sent, and what of it is filled in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action, self.fields = "", dict[str, str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = found["action"]
        if tag == "input":
            self.fields[found["name"]] = found.get("value", "")


@pytest.mark.parametrize("below", ["", "/studio"], ids=["at the root", "below a folder of a proxy"])
@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("/", "/"),
        ("/monitor?run=X&y=%22%3E%3Cb%3E", "/monitor?run=X&y=%22%3E%3Cb%3E"),
        ("/a/b?c", "/a/b?c"),
        ("/api/v1/", "/api/v1/"),
        ("/%2F/evil.example", "/%2F/evil.example"),
        ("//evil.example/x", "/evil.example/x"),
        ("/login?key=old", "/"),
        ("/compare?runs=" + "a" * 3000, "/"),
    ],
)
def test_after_the_token_the_browser_is_where_it_wanted_to_be(below: str, asked: str, wanted: str) -> None:
    client = asking()
    page = client.get(f"http://{HERE}{asked}", headers=HTML)
    form = Form(page.text)
    address = urljoin(f"http://outside.example{below}{asked}", form.action)
    assert urlsplit(address).path.endswith("/login")
    wrong = client.post("/login", data={**form.fields, "token": "wrong"})
    assert wrong.status_code == 401 and "That is not the token" in wrong.text and "set-cookie" not in wrong.headers
    assert Form(wrong.text).fields == form.fields, "the address is kept"
    opened = client.post("/login", data={**form.fields, "token": f" {TOKEN} "}, headers={"Origin": f"http://{HERE}"})
    assert opened.status_code == 303 and TOKEN not in opened.headers["set-cookie"]
    at = f"http://outside.example{below}/login"
    assert urljoin(at, opened.headers["location"]) == f"http://outside.example{below}{wanted}"
    assert is_let_in(client)


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "https://evil.example", "\\\\evil.example", "javascript:alert(1)", "x\r\nA: b"],
)
def test_no_wanted_address_leads_to_another_site(wanted: str) -> None:
    location = asking().post("/login", data={"token": TOKEN, "wanted": wanted}).headers["location"]
    assert location.startswith("./") and "\n" not in location


def test_the_cookie_changes_nothing() -> None:
    for method, path in (("POST", "/api/v1/runs"), ("DELETE", "/api/v1/runs/x"), ("POST", "/live")):
        refused = known().request(method, path, headers={"Content-Type": "application/json"})
        assert refused.status_code == 401


def test_the_form_is_for_own_pages_and_takes_no_more_than_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    client = asking()
    foreign = {"Origin": "https://evil.example"}
    assert client.post("/login", data={"token": TOKEN}, headers=foreign).status_code == 403
    assert client.post("/login", content=b"token=" + b"x" * 9000).status_code == 401
    assert client.post("/login", content=b"\xff").status_code == 401
    assert client.post("/login", content=b"token=" + TOKEN.encode() + b"&a" * 9).status_code == 401
    monkeypatch.setattr(guard, "GUESSES_AT_ONCE", 2.0)
    monkeypatch.setattr(guard, "GUESSES_A_SECOND", 0.0)
    client = asking()
    codes = [client.post("/login", data={"token": token}).status_code for token in ("a", "b", TOKEN)]
    assert codes == [401, 401, 429]


def test_by_https_the_cookie_is_for_https_alone() -> None:
    links = Links()
    client = asking(AWAY, links=links, scheme="https")
    assert "secure" in client.get(links.new()).headers["set-cookie"].lower()
    assert "secure" in client.post("/login", data={"token": TOKEN}).headers["set-cookie"].lower()
