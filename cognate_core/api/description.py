"""The API described for programs: FastAPI's OpenAPI schema, plus what FastAPI cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

PROBLEM = {"$ref": "#/components/schemas/Problem"}
READS = ("get", "head")
TOKEN = "token"  # noqa: S105  (the name of the scheme)


def describe(app: FastAPI) -> None:
    """Make the schema of `app` declare its problems as problem+json, and which operations need the token."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            schema["components"]["securitySchemes"] = {
                TOKEN: {"type": "http", "scheme": "bearer", "description": "`cognate token` prints it."}
            }
            schema["security"] = [{TOKEN: []}]
            schema["paths"]["/v1/health"]["get"]["security"] = []
            for _, operation in operations(schema):
                operation["responses"].setdefault("default", {})["content"] = {
                    "application/problem+json": {"schema": PROBLEM}
                }
        return app.openapi_schema or plain()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the schema


def operations(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each operation of a schema, with its method."""
    return [pair for path in schema["paths"].values() for pair in path.items() if isinstance(pair[1], dict)]
