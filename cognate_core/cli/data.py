import typer

app = typer.Typer(name="data", help="Datasets: what a model would read.", no_args_is_help=True)


@app.command()
def x():
    pass
