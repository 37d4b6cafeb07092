"""The shapes that the prose of the gradient heads names hold in real fits: `(R, n, k)` is checked at every call."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

from embrm import heads
from embrm.core.data import Features, Pairs, Problem
from embrm.heads import GradientHead
from embrm.heads.gradient.early_stopping import validation_loss
from embrm.heads.gradient.latent import GaussianLatent, Latent
from embrm.heads.gradient.layers import affine
from embrm.heads.gradient.network import Network
from embrm.heads.gradient.replicates import as_batch
from embrm.heads.mlp import Mlp

ROWS = Float[Tensor, "R n d"] | Float[Tensor, "n d"]  # shared rows have no replicate axis
FUNCTIONS: dict[Callable[..., Any], dict[str, Any]] = {
    affine: {"x": ROWS, "return": Float[Tensor, "R n b"]},
    as_batch: {"numbers": Float[Tensor, "c R B"] | Float[Tensor, "c B"], "flip": Float[Tensor, "#R 1"]},
    validation_loss: {"return": Float[Tensor, " R"]},
}
LATENTS: dict[str, dict[str, Any]] = {
    "sample": {"noise": Float[Tensor, "R _ _"], "return": Float[Tensor, "R n k"]},  # a latent knows what noise it reads
    "kl": {"return": Float[Tensor, "R n k"]},
    "draw": {"noise": Float[Tensor, "R _ _"]},
}
GAUSSIAN = {"sample": {"noise": Float[Tensor, "R n k"], "return": Float[Tensor, "R n k"]}}
HEADS: dict[str, dict[str, Any]] = {
    "encode": {"x": ROWS},
    "decode": {"z": Float[Tensor, "R n k"], "return": Float[Tensor, "R n"]},
    "preference": {
        "z": Float[Tensor, "R n k"],
        "reward": Float[Tensor, "R n"],
        "return": Float[Tensor, "R n//2"],  # a pair is two texts
    },
    "objective": {"z": Float[Tensor, "R n k"], "return": Float[Tensor, " R"]},
    "extra_loss": {"z": Float[Tensor, "R n k"], "return": Float[Tensor, " R"] | None},
}


def checked(function: Callable[..., Any], shapes: dict[str, Any], calls: list[str]) -> Callable[..., Any]:
    """Return the function with its shapes checked, dimensions of one name being equal in a call."""

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(function.__name__)
        return function(*args, **kwargs)

    functools.update_wrapper(call, function, assigned=("__name__", "__qualname__", "__module__", "__doc__"))
    del call.__wrapped__  # type: ignore[attr-defined]
    signature = inspect.signature(function)
    assert set(shapes) - {"return"} <= set(signature.parameters), function
    parameters = [p.replace(annotation=shapes.get(p.name, Any)) for p in signature.parameters.values()]
    call.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=parameters, return_annotation=shapes.get("return", Any)
    )
    call.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": shapes.get("return", Any)}
    return jaxtyped(call, typechecker=beartype)


def family(base: type[Any]) -> Iterator[type[Any]]:
    yield base
    for cls in base.__subclasses__():
        yield from family(cls)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Check shapes everywhere in the package, and list the functions that were called."""
    seen: list[str] = []
    for name in heads.names():
        heads.get(name)
    for function, shapes in FUNCTIONS.items():
        wrapped = checked(function, shapes, seen)
        for module in [m for name, m in sys.modules.items() if name.startswith("embrm.heads")]:
            if getattr(module, function.__name__, None) is function:
                monkeypatch.setattr(module, function.__name__, wrapped)
    for base, told in ((Latent, LATENTS), (Network, HEADS)):
        for cls in family(base):
            methods = told | GAUSSIAN if cls is GaussianLatent else told
            for method in set(methods) & set(vars(cls)):
                monkeypatch.setattr(cls, method, checked(vars(cls)[method], methods[method], seen))
    return seen


def pairs(n: int = 60, width: int = 7) -> Pairs:
    rng = np.random.default_rng(0)
    x, rows = rng.normal(size=(2 * n, width)), np.arange(n)
    first = x[:n, 0] > x[n:, 0]
    features = Features({"joint": x}, np.tile(rows // 2, 2), length=rng.integers(1, 99, size=2 * n).astype(float))
    return Pairs(features, chosen=rows + n * ~first, rejected=rows + n * first)


TRAINED = [name for name in heads.names() if issubclass(heads.get(name), GradientHead)]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TRAINED)
def test_every_call_of_a_fit_has_the_shapes_that_are_told(name: str, calls: list[str]) -> None:
    recipe = heads.get(name)(members=3, epochs=2, patience=2, batch_size=16)
    for model in recipe.fit_many([Problem(pairs(), seed=seed) for seed in (0, 1)]):  # six replicates
        assert model.score(np.zeros((5, 7))).draws.shape[1] == 5
    assert {"affine", "as_batch", "objective", "validation_loss", "encode", "decode", "preference"} <= set(calls)


@dataclass(frozen=True, kw_only=True)
class Column(Mlp):
    """Returns rewards as a column, which would be broadcast."""

    def decode(self, params: Any, z: Tensor) -> Tensor:
        return super().decode(params, z)[..., None]


@dataclass(frozen=True, kw_only=True)
class Both(Mlp):
    """Prices texts, where pairs are to be priced."""

    def preference(self, params: Any, z: Tensor, reward: Tensor, batch: Any) -> Tensor:
        return reward


@pytest.mark.parametrize("head", [Column, Both])
def test_a_wrong_shape_is_found(head: type[Mlp], calls: list[str]) -> None:
    with pytest.raises(TypeCheckError, match="Actual value: f32"):
        head(members=3, epochs=1).fit(pairs(), seed=0)


@pytest.mark.usefixtures("calls")
def test_noise_of_another_shape_is_found() -> None:
    latent = GaussianLatent(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4))
    assert latent.sample(torch.zeros(2, 3, 4)).shape == (2, 3, 4)
    with pytest.raises(TypeCheckError, match="noise"):
        latent.sample(torch.zeros(3, 4))  # would be broadcast
