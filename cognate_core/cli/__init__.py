"""The command line: `cognate run`, `train`, `runs`, `model` and more. Words and tables; the work is elsewhere.

Each command asks the API through the Client, so that it does the same here as at a studio elsewhere (--server).
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
    """Commands whose errors are told as the sentences that they are."""

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
            help="Ask the studio at this address, such as http://127.0.0.1:8501. COGNATE_TOKEN has its token; for one "
            "on this computer that is not needed. Default: work on the data directory of this computer.",
        ),
    ] = None,
) -> None:
    """Cognate Studio: train small language models on this computer."""
    choose_server(server or None)


for commands in (studio, train, rates, lists, control, figures):  # each command by itself
    app.add_typer(commands.app)
for group in (models, sweeps, data, uploads, archive, trash):  # below a word of its own
    app.add_typer(group.app, rich_help_panel="Keep and try")

__all__ = ["app"]
