"""`embrm detect`."""

from __future__ import annotations

import click

from embrm.cli import _options, _render


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("reference", metavar="REFERENCE")
@click.argument("outputs", metavar="OUTPUTS")
@click.option(
    "--detector",
    "names",
    multiple=True,
    metavar="NAME",
    help="See `embrm list detectors`; may be repeated. Without it: mahalanobis and csi.",
)
@click.option(
    "--space",
    type=click.Choice(["latent", "joint", "response"]),
    default="latent",
    show_default=True,
    help="Which vectors to compare: the model's latents, or the embeddings of prompt and response, or of the response.",
)
@click.option("--member", default=0, show_default=True, help="Whose latents: every member has a space of its own.")
@_options.settings
@_options.embedding
@_options.seed
@_options.json_output
def command(
    model: str,
    reference: str,
    outputs: str,
    names: tuple[str, ...],
    space: str,
    member: int,
    options: tuple[str, ...],
    source: _options.Source,
    seed: int,
    as_json: bool,
) -> None:
    """Say whether outputs have left the region of reference texts, where the reward can be trusted.

    REFERENCE and OUTPUTS have pairs, pools or texts, such as the training pairs and what `embrm select` wrote. `--set`
    is for a single `--detector`.

    Examples:
      embrm detect model prefs.jsonl pools.jsonl --set alpha=0.1 --detector mahalanobis
      embrm detect model prefs.jsonl pools.jsonl --space response
    """
    from embrm import detectors
    from embrm.errors import OptionError
    from embrm.heads._saved import load_model
    from embrm.reading import as_candidates
    from embrm.texts import number_prompts, read_texts

    names = names or ("mahalanobis", "csi")
    if options and len(names) > 1:
        raise OptionError(f"--set needs a single --detector to belong to, got {', '.join(names)}")
    recipes = {name: _options.recipe(detectors.registry, name, options) for name in names}
    fitted = load_model(model)
    views = fitted.widths if space == "latent" else (space,)
    files = [read_texts(reference), read_texts(outputs)]
    prompts = number_prompts(*files)
    sides = [as_candidates(texts, views=views, **source.reading(fitted)).features for texts in files]
    known, new = (fitted.latent(x, member=member) if space == "latent" else x.matrix(space) for x in sides)
    verdicts = {
        name: recipe.fit(known, prompt=prompts[0], seed=seed).check(new, prompt=prompts[1])
        for name, recipe in recipes.items()
    }
    data = {"space": space, "reference": len(known), "outputs": len(new), "verdicts": verdicts}
    _render.emit(data, _render.verdict_table(verdicts), as_json=as_json)
