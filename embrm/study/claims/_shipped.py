"""The ids of this package's own claims, read from their source, so that listing them imports nothing."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MODULES = (
    "bottleneck",
    "detection",
    "ensembles",
    "frontier",
    "hacking",
    "matrix",
    "people",
    "robustness",
    "steps",
    "stress",
    "training",
    "without_labels",
)
PACKAGE = __name__.rpartition(".")[0]


@dataclass(frozen=True)
class ShippedClaim:
    """A claim of this package: the module that enters it, and its sentence."""

    module: str
    text: str


@cache
def shipped() -> dict[str, ShippedClaim]:
    """Return this package's claims by their ids, in the order of their numbers."""
    found = {}
    for module in MODULES:
        source = (Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8")
        for node in ast.parse(source).body:
            for call in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "claim":
                    name, text = (ast.literal_eval(argument) for argument in call.args)
                    found[name] = ShippedClaim(f"{PACKAGE}.{module}", text)
    return {name: found[name] for name in sorted(found, key=lambda name: int(name[1:]))}
