"""The API described for people: one page made of its own schema. It has no script and fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from cognate_core.api.description import READS

router = APIRouter(include_in_schema=False)

Schema = dict[str, Any]

_STYLE = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "img-src data:"
)
MESSAGES = (
    ("training_update", "How far a run is: progress, message, phase, step, total_steps, loss, learning_rate."),
    ("model_completed", "A model is there: model_id, model_name."),
    ("training_complete", "The run has come to its end."),
    ("training_error", "The run has ended otherwise; message says why."),
    ("events_lost", "What lay between `after` and this id is no longer kept."),
)


@router.get("/v1")
def page(request: Request) -> HTMLResponse:
    """The page."""
    told = re.fullmatch(r"(/[\w.~-]+)+/?", request.headers.get("x-forwarded-prefix", ""), re.ASCII)
    folder = told[0].rstrip("/") if told else ""  # below which a proxy serves the studio
    address = f"{request.url.scheme}://{request.url.netloc}{folder}{request.scope.get('root_path', '')}"
    return HTMLResponse(_page(request.app.openapi(), address), headers={"Content-Security-Policy": POLICY})


@router.get("/")
def to_page() -> RedirectResponse:
    """Whoever leaves a part of the address out is led to the page."""
    return RedirectResponse("v1/")


def _page(schema: Schema, address: str) -> str:
    by_tag: dict[str, list[str]] = {}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            tag = operation.get("tags", ["others"])[0]
            by_tag.setdefault(tag, []).append(_operation(schema, address, path, method, operation))
    tags = [
        ("How to ask", "asking"),
        *((tag, _anchor(tag)) for tag in by_tag),
        ("shapes", "shapes"),
        ("events as they happen", "sockets"),
    ]
    links = "".join(f'<li><a href="#{anchor}">{_text(_capital(tag))}</a></li>' for tag, anchor in tags)
    parts = "".join(
        f'<section id="{_anchor(tag)}"><h2>{_text(_capital(tag))}</h2>{"".join(found)}</section>'
        for tag, found in by_tag.items()
    )
    info = schema["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>The API of {_text(info['title'])}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>The API of {_text(info['title'])}</h1><p>{_text(info['summary'])} Version {_text(info['version'])}.</p>"
        f'<nav aria-label="Parts"><ul>{links}</ul></nav>{_asking(address)}{parts}{_shapes(schema)}{_sockets(address)}'
        "</main></body></html>"
    )


def _asking(address: str) -> str:
    return (
        '<section id="asking"><h2>How to ask</h2>'
        "<p>Programs show the studio's token, which lies in the data folder and is readable by you alone:</p>"
        '<pre tabindex="0">TOKEN=$(cognate token)</pre>'
        "<p>What is sent is JSON, declared as such, also where nothing is sent; files are "
        "<code>application/octet-stream</code>. Long lists come in parts: send <code>next</code> of an answer as "
        "<code>after</code> for what follows. A problem is told as <code>application/problem+json</code>, with a "
        "sentence in <code>detail</code> and, where single fields are wrong, one for each in <code>problems</code>. "
        "Times are ISO 8601 in UTC. What is not known is <code>null</code>.</p>"
        "<p>A start can be sent with an <code>Idempotency-Key</code> of your own: sent again, it starts nothing.</p>"
        f'<p>For programs: <a href="{_text(address)}/v1/openapi.json">openapi.json</a>.</p></section>'
    )


def _sockets(address: str) -> str:
    socket = re.sub("^http", "ws", address)
    rows = [(f"<code>{name}</code>", _text(words)) for name, words in MESSAGES]
    return (
        '<section id="sockets"><h2>Events as they happen</h2><p>A WebSocket tells what happens, of all runs or of one. '
        "Each message is a JSON object with <code>id</code>, <code>run_id</code>, <code>type</code>, "
        "<code>status</code> and <code>timestamp</code>. Ids rise; after a break, open it with "
        "<code>?after=</code> the last one that came, and what was missed is told first.</p>"
        f'<pre tabindex="0">{_text(socket)}/v1/events\n{_text(socket)}/v1/runs/{{run_id}}/events?after=41</pre>'
        f"{_table('Messages', ('type', 'what it tells'), rows)}</section>"
    )


def _operation(schema: Schema, address: str, path: str, method: str, operation: Schema) -> str:
    summary, _, more = str(operation.get("description", operation["summary"])).partition("\n")
    parameters = [
        (_named(each["name"], required=each.get("required", False)), each["in"], *_field(schema, each))
        for each in operation.get("parameters", [])
    ]
    body = _body(operation)
    fields: list[Sequence[str]] = []
    if body is not None and body[0] == "application/json":
        shape = _resolved(schema, body[1])
        for name, field in shape.get("properties", {}).items():
            fields.append((_named(name, required=name in shape.get("required", [])), *_field(schema, field)))
    answers = [
        (f"<code>{_text(code)}</code>", _linked(schema, _kinds(schema, answer)), _text(answer["description"]))
        for code, answer in operation["responses"].items()
        if code not in ("default", "422")
    ]
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{_text(path)}</code><span>{_text(summary)}</span></summary>"
        f"<div>{f'<p>{_text(more.strip())}</p>' if more.strip() else ''}"
        f'<pre tabindex="0">{_text(_curl(schema, address, path, method, body))}</pre>'
        f"{_table('Asked by', ('name', 'in', 'kind', 'meaning'), parameters)}"
        f"{_table('Sent', ('field', 'kind', 'meaning'), fields)}"
        f"{_table('Answers', ('status', 'kind', 'meaning'), answers)}</div></details>"
    )


def _curl(schema: Schema, address: str, path: str, method: str, body: tuple[str, Schema] | None) -> str:
    parts = ["curl"] if method == "get" else ["curl --head"] if method == "head" else [f"curl -X {method.upper()}"]
    parts.append('-H "Authorization: Bearer $TOKEN"')
    if body is not None and body[0] != "application/json":
        parts.append(f"-H 'Content-Type: {body[0]}' --data-binary @FILE")
    elif method not in (*READS, "delete"):
        parts.append("-H 'Content-Type: application/json'")
        if body is not None:
            parts.append(f"-d '{json.dumps(_example(schema, body[1]))}'")
    return " \\\n  ".join([*parts, f"'{address}{re.sub('{([a-z_]+)}', lambda match: match[1].upper(), path)}'"])


def _example(schema: Schema, shape: Schema) -> Any:
    """A value of this shape: what must be there, and what has an example."""
    shape = _resolved(schema, shape)
    if shape.get("examples"):
        return shape["examples"][0]
    if "enum" in shape:
        return shape["enum"][0]
    fields = shape.get("properties", {})
    if fields:
        wanted = shape.get("required", [])
        return {
            name: _example(schema, field) for name, field in fields.items() if name in wanted or "examples" in field
        }
    simple = {"integer": max(1, shape.get("minimum", 1)), "number": 1.0, "boolean": True, "array": [], "object": {}}
    return simple.get(shape.get("type", ""), "…")


def _body(operation: Schema) -> tuple[str, Schema] | None:
    """The kind of what is sent, and its shape."""
    content = operation.get("requestBody", {}).get("content", {})
    return next(((kind, told["schema"]) for kind, told in content.items()), None)


def _field(schema: Schema, told: Schema) -> tuple[str, str]:
    """The kind of a parameter or field, and what it means."""
    shape = told.get("schema", told)
    kind = _kind(schema, shape)
    bounds = {"minimum": "from {}", "maximum": "to {}", "maxLength": "at most {} letters", "maxItems": "at most {}"}
    known = [
        f"{words} {value:,.0f}"
        for each in _choices(shape)
        for name, words in bounds.items()
        if (value := each.get(name))
    ]
    default = shape.get("default")
    known += [f"default {json.dumps(default)}"] if default not in (None, {}, []) else []
    told_more = f'<br><span class="key">{_text(", ".join(known))}</span>' if known else ""
    return _linked(schema, kind) + told_more, _text(told.get("description") or shape.get("description") or "")


def _kind(schema: Schema, shape: Schema) -> str:
    """The kind of a value in words."""
    words: list[str] = []
    for each in _choices(shape):
        resolved = _resolved(schema, each)
        if "enum" in resolved:
            words.append(", ".join(map(str, resolved["enum"])))
        elif resolved.get("type") == "array":
            words.append(f"list of {_kind(schema, resolved.get('items', {}))}")
        elif "$ref" in each:
            words.append(str(each["$ref"]).rpartition("/")[2])
        else:
            words.append(str(resolved.get("type", "any")))
    return " or ".join(dict.fromkeys(words))


def _kinds(schema: Schema, answer: Schema) -> str:
    content = answer.get("content", {})
    return ", ".join(
        _kind(schema, told.get("schema", {})) if kind == "application/json" else kind for kind, told in content.items()
    )


def _shapes(schema: Schema) -> str:
    """Every shape that is sent or answered, with its fields."""
    parts = []
    for name, shape in schema["components"]["schemas"].items():
        fields = [
            (_named(each, required=True), *_field(schema, told)) for each, told in shape.get("properties", {}).items()
        ]
        if fields:
            parts.append(
                f'<details id="shape-{_text(name)}"><summary><code>{_text(name)}</code>'
                f"<span>{_text(shape.get('description', ''))}</span></summary>"
                f"<div>{_table('Fields', ('field', 'kind', 'meaning'), fields)}</div></details>"
            )
    return f'<section id="shapes"><h2>Shapes</h2>{"".join(parts)}</section>'


def _linked(schema: Schema, kind: str) -> str:
    """The words of a kind, of which the names of shapes lead there."""
    known = schema["components"]["schemas"]

    def link(match: re.Match[str]) -> str:
        name = match[0]
        return f'<a href="#shape-{name}">{name}</a>' if known.get(name, {}).get("properties") else name

    return re.sub("[A-Za-z_]+", link, html.escape(kind))


def _choices(shape: Schema) -> list[Schema]:
    return shape.get("anyOf") or shape.get("allOf") or [shape]


def _resolved(schema: Schema, shape: Schema) -> Schema:
    if "$ref" not in shape:
        return shape
    found: Schema = schema["components"]["schemas"][shape["$ref"].rpartition("/")[2]]
    return found


def _named(name: str, *, required: bool) -> str:
    return f"<code>{_text(name)}</code>" + ("" if required else ' <span class="key">(optional)</span>')


def _table(caption: str, head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML; nothing when there are no rows."""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    if not body:
        return ""
    names = "".join(f'<th scope="col">{_text(name)}</th>' for name in head)
    return (
        f'<div class="wide" tabindex="0"><table><caption>{_text(caption)}</caption><thead><tr>{names}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _anchor(tag: str) -> str:
    return re.sub("[^a-z]+", "-", tag.lower())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _text(text: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))
