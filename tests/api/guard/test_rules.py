"""Each rule refuses what breaks it alone, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from cognate_core.api.security import guard
from cognate_core.api.security.guard import RULES, Policy, Rule
from cognate_core.api.security.login import session_cookie
from tests.api.guard.asking import (
    ANY_PATH,
    AWAY,
    FOREIGN_HOSTS,
    FOREIGN_ORIGINS,
    HERE,
    HOME,
    OPEN,
    SIMPLE_CONTENT,
    TOKEN,
    Case,
    asking,
    known,
)


def case(rule: Rule, status: int, **values: Any) -> Any:
    headers = list(values.pop("headers", {}).items()) if isinstance(values.get("headers"), dict) else None
    if headers is not None:
        values["headers"] = headers
    words = " ".join(f"{name}={value}" for name, value in values.items() if name not in ("policy", "content"))
    return pytest.param(
        Case(rule, status, **values), id=f"{rule.__name__}-{words}"[:110].encode("ascii", "replace").decode()
    )


CASES = [
    case(guard.said_once, 400, headers=[("Host", HERE), ("Host", HERE)]),
    case(guard.said_once, 400, headers=[("Origin", f"http://{HERE}"), ("Origin", f"http://{HERE}")]),
    case(guard.said_once, 400, headers=[("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other")]),
    case(
        guard.said_once,
        400,
        method="POST",
        headers=[("Content-Type", "application/json"), ("Content-Type", "text/plain")],
    ),
    case(guard.from_near, 403, client="192.168.1.7", policy=OPEN),
    case(guard.from_near, 403, client="192.168.1.7", path="/", policy=OPEN),
    case(guard.from_near, 403, client="::ffff:10.0.0.1", policy=OPEN),
    case(guard.from_near, 403, client="", policy=OPEN),
    *(
        case(guard.no_proxy, 403, headers={name: "203.0.113.9"}, path=path, policy=OPEN)
        for name in ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Via", "X-Real-IP")
        for path in ("/", "/api/v1/runs", "/api/v1/health")
    ),
    *(case(guard.known_host, 403, headers={"Host": host}) for host in FOREIGN_HOSTS),
    case(guard.known_host, 403, headers={"Host": "evil.example"}, path="/"),
    case(guard.known_host, 403, headers={"Host": HERE}, policy=AWAY),
    *(case(guard.own_origin, 403, headers={"Origin": origin}) for origin in FOREIGN_ORIGINS),
    case(guard.own_origin, 403, headers={"Origin": "https://evil.example"}, path="/"),
    case(guard.own_origin, 403, headers={"Origin": "https://evil.example"}, method="DELETE"),
    *(
        case(
            guard.own_site,
            403,
            headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest},
            path=path,
        )
        for site in ("cross-site", "same-site", "none, cross-site")
        for mode, dest, path in (
            ("no-cors", "image", "/api/v1/runs"),
            ("no-cors", "script", "/plotly.min.js"),
            ("cors", "empty", "/live"),
            ("navigate", "iframe", "/"),
            ("navigate", "document", "/api/v1/runs"),
        )
    ),
    case(
        guard.own_site,
        403,
        method="POST",
        headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ),
    *(
        case(guard.known_content, 415, method=method, headers={"Content-Type": content})
        for method in ("POST", "PATCH")
        for content in SIMPLE_CONTENT
    ),
    *(
        case(guard.known_content, 415, method="POST", headers={"Content-Type": None}, path=path)
        for path in ANY_PATH[1:]
    ),
    case(guard.known_content, 415, method="DELETE", headers={"Content-Type": "text/plain"}),
    case(guard.small_enough, 413, method="POST", headers={"Content-Length": "1000001"}),
    case(guard.small_enough, 413, headers={"Content-Length": "1000001"}),
    case(
        guard.small_enough,
        413,
        method="POST",
        headers={"Content-Length": str((4096 << 20) + 1), "Content-Type": "application/octet-stream"},
    ),
    *(
        case(guard.small_enough, 400, method="POST", headers={"Content-Length": length})
        for length in ("-1", "1e9", "+5", "²", "9" * 20)
    ),
    *(
        case(guard.token_given, 401, method=method, headers={"Authorization": given})
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")
        for given in (None, "Bearer wrong")
    ),
    *(
        case(guard.token_given, 401, method="POST", headers={"Authorization": given})
        for given in (
            TOKEN,
            f"Basic {TOKEN}",
            "Bearer",
            "Bearer ",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            "Bearer é",
        )
    ),
    *(case(guard.token_given, 401, method="POST", headers={"Authorization": None}, path=path) for path in ANY_PATH[1:]),
    case(guard.token_given, 401, method="POST", headers={"Authorization": None}, path=f"/api/v1/runs?token={TOKEN}"),
    *(
        case(
            guard.token_given,
            401,
            method=method,
            headers={"Authorization": None, "Cookie": "=".join(session_cookie(TOKEN))},
            path=path,
        )
        for method in ("POST", "DELETE")
        for path in ("/api/v1/runs", "/live")
    ),
    *(
        case(guard.token_given, 401, headers={"Authorization": None}, policy=policy, path=path)
        for policy in (HOME, AWAY)
        for path in ("/", f"/?token={TOKEN}", "/live", "/static/main.js", "/api", "/api/v1/", "/api/v1/runs", "/x")
    ),
    *(
        case(guard.token_given, 401, headers={"Authorization": None, "Cookie": cookie}, path="/")
        for cookie in (
            f"{session_cookie(TOKEN)[0]}={TOKEN}",
            f"{session_cookie(TOKEN)[0]}=",
            f"other={session_cookie(TOKEN)[1]}",
            "=".join(session_cookie(f"{TOKEN}x")),
            "",
        )
    ),
    case(
        guard.token_given, 401, headers={"Authorization": None}, method="PUT", path="/_stcore/upload_file/session/file"
    ),
    case(guard.token_given, 401, headers={"Authorization": None}, method="POST", path="/api/v1/health"),
    case(guard.token_given, 401, headers={"Authorization": None}, method="PUT", path="/login"),
    case(guard.token_given, 401, headers={"Authorization": None}, method="POST", policy=OPEN),
    case(guard.token_given, 401, method="POST", headers={"Authorization": "Bearer None"}, policy=Policy("")),
    case(guard.token_given, 401, method="POST", headers={"Authorization": "Bearer "}, policy=Policy("")),
]


@pytest.mark.parametrize("case", CASES)
def test_each_rule_refuses_what_breaks_it_alone_and_nothing_else_does(case: Case) -> None:
    refused = case.ask(RULES)
    assert refused.status_code == case.status
    assert refused.headers["content-type"] == "application/problem+json" and refused.json()["detail"]
    assert TOKEN not in refused.text
    without = case.ask(tuple(rule for rule in RULES if rule is not case.rule))
    assert without.status_code == 200


def test_every_rule_has_a_case() -> None:
    assert {each.values[0].rule for each in CASES} == set(RULES)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "127.0.0.1"},
        {"Host": "localhost:8501"},
        {"Host": "LOCALHOST:8501"},
        {"Host": "localhost."},
        {"Host": "[::1]:8501"},
        {"Host": "[::1]"},
        {"Host": HERE, "Origin": f"http://{HERE}"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    ],
    ids=str,
)
def test_what_breaks_no_rule_goes_through(headers: dict[str, str]) -> None:
    client = asking()
    for shows in ({"Authorization": f"Bearer {TOKEN}"}, {"Cookie": "a=b; " + "=".join(session_cookie(TOKEN)) + "; c"}):
        assert client.get("/api/v1/runs", headers={**headers, **shows}).status_code == 200
    change = {"Authorization": f"bearer {TOKEN}", "Content-Type": "application/json; charset=utf-8", **headers}
    assert client.post("/api/v1/runs", headers=change, content=b"{}").json()["bytes"] == 2
    del change["Content-Type"]
    assert client.delete("/api/v1/runs/x", headers=change).status_code == 200


def test_a_link_on_another_site_leads_to_a_page() -> None:
    follows = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert known().get("/monitor?run=x", headers=follows).status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/health", "/_stcore/health"])
def test_health_is_told_to_everybody(path: str) -> None:
    assert asking().get(path).status_code == asking(AWAY).head(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/monitor", "/live", "/api/v1/runs", "/static/main.js"])
def test_an_open_studio_asks_nobody_on_this_computer(path: str) -> None:
    assert asking(OPEN).get(path).status_code == 200
    assert asking(OPEN).get("/login?key=old").headers["location"] == "./"
    assert asking(OPEN, client="192.168.1.7").get(path).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/runs",
        "/./api/v1/runs",
        "/x/../api/v1/runs",
        "/API/v1/runs",
        "/api%2fv1%2fruns",
        "/%61pi/v1/runs",
        "/api/../api/v1/runs",
        "/_stcore/upload_file/../../api/v1/runs",
        "/_stcore/upload_file/%2e%2e/%2e%2e/api/v1/runs",
        "/_stcore%2fupload_file/x",
        "/login/",
        "/login/../api/v1/runs",
    ],
)
def test_no_other_spelling_of_an_address_leads_past_the_token(path: str) -> None:
    """Either the rules see a change there, or what answers is no part of the API."""
    client = asking()
    client.headers["content-type"] = "application/json"
    answered = client.post(f"http://{HERE}{path}", content=b"{}")
    if answered.status_code != 401:
        assert answered.json()["path"].startswith(guard.PAGES_UPLOADS)


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "_method"])
def test_no_header_turns_reading_into_a_change(header: str) -> None:
    answered = known().get("/api/v1/runs?_method=DELETE", headers={header: "DELETE"})
    assert answered.json()["method"] == "GET"


def test_a_field_for_files_of_a_page_goes_on_working() -> None:
    put = {"Content-Type": "multipart/form-data; boundary=x", "Origin": f"http://{HERE}"}
    assert known().put("/_stcore/upload_file/s/f", headers=put, content=b"x" * 2_000_000).json()["bytes"] == 2_000_000
    foreign = {**put, "Origin": "https://evil.example"}
    assert known().put("/_stcore/upload_file/s/f", headers=foreign, content=b"x").status_code == 403
