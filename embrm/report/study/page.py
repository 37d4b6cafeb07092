"""The page: one HTML file with everything inside, that asks no host for anything."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from embrm.core.progress import tracked
from embrm.core.visible import replaced
from embrm.report.study import charts, claims, detection, tables, trajectory
from embrm.report.study.alarms import ALPHA
from embrm.report.study.curves import CONTROLS, MEASURES, Measure, controls, lines
from embrm.report.study.settings import TableSetting, count, hardest, number, rounded, settings, within
from embrm.report.study.story import Story, stories
from embrm.report.titles import drawable
from embrm.study.claims import Finding, helps
from embrm.study.results import Results, key_of

HERE = Path(__file__).parent
SCRIPTS = ("common.js", "lines.js", "hero.js", "run.js", "url.js", "page.js")  # one scope
_TABLES = {
    "heads": tables.heads_table,
    "calibration": tables.calibration_table,
    "separation": detection.separation_table,
}


def page(results: Results, findings: Sequence[Finding]) -> str:
    """Return the report as HTML; texts of models and of the configuration are escaped, wherever they stand."""
    import jinja2
    import vl_convert
    from markupsafe import Markup

    # Of what it escapes, all is text; what is marked as safe are this package's own files and JSON without a "<".
    places = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: replaced(value) if type(value) is str else value,
    )
    found = {setting: within(results, setting) for setting in settings(results)}
    told = [
        stories(results, part, setting, findings) for setting, part in tracked(found.items(), "settings of the report")
    ]
    made = data(results, found, told)
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script")
    own = "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    scripts = [bundle, f'"use strict"; {{\n{own}}}']
    return places.get_template("page.html").render(
        first=next(iter(told[made["start"]]), None) if told else None,
        answer=claims.answer(findings),
        matrices=claims.matrix_tables(findings),
        claims=claims.claims(findings),
        ticks=claims.ticks(),
        helps=helps,
        tally=claims.tally(findings),
        settings=list(found),
        tables={name: [make(part, s) for s, part in found.items()] for name, make in _TABLES.items()}
        | {"alarms": [detection.alarms_table(results, setting) for setting in found]},
        cost=tables.cost_table(results),
        tuning=tables.tuning_table(results),
        runs=trajectory.titles(results),
        study=results,
        facts=facts(results),
        datasets=[(data.name, data.model_dump(exclude_defaults=True)) for data in results.config.datasets],
        config=results.config.model_dump_json(indent=2, exclude_defaults=True),
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        hashes=Markup(" ".join(map(_policy, scripts))),
        data=Markup(_json(made)),
    )


def data(results: Results, found: Mapping[TableSetting, Results], told: Sequence[Sequence[Story]]) -> dict[str, Any]:
    """Return what the page's charts are drawn from."""
    asked = results.config
    names = sorted({data.name for data in asked.datasets} & {s.dataset for s in found})
    every: dict[str, Any] = {
        m: [line for i, (s, part) in enumerate(found.items()) for line in _lines(part, i, s, m)]
        for m in tracked(MEASURES, "kinds of curves")
    }
    rules = list(dict.fromkeys(line["rule"] for line in every["path"] + every["bon"]))
    order = list(found)
    together = trajectory.together(results)
    start = order.index(hardest(order, order[0].dataset)) if found else None
    return {
        "settings": [[s.dataset, s.pairs, s.mechanism, s.flips] for s in found],
        "start": start,
        "mechanisms": list(dict.fromkeys([*asked.mechanisms, *(s.mechanism for s in found)])),
        "stories": [[story.json() for story in here] for here in told],
        "alpha": ALPHA,
        "kl": rounded([asked.kl_end * i / (asked.kl_points - 1) for i in range(asked.kl_points)]),
        "sizes": {name: results.sizes(name) for name in names},
        **every,
        "controls": {
            name: {m: [line.json() for line in controls(results, name, m)] for m in MEASURES} for name in names
        },
        "reliability": [point for i, (s, part) in enumerate(found.items()) for point in _reliability(part, i, s)],
        "styles": {
            "head": charts.style([*asked.titles, *CONTROLS]),
            "rule": charts.style([*rules, *CONTROLS]),
            "runs": charts.style([line["line"] for line in together]),
        },
        "runs": trajectory.runs(results),
        "together": together,
        "charts": charts.specifications(),
    }


def _lines(results: Results, index: int, setting: TableSetting, measure: Measure) -> Iterator[dict[str, Any]]:
    return ({"at": index, **line.json()} for line in lines(results, setting, measure))


def _reliability(results: Results, index: int, setting: TableSetting) -> list[dict[str, Any]]:
    points = []
    for head, (confidence, accuracy, weight) in tables.reliability(results, setting).items():
        shown = weight > 0
        columns = {"x": confidence[shown], "y": accuracy[shown], "weight": weight[shown] / weight.sum()}
        points.append({"at": index, "head": head, **{name: rounded(v) for name, v in columns.items()}})
    return points


def facts(results: Results) -> list[tuple[str, str]]:
    """Return what a reader needs to judge or to repeat the study: sizes, versions, hashes."""
    fits = list(results.select(kind="fit"))
    known = [
        ("fitted heads", count(len(fits))),
        ("seeds", ", ".join(map(str, results.config.seeds))),
        ("cells that failed", count(len(results.failures))),
        ("hash of the configuration", key_of(results.config.model_dump(mode="json"))),
        ("hash of all rows", results.digest),
    ]
    return known + [(name.replace("_", " "), _written(value)) for name, value in results.environment.items()]


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_written(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_written, value))
    return number(value, 1) if isinstance(value, float) else str(value)


def _policy(script: str) -> str:
    """Return what lets a content security policy run exactly this script."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def _json(values: Any) -> str:
    """Return JSON that can stand inside a script element: nothing in it can end one."""
    return json.dumps(drawable(values), ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
