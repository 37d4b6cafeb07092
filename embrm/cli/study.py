"""`embrm study`."""

from __future__ import annotations

import click

from embrm.cli import _options, _render


@click.command()
@click.option("--config", default="laptop", show_default=True, metavar="NAME|FILE", help="laptop, ci, or a YAML file.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value, such as pairs=500.")
@click.option("-o", "--output", default="runs/study", show_default=True, metavar="FOLDER", help="Where results go.")
@click.option("--seed", type=int, default=0, show_default=True, help="Added to every seed of the configuration.")
@_options.json_output
def command(config: str, overrides: tuple[str, ...], output: str, seed: int, as_json: bool) -> None:
    """Train heads on the shipped world, follow each until it is hacked, and write a report.

    No model, network or GPU is needed: the data that come with the project hold their embeddings.

    Examples:
      embrm study --config ci -o report
    """
    from embrm.files import check_writable
    from embrm.report import study as report
    from embrm.study.config import load_config
    from embrm.study.run import rows, run

    loaded = load_config(config, overrides)
    loaded = loaded.model_copy(update={"seeds": [s + seed for s in loaded.seeds]})
    folder = check_writable(output, folder=True)
    study = run(loaded, progress=lambda line: click.echo(f"· {line}", err=True))
    written = report.write(study, folder)
    headings, *body = report.table(study)
    text = "\n".join([_render.table(headings, body), "", *report.verdicts(study), "", f"report: {written}"])
    _render.emit({"report": str(written), "rows": rows(study)}, text, as_json=as_json)
