"""Finding a learning rate."""

from __future__ import annotations

import typer

from cognate_core.cli.connection import changing
from cognate_core.cli.following import follow_job
from cognate_core.cli.output import JsonOption, fail, print_json, print_line, print_table, say
from cognate_core.cli.settings import FileArgument, PresetOption, SetOption, chosen_config, sent

app = typer.Typer()


@app.command(rich_help_panel="Train")
def find_rate(
    config_file: FileArgument = None,
    preset: PresetOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for a learning rate: about a minute of training with an increasing rate. Ctrl-C cancels."""
    config = chosen_config(config_file, preset, overrides)
    with changing() as studio:
        found = follow_job(
            studio.find_rate(sent(studio, config))["search"],
            lambda: studio.rate_search()["search"],
            lambda state: len(state["rates"]) / max(1, state["planned"]),
            studio.cancel_rate_search,
        )
    if as_json:
        print_json(found)
        return
    every = max(1, len(found["rates"]) // 20)
    pairs = zip(found["rates"][::every], found["losses"][::every], strict=True)
    print_table(("learning rate", "loss"), [(f"{rate:.2g}", f"{loss:.3f}") for rate, loss in pairs])
    for note in found["notes"]:
        say(note)
    if not found["complete"]:
        fail("The search was cancelled, so there is no suggestion. Try again.")
    if found["suggestion"] is None:
        fail("The loss did not clearly fall at any rate, so there is no suggestion.")
    print_line(f"learning_rate={found['suggestion']:.1e}")
    say(
        f"This is a tenth of the rate with the lowest loss, from {len(found['rates'])} steps in "
        f"{found['seconds']:.0f} s. It is only a hint: try rates around it in full runs."
    )
