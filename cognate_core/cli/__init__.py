"""The command line: `cognate run`, `train`, `runs`, `model` and more. It only parses and prints.

Each command calls the API through the Client, so it works the same here and at a remote studio (--server).
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cognate_core.cli import (
    archive,
    control,
    data,
    figures,
    lists,
    models,
    output,
    rates,
    studio,
    sweeps,
    train,
    trash,
    uploads,
)
from cognate_core.cli.connection import choose_server
from cognate_core.errors import CognateError


class _InSentences(TyperGroup):
    """Commands that print an error as its sentence, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CognateError as error:
            output.fail(str(error))


app = typer.Typer(
    cls=_InSentences,
    help="Cognate Studio: train small language models on this computer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def cognate(
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="COGNATE_SERVER",
            help="Use the studio at this address, such as http://127.0.0.1:8501. Put its token into COGNATE_TOKEN; a "
            "studio on this computer needs none. Default: use this computer's data directory.",
        ),
    ] = None,
) -> None:
    """Cognate Studio: train small language models on this computer."""
    choose_server(server or None)


for commands in (studio, train, rates, lists, control, figures):  # top-level commands
    app.add_typer(commands.app)
for group in (models, sweeps, data, uploads, archive, trash):  # groups of commands
    app.add_typer(group.app, rich_help_panel="Keep and try")

__all__ = ["app"]
