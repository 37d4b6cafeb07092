"""`embrm generate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from embrm.cli import _options, _render, _rows
from embrm.cli._progress import is_watched

if TYPE_CHECKING:
    from embrm.data.faults import RowRules


@click.command()
@click.argument("file", metavar="[FILE]", required=False)
@click.option("-o", "--output", metavar="POOL.jsonl", required=True, help="The file for the pools.")
@click.option("--lm", metavar="PATH", required=True, help="A folder of transformers' form, an id on the hub, or world.")
@click.option("--revision", help="Branch, tag or commit of the model on the hub.")
@click.option("-n", "--n", type=_options.whole(), default=8, show_default=True, help="Responses a prompt.")
@click.option(
    "--temperature",
    type=_options.Number(),
    default=1.0,
    show_default=True,
    help="Less prefers what is likely; 0: the likeliest.",
)
@click.option(
    "--top-p",
    type=_options.Number(),
    default=1.0,
    show_default=True,
    help="Share of probability drawn from, the likeliest first.",
)
@click.option(
    "--max-new-tokens", type=_options.whole(), default=256, show_default=True, help="A response is cut off there."
)
@click.option("--stop", multiple=True, metavar="TEXT", help="End a response before this text; may be repeated.")
@click.option("--engine", type=click.Choice(["transformers", "vllm"]), default="transformers", show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True)
@click.option(
    "--batch-size", type=_options.whole(), default=32, show_default=True, help="Responses written at once on a device."
)
@click.option(
    "--gold", metavar="PATH", help="A reward model of transformers' form, or world, whose scores become the gold."
)
@click.option(
    "--gold-label",
    type=_options.whole(),
    metavar="K",
    help="Which logit of several is good; its log-odds are the gold.",
)
@_rows.options
@_options.seed
@_options.json_output
def command(
    file: str | None,
    output: str,
    lm: str,
    n: int,
    gold: str | None,
    gold_label: int | None,
    rules: RowRules,
    seed: int,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Write pools: N responses of a language model to each prompt of a file, with the gold of a reward model.

    FILE has rows with a prompt, text or messages, and may name them by id; each row becomes a pool. A run that was
    stopped goes on where it stood when it is started again, and ends with the same file. The language model that comes
    with the project is called world; without a FILE it answers all questions of the world, judged by the world.

    Examples:
      embrm generate prompts.jsonl -o generated.jsonl --lm lm -n 4 --max-new-tokens 64 --gold rm
      embrm generate -o pools.jsonl --lm world -n 2 --max-new-tokens 160
    """
    from dataclasses import asdict

    from tqdm import tqdm

    from embrm.cli._asked import gold_or_world, prompts_or_world
    from embrm.policies.causal_lm import CausalLMPolicy
    from embrm.policies.pool_file import PoolShards, write_pool

    policy = CausalLMPolicy(model=lm, **sampling)
    more = {"device": policy.device, "precision": policy.precision}
    scores = gold_or_world(gold, gold_label, lm=lm, asked=file, more=more)
    ids, prompts = prompts_or_world(file, lm=lm, rules=rules)
    with tqdm(total=len(prompts), unit="prompt", disable=not is_watched()) as bar:
        shards = PoolShards(on_finished=bar.update)
        done = write_pool(policy, output, prompts=prompts, n=n, seed=seed, ids=ids, gold=scores, shards=shards)
    text = (
        f"{done.prompts} prompts × {n} responses → {output} "
        f"({done.empty} empty, {done.cut} cut at {policy.max_new_tokens} tokens, {done.resumed} prompts resumed)"
    )
    _render.emit({"output": output, **asdict(done)}, text, as_json=as_json)
