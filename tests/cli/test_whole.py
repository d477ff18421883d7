"""What the API can do, the client can; and what the client can do, a command does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from cognate_core import cli
from cognate_core.api import create_api
from cognate_core.client import Client
from tests.there import there

ROOT = Path(__file__).parents[2]
CLIENT = sorted((ROOT / "cognate_core" / "client").glob("*.py"))
COMMANDS = sorted((ROOT / "cognate_core" / "cli").glob("*.py"))
SENDING = {"_ask", "_list", "_pages", "_save", "_answer", "_send_file"}
METHOD = {"_list": "GET", "_pages": "GET", "_save": "GET", "_send_file": "POST"}  # the others are told theirs


def method_of(sent: ast.Call) -> tuple[str, str] | None:
    """The operation of a call such as `self._ask("GET", "/runs/{}", run_id)`."""
    name = sent.func.attr if isinstance(sent.func, ast.Attribute) else ""
    if name not in SENDING:
        return None
    words = [word.value for word in sent.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    verb = METHOD.get(name) or (words.pop(0) if words and words[0].isupper() else None)
    path = next((word for word in words if word.startswith("/")), None)
    return (verb, path) if verb and path else None


def operations_of_client() -> Iterator[tuple[str, str]]:
    for function in (node for path in CLIENT for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))):
        if isinstance(function, ast.FunctionDef):
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and (found := method_of(call)):
                    yield found


def operations_of_api() -> set[tuple[str, str]]:
    paths = create_api(lambda: None).openapi()["paths"]  # type: ignore[arg-type,return-value]
    return {
        (verb.upper(), re.sub(r"\{\w+\}", "{}", path.removeprefix("/v1")))
        for path, operations in paths.items()
        for verb in operations
    }


def test_the_client_asks_every_operation_of_the_api_and_no_other() -> None:
    api, client = operations_of_api(), set(operations_of_client())
    assert len(api) > 40
    assert sorted(api - client) == []
    assert sorted(client - api) == []


def test_every_method_of_the_client_is_used_by_a_command() -> None:
    methods = {name for name in dir(Client) if not name.startswith("_")} - {"close"}
    used = {
        node.attr
        for path in COMMANDS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert sorted(methods - used) == []


def test_every_command_says_what_it_does() -> None:
    for found in (cli.app, *(group.typer_instance for group in cli.app.registered_groups)):
        for command in there(found).registered_commands:
            assert command.callback is not None
            assert (command.callback.__doc__ or "").strip(), command.callback
