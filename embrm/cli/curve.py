"""`embrm curve`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import click

from embrm.cli import _options, _render, _rows

if TYPE_CHECKING:
    from embrm.data.faults import RowRules


@click.command()
@click.argument("model", metavar="MODEL|SCORES")
@click.argument("pools", metavar="POOLS")
@click.option(
    "--selector",
    "names",
    multiple=True,
    metavar="NAME[:OPTION=VALUE,…]",
    help="See `embrm list selectors`; may be repeated. Without it: mean, and worst_case for several members.",
)
@click.option("--sizes", metavar="N,N,…", help="The n of the curve; without it, powers of two and the smallest pool.")
@click.option(
    "--pool",
    type=click.Choice(["population", "support"]),
    default="population",
    show_default=True,
    help="Whether a pool is a sample of the policy, or all that the policy can say.",
)
@click.option("--figure", metavar="PATH", help="Draw gold against KL: PATH ends in .svg or .png.")
@click.option(
    "--threshold",
    is_flag=True,
    help="Say for each rule beyond which strength gold falls: n, poisson's rate, or one over soft's temperature, with "
    "the pools taken as the policy itself.",
)
@click.option(
    "--fit",
    is_flag=True,
    help="Fit Gao's law R = d(α - βd), d = √KL, to each rule's gain, and forecast the largest n from all others.",
)
@_options.penalty
@_rows.options
@_rows.reference_options
@_options.on_texts
@_options.seed
@_options.json_output
def command(
    model: str,
    pools: str,
    names: tuple[str, ...],
    sizes: str | None,
    pool: Literal["population", "support"],
    figure: str | None,
    threshold: bool,
    fit: bool,
    penalty: _options.PenaltyOptions,
    source: _options.SourceOptions,
    rules: RowRules,
    reference_rules: RowRules,
    seed: int,
    as_json: bool,
) -> None:
    """Compare rules on the same pools: the exact gold of what each chooses among n, for every n.

    POOLS has rows {id, prompt, responses[], gold[]}; MODEL|SCORES as for `embrm select`. Beside the rules stand the
    oracle, the longest response and a random one; differences from the first rule are paired by prompt.

    Examples:
      embrm curve model pools.jsonl --figure rules.svg
      embrm curve scores.jsonl pools.jsonl --selector mean --selector lower_bound --selector poisson
      embrm curve model pools.jsonl --threshold --fit
      embrm curve model pools.jsonl --selector mean --selector penalised:weight=0.1 --penalty mbr
    """
    from embrm import selectors
    from embrm.data.clusters import clusters
    from embrm.data.columns import gold
    from embrm.data.texts import number_prompts, read_texts
    from embrm.evaluation import hacking
    from embrm.evaluation import penalty as choosing
    from embrm.evaluation import rules as comparing
    from embrm.evaluation.pool_sizes import long_enough, reward_of, rows_of
    from embrm.evaluation.scorer import Scorer
    from embrm.report import figures

    if figure:
        figures.check(figure)
    wanted = _options.whole_numbers("--sizes", sizes)
    recipes = _options.recipes(selectors.registry, names)
    choosing.check_penalty(list(recipes.values()), given=penalty.name is not None)
    scorer = Scorer.open(model, reading=source.reading)
    texts = read_texts(pools, kind="pools", rules=scorer.rules(rules))
    weighed = penalty.penalty(scorer.rules(reference_rules))
    lengths = [len(response) for response in texts.responses]
    golden = comparing.GoldPools.of(gold(texts.rows), texts.offsets, length=lengths)
    reward = scorer.reward(texts)
    kept = long_enough(texts, wanted, pool=pool)
    rows, offsets = rows_of(texts.offsets, kept)
    golden = comparing.GoldPools.of(golden.gold[rows], offsets, length=[lengths[i] for i in rows])
    cluster = clusters(texts, number_prompts(texts)[0])
    golden = replace(golden, cluster=None if cluster is None else cluster[rows][offsets[:-1]])
    recipes = recipes or comparing.usual_rules(reward)
    subtracted = None if weighed is None else weighed.of(texts, scorer, seed=seed)[rows]
    reward = reward_of(reward, rows)
    found = comparing.compare(recipes, reward, golden, sizes=wanted, pool=pool, penalty=subtracted, seed=seed)
    data, text = {"model": model, "file": pools, **found.as_dict()}, _render.rule_table(found)
    if threshold:
        data["thresholds"] = hacking.thresholds(recipes, reward, golden, penalty=subtracted)
        text += f"\n\n{_render.threshold_table(data['thresholds'])}"
    if fit:
        laws = hacking.laws(found, seed=seed)
        data["laws"] = {name: law.as_dict() for name, law in laws.items()}
        text += f"\n\n{_render.law_table(laws)}"
    if figure:
        figures.save(figures.rules(found), figure)
        text += f"\nfigure: {figure}"
    _render.emit(data, text, as_json=as_json)
