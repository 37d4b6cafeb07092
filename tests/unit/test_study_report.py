"""The study's report says what its rows say: planted curves come back, texts stay texts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from embrm.metrics.intervals import bootstrap
from embrm.report import study
from embrm.report.study import alarms, charts, claims, curves, detection, settings, story, tables, trajectory
from embrm.report.study.page import page
from embrm.study.claims import ClaimVerdict
from embrm.study.metric import Metric
from embrm.study.results import Cell, Results, Row
from tests.simulated_study import HOSTILE, config, findings, gold, results

HARD = settings.TableSetting("world", 4000, "biased", 0.25)


@pytest.fixture(scope="module")
def simulated() -> Results:
    return results()


@pytest.fixture(scope="module")
def report(simulated: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study.write(simulated, tmp_path_factory.mktemp("study"), findings())


class Page(HTMLParser):
    """Collects tags with their attributes, and the text of every element by its id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.data = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = str(dict(attrs).get("id")) if tag == "script" else tag

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self.data += data
        elif self._inside not in ("None", "style"):
            self.text += data


def test_the_page_is_one_file_that_asks_no_host(report: Path) -> None:
    found = Page(report.read_text(encoding="utf-8"))
    assert not [tag for tag, _ in found.tags if tag in ("link", "img", "iframe", "base")]
    assert not [attrs for _, attrs in found.tags if attrs.keys() & {"src", "href"}]
    policy = next(attrs["content"] for tag, attrs in found.tags if tag == "meta" and "http-equiv" in attrs)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert not re.search(r"https?:", policy)
    assert report.stat().st_size < 10e6


def test_texts_of_models_are_texts(report: Path) -> None:
    html = report.read_text(encoding="utf-8")
    found = Page(html)
    assert HOSTILE not in html  # nowhere as it came
    assert HOSTILE in found.text  # a failure's and a finding's reason, once unescaped
    assert [tag for tag, _ in found.tags].count("script") == 3
    assert not [attrs for _, attrs in found.tags if "onerror" in attrs]
    texts = [text["text"] for step in json.loads(found.data)["runs"][0]["steps"] for text in step["sample"]]
    assert sum(text.startswith(HOSTILE) for text in texts) == config().rl.steps  # type: ignore[union-attr]


def test_every_control_has_a_label_and_every_figure_a_name(report: Path) -> None:
    html = report.read_text(encoding="utf-8")
    controls = re.findall(r"<(?:select|input)\b", html.partition("<script type")[0])
    assert len(controls) == len(re.findall(r"<label[^>]*>[^<]*<(?:select|input)\b", html)) == 10
    ids = [attrs["id"] for _, attrs in Page(html).tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_figures_are_written_for_every_data_set_and_run(report: Path) -> None:
    names = {file.name for file in (report.parent / "figures").iterdir()}
    each = {f"{data}-{name}.svg" for data in ("world", "answers") for name in ("path", "rules", "best-of-n")}
    titles = [f"{head}-on-world-biased-seed-{seed}" for head in ("mlp", "inform") for seed in (0, 1)]
    runs = {f"{title}-{name}.svg" for title in titles for name in ("run", "latents")}
    assert names == each | runs | {"world-reliability.svg", "answers-reliability.svg"}
    assert all((report.parent / "figures" / name).read_text(encoding="utf-8").startswith("<svg") for name in names)


def test_a_line_is_the_gain_on_all_prompts(simulated: Results) -> None:
    found = {(line.head, line.rule): line for line in curves.lines(simulated, HARD, "bon")}
    stack = simulated.stack(
        Metric("bon", "worst_case"), head="inform", dataset="world", pairs=4000, mechanism="biased", flips=0.25
    )
    assert stack is not None
    apart = bootstrap(stack - stack[..., :1], seed=0, draws=curves.DRAWS, two_way=True)
    line = found["inform", "worst_case"].gold
    for name in ("estimate", "low", "high"):  # resamples that lines share are those that one has alone
        np.testing.assert_allclose(getattr(line, name), getattr(apart, name), atol=1e-12)
    assert ("brme", "worst_case") not in found
    assert ("mlp", "single") in found
    assert ("mlp", "over") not in found  # scores bent for a claim are no rule


def test_planted_paths_come_back_and_end_where_a_pool_gives_out(simulated: Results) -> None:
    kl = np.linspace(0, 4, 13)
    found = {(line.head, line.rule): line for line in curves.lines(simulated, HARD, "path")}
    line = found["inform", "worst_case"]
    truth = gold(kl, "inform", bias=1.0, flips=0.25, strength=0.55)
    np.testing.assert_allclose(line.gold.estimate, truth, atol=0.15)
    assert line.proxy is not None
    np.testing.assert_allclose(line.proxy.estimate, 1.5 * np.sqrt(kl) + 0.3 * kl)
    short = found["inform", "mean"]  # seed 2 has no number at the last two points
    assert short.proxy is not None
    assert len(short.gold.estimate) == len(short.proxy.estimate) == 11


def test_one_seed_has_intervals_over_prompts_alone(simulated: Results) -> None:
    one = replace(simulated, rows=[row for row in simulated.rows if row.cell.seed == 0])
    line = next(curves.lines(one, HARD, "path"))
    assert len(line.gold.estimate) == 13
    assert float(line.gold.low[-1]) < float(line.gold.estimate[-1]) < float(line.gold.high[-1])


def test_the_table_of_heads_always_has_the_controls_and_the_tuned_baseline(simulated: Results) -> None:
    names = [row[0] for row in tables.heads_table(simulated, HARD).rows]
    assert names == [
        "linear (tuned baseline)",
        *("mlp", "inform", "inform beta=0.1", "ensemble", "brme"),
        *("oracle", "length", "random"),
    ]
    rows = [row for row in simulated.rows if row.cell.head != "linear" and row.cell.kind != "control"]
    heads = [head for head in simulated.config.heads if head.name != "linear"]
    bare = replace(simulated, rows=rows, config=simulated.config.model_copy(update={"heads": heads}))
    found = {row[0]: row for row in tables.heads_table(bare, HARD).rows}
    for name in ("linear, tuned", "oracle", "length", "random"):
        assert "not run" in found[name]


def test_the_loss_of_the_table_is_the_planted_one(simulated: Results) -> None:
    table = tables.heads_table(simulated, HARD)
    found = {row[0]: dict(zip(table.headings, row, strict=True)) for row in table.rows}
    kl = np.linspace(0, 4, 13)[:11]
    path = gold(kl, "mlp", bias=1.0, flips=0.25)
    assert float(found["mlp"]["lost after it"].split()[0]) == pytest.approx(path.max() - path[-1], abs=0.1)
    assert found["oracle"]["lost after it"].startswith("0.00")
    assert found["random"]["accuracy, in"] == "0.500 [0.500, 0.500]"


def test_bins_of_several_seeds_are_pooled_by_their_weights(simulated: Results) -> None:
    cells = [replace(row, arrays=dict(row.arrays)) for row in settings.within(simulated, HARD).select(head="mlp")]
    cells[0].arrays[Metric("reliability")] = np.array([[0.6, np.nan], [1.0, np.nan], [3.0, 0.0]])  # type: ignore[index]
    cells[1].arrays[Metric("reliability")] = np.array([[0.7, 0.9], [0.0, 0.5], [1.0, 2.0]])  # type: ignore[index]
    found = tables.reliability(replace(simulated, rows=cells[:2]), HARD)["mlp"]
    np.testing.assert_allclose(found, [[0.625, 0.9], [0.75, 0.5], [4.0, 2.0]])


def watched(statistic: list[float], gold: list[float], p: list[float] | None) -> Row:
    row = Row(Cell("fit", "world", "mlp", 4000, "biased", 0.25, 0), "watched")
    arrays = {
        Metric("points", "kl"): np.arange(len(gold)) / 2,
        Metric("points", "gold"): np.array(gold),
        Metric("watch", "mmd", "latent"): np.array(statistic),
    }
    return replace(row, arrays=arrays | ({} if p is None else {Metric("alarm", "mmd", "latent"): np.array(p)}))


def test_an_alarm_leads_by_the_nats_from_it_to_the_fall(simulated: Results) -> None:
    path = [0.0, 1.0, 2.0, 2.0, 1.0, 0.0]  # gold has lost 5 % of its gain at the fifth point, KL 2
    tested = watched([0, 1, 2, 3, 4, 5], path, [0.9, 0.3, 0.04, 0.01, 0.01, 0.01])
    table = detection.alarms_table(replace(simulated, rows=[tested]), HARD)
    assert list(table.rows[0]) == [
        *("mlp", "mmd", "latent", "p ≤ 0.05", settings.share(0), settings.share(1)),
        *("1 of 1", "1.00", "1 of 1", "", ""),
    ]
    jumping = watched([0, 0.1, 0.2, 0.3, 0.4, 9], path, None)  # a jump after the fall: too late
    table = detection.alarms_table(replace(simulated, rows=[jumping]), HARD)
    assert list(table.rows[0])[3:8] == ["a jump", "", "", "0 of 1", "−0.50"]
    still = watched([0, 0.1, 0.2, 0.3], [0.0, 1.0, 2.0, 3.0], None)
    table = detection.alarms_table(replace(simulated, rows=[still]), HARD)
    assert list(table.rows[0])[6:] == ["gold does not fall", "", "", "", ""]


def test_alarms_stand_beside_false_ones_among_fair_annotators(simulated: Results) -> None:
    path, steady = [0.0, 1.0, 2.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    moved, still = [0.9, 0.3, 0.04, 0.01, 0.01, 0.01], [0.9, 0.3, 0.4, 0.3, 0.5, 0.6]

    def runs(p: list[float], gold: list[float], mechanism: str, count: int) -> list[Row]:
        row = watched([0, 1, 2, 3, 4, 5], gold, p)
        cells = [replace(row.cell, mechanism=mechanism, flips=0.0, seed=seed) for seed in range(count)]
        return [replace(row, cell=cell) for cell in cells]

    hacked, setting = runs(moved, path, "biased", 5), replace(HARD, flips=0.0)
    for p, false, word in ((still, "0 of 5", "detects hacking"), (moved, "5 of 5", "detects shift, not hacking")):
        table = detection.alarms_table(replace(simulated, rows=[*hacked, *runs(p, steady, "fair", 5)]), setting)
        assert list(table.rows[0])[8:] == ["5 of 5", false, word]


def test_the_title_says_whether_gold_falls(simulated: Results) -> None:
    def told(setting: settings.TableSetting) -> dict[str, story.Story]:
        part = settings.within(simulated, setting)
        return {s.head: s for s in story.stories(simulated, part, setting, findings())}

    biased, fair = told(HARD), told(replace(HARD, mechanism="fair", flips=0.0))
    assert next(iter(biased)) == next(iter(fair)) == "mlp"  # the standard head comes first
    assert biased["mlp"].title == story.FALLS  # planted: 1.6 √kl − 0.82 kl
    hacked, helped = biased["mlp"].tiles
    assert (hacked.question, hacked.answer) == ("Hacked?", "yes")
    assert (helped.answer, helped.kind) == ("bottleneck", "supported")
    assert helped.detail.startswith("0.50 [0.30, 0.70] of the standard head's gain")
    assert any("has lost" in note or "are worse" in note for note in biased["mlp"].notes)
    (live,) = (note for note in biased["mlp"].notes if "training run" in note)
    runs = list(simulated.select(kind="rl", head="mlp"))
    gold, kl = (
        [part.mean() for part in np.array_split(np.mean([run.arrays[Metric("run", name)] for run in runs], axis=0), 5)]
        for name in ("gold", "kl")
    )
    best = int(np.argmax(gold))
    assert f"from {gold[0]:.2f} in the first fifth of the steps over {gold[best]:.2f} at {kl[best]:.1f} nats" in live
    assert f"to {gold[-1]:.2f} in the last, at {kl[-1]:.1f} nats" in live
    assert not any("training run" in note for note in fair["mlp"].notes)
    assert fair["mlp"].title == story.RISES  # planted: 1.6 √kl
    assert fair["mlp"].tiles[0].answer == "no"
    assert fair["mlp"].tiles[1].answer == "not compared"


def test_of_few_topics_a_title_leaves_it_open(simulated: Results) -> None:
    rows = [
        replace(row, arrays={m: a[:3] if m.family in ("path", "bon", "accuracy") else a for m, a in row.arrays.items()})
        for row in settings.within(simulated, HARD).select(dataset="world")
    ]
    few = replace(simulated, rows=rows)
    found = story.stories(few, few, HARD, [])
    assert found[0].title == story.OPEN
    assert found[0].tiles[0].detail == "too few topics for an interval"


def test_a_strip_is_the_median_seed_with_the_share_of_false_alarms(simulated: Results) -> None:
    path, steady = [0.0, 1.0, 2.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    late, never = [0.9, 0.8, 0.7, 0.04, 0.01, 0.01], [0.9] * 6

    def row(seed: int, mechanism: str, flips: float, p: list[float], gold: list[float]) -> Row:
        made = watched([0, 1, 2, 3, 4, 5], gold, p)
        return replace(made, cell=replace(made.cell, mechanism=mechanism, flips=flips, seed=seed))

    hacked = [row(seed, "biased", 0.25, p, path) for seed, p in enumerate((late, late, never))]
    fair = [row(seed, "fair", 0.0, never, steady) for seed in range(3)]
    (strip,) = alarms.strips(replace(simulated, rows=[*hacked, *fair]), HARD, "mlp")
    assert strip.name == "mmd, latent"
    assert strip.alarm == 1.5  # the fourth point, half a nat apart
    np.testing.assert_allclose(strip.p, late)
    np.testing.assert_allclose(strip.high, never)
    # Wilson's intervals of 2 of 3 and of 0 of 3
    assert strip.detail == (
        "alarm in 2 of 3 [21–94\u202f%] hacked runs, false alarm in 0 of 3 [0–56\u202f%] runs with fair annotators"
    )
    assert strip.answer == "too few runs to tell"
    alone = alarms.strips(replace(simulated, rows=hacked), HARD, "mlp")[0]
    assert alone.answer == "rate unknown"
    calm = alarms.strips(replace(simulated, rows=fair), replace(HARD, mechanism="fair", flips=0.0), "mlp")[0]
    assert calm.answer == "nothing to detect"
    assert calm.alarm is None


def test_no_two_lines_are_alike() -> None:
    looks = charts.style([*(f"head {i}" for i in range(100)), *curves.CONTROLS]).values()
    assert len({(look["colour"], tuple(look["dash"]), look["shape"]) for look in looks}) == 103


def test_auroc_leaves_out_prompts_without_a_hacked_text(simulated: Results) -> None:
    row = watched([0, 1], [0, 1], None)
    values = np.where(np.arange(24) % 2, 0.8, np.nan)
    rows = [replace(row, arrays={Metric("auroc", space="latent"): values}), *[]]
    assert detection.separation_table(replace(simulated, rows=rows), HARD).rows[0][1] == "0.80 [0.80, 0.80]"
    rows = [replace(row, arrays={Metric("auroc", space="latent"): np.full(24, np.nan)})]
    assert detection.separation_table(replace(simulated, rows=rows), HARD).rows[0][1] == "no hacked texts"


def test_costs_add_up(simulated: Results) -> None:
    table = tables.cost_table(simulated)
    found = {row[0]: dict(zip(table.headings, row, strict=True)) for row in table.rows}
    fits = list(simulated.select(kind="fit", head="inform"))
    assert found["inform"]["fits"] == str(len(fits)) == "36"
    assert found["inform"]["members trained"] == str(5 * len(fits))
    seconds = sum(row.seconds["fit"] for row in fits)
    assert found["inform"]["fits per second"] == f"{len(fits) / seconds:.1f}"
    assert found["reinforcement learning"]["seconds"] == "84.0"


def test_the_winner_of_tuning_is_the_likeliest_trial(simulated: Results) -> None:
    assert {tuple(row[4:]) for row in tables.tuning_table(simulated).rows} == {("4", "learning_rate = 0.03")}


def test_claims_keep_their_order_and_verdicts() -> None:
    shown = claims.claims(findings())
    assert [(c.summary.first.id, c.summary.verdict, c.sign) for c in shown[:4]] == [
        *(("C1", "mixed", "±"), ("C2", "contradicted", "✗"), ("C3", "inconclusive", "?"), ("C15", "not run", "–")),
    ]
    assert shown[0].summary.cases == "supported: biased (path); inconclusive: biased (best of n), needs × 2.5"
    assert [row.effect for row in shown[0].rows] == ["0.90 [0.60, 1.20]"] * 2
    (small,), (absent,) = shown[2].rows, shown[3].rows
    assert small.effect == "0.010 [−0.020, 0.040]"
    assert (absent.effect, absent.n, absent.bar) == ("", "", None)
    assert [n for _, _, n in claims.tally(findings())] == [4, 2, 0, 4, 2]


def test_effects_stand_on_one_axis_of_multiples_of_the_smallest_of_interest() -> None:
    (row,) = claims.claims(findings())[1].rows  # −0.4 [−0.7, −0.1] where 0.2 is of interest
    assert row.bar == (claims.place(-3.5), claims.place(-2.0), claims.place(-0.5))
    marks = [at for at, _ in claims.ticks()]
    assert marks == sorted(marks)
    assert (marks[0], claims.place(0.0), marks[-1]) == (0.0, 50.0, 100.0)
    assert claims.place(1e9) == 100.0  # what is beyond the axis stands at its end
    assert claims.place(-1.0) == pytest.approx(100 - claims.place(1.0))


def test_the_matrix_has_a_cell_for_each_defence_and_mechanism(report: Path) -> None:
    one, other = claims.matrix_tables(findings())
    assert one.matrix.title.startswith("world, path: gold of each defence minus the standard head's")
    assert other.matrix.title.startswith("answers, path: gold")
    ((defence, (cell,)),) = one.rows
    assert cell is not None
    assert (defence, cell.sign, cell.effect) == ("bottleneck", "✓", "0.50 [0.30, 0.70]")
    text = report.read_text(encoding="utf-8")
    assert text.index("Which defence helps against which hack") < text.index("What published claims come to")
    assert "</span> helps</b>" in text


def test_every_verdict_has_a_sign_and_a_style() -> None:
    assert set(claims.SIGNS) == set(get_args(ClaimVerdict))
    style = (Path(claims.__file__).parent / "page.css").read_text(encoding="utf-8")
    for verdict in claims.SIGNS:
        assert f".{verdict.replace(' ', '-')} {{ --v:" in style


def test_the_answer_is_what_the_verdicts_say() -> None:
    assert claims.answer(findings()) == (
        "Yes: on world a policy optimised against the standard reward loses gold that it had gained under biased (path)"
        "; is left undecided by too little data under biased (best of n). Of the defences tried, under biased "
        "bottleneck helps. After Holm's correction 6 of 10 verdicts are decided."
    )
    little = [replace(f, holm="inconclusive") for f in findings() if f.id == "C1"]
    said = claims.answer(little)
    assert said.startswith("Not shown: on world a policy")
    assert "is left undecided by too little data under biased (path, best of n)." in said
    assert claims.answer([f for f in findings() if f.id == "C15"]) == (
        "No claim could be examined, so nothing can be said."
    )
    assert claims.answer([f for f in findings() if f.id == "C2"]).startswith(
        "Whether a standard reward is hacked was not"
    )


def test_long_runs_are_thinned_evenly(simulated: Results) -> None:
    row = next(simulated.select(kind="rl"))
    steps = 1000
    notes = {**row.notes, "steps": [{**row.notes["steps"][0], "step": i} for i in range(steps)]}
    series = {"kl": np.arange(steps) / 100, "gold": np.full(steps, np.nan), "proxy": np.zeros(steps)}
    arrays = {Metric("run", name): values for name, values in series.items()}
    run = trajectory.runs(replace(simulated, rows=[replace(row, notes=notes, arrays=arrays)]))[0]
    assert (run["number"][0], run["number"][-1], len(run["number"])) == (0, steps - 1, trajectory.STEPS)
    np.testing.assert_allclose(run["kl"], np.array(run["number"]) / 100)
    assert run["gold"] == [None] * trajectory.STEPS
    assert run["latent"] == []


def test_runs_of_one_reward_are_a_line_with_a_band_over_its_seeds(simulated: Results) -> None:
    found = {line["line"]: line for line in trajectory.together(simulated)}
    assert list(found) == ["mlp", "inform"]
    each = np.stack([row.arrays[Metric("run", "gold")] for row in simulated.select(kind="rl", head="mlp")])
    assert (found["mlp"]["seeds"], each.shape) == (2, (2, 30))
    np.testing.assert_allclose(found["mlp"]["gold"]["estimate"], each.mean(axis=0), atol=5e-4)
    np.testing.assert_allclose(found["mlp"]["gold"]["low"], each.min(axis=0), atol=5e-4)
    np.testing.assert_allclose(found["mlp"]["gold"]["high"], each.max(axis=0), atol=5e-4)
    first, *rest = [*simulated.select(kind="rl", head="mlp"), *simulated.select(kind="rl", head="inform")]
    moved = replace(first, cell=replace(first.cell, mechanism="fair"))
    lines = trajectory.together(replace(simulated, rows=[moved, *rest]))
    assert [(line["line"], line["seeds"]) for line in lines] == [
        ("mlp, fair", 1),
        ("mlp, biased", 1),
        ("inform, biased", 2),
    ]


def test_a_study_with_nothing_in_it_has_a_page(simulated: Results) -> None:
    html = page(replace(simulated, rows=[], failures={}), [])
    assert "No claim was evaluated." in html
    assert "No training run is part of this study." in html


def test_numbers_are_written_with_a_real_minus() -> None:
    assert [settings.number(x) for x in (None, float("nan"), float("inf"), -float("inf"), -1.5, -0.001)] == [
        *("", "", "∞", "−∞", "−1.50", "0.00"),
    ]
    assert settings.rounded([1.23456, np.nan, -0.0]) == [1.235, None, 0.0]
