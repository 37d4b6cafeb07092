"""The law of texts: a saved model embeds and scores texts as the fitted one, or says clearly why it cannot.

For every head and every way of fitting it: from a text file by the command, from vectors made elsewhere by the command,
from a text file in Python, and from arrays in Python. One new process loads and asks all of them.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import Features, Pairs, heads, load_model, read_pairs
from embrm.cli import run
from embrm.core.settings import write_settings
from embrm.data import embedder_of
from embrm.data.read import as_candidates
from embrm.data.texts import read_texts
from embrm.embedders import get
from embrm.errors import OptionError
from embrm.heads import FittedHead

HASHING = get("hashing")(dimension=16)
FEW = {"epochs": 1}
SMALL: dict[str, dict[str, Any]] = {
    "boosting": {"iterations": 3},
    "brme": {
        "members": 2,
        "trunk": {"name": "mlp", "options": FEW},
        "stage2": {"name": "gaussian_nll", "options": {"refits": 8}},
    },
    "ebrm": {"steps": 3, "base": {"name": "mlp", "options": FEW}},
    "ensemble": {"members": 2, "base": {"name": "mlp", "options": FEW}},
    "hmc": {"draws": 60, "warmup": 20, "chains": 2, "components": 1, "prior_precision": 1000.0},
    "laplace": {"draws": 4, "base": {"name": "mlp", "options": FEW}},  # on a latent: a head with a child
    "linear": {"prior_precision": 1.0},
    "warm": {"members": 2, "epochs": 1, "base": {"name": "mlp", "options": FEW}},
}
WAYS = ("file", "features", "python", "arrays")
ASK = """
import json, sys
from pathlib import Path
from embrm import load_model
from embrm.data.texts import read_texts
from embrm.errors import OptionError
from embrm.evaluation.scorer import Scorer
from embrm.integrations.openrlhf import make_reward_func
from embrm.integrations.trl import RewardFunction

texts, out = read_texts("texts.jsonl"), {}
said = [f"{prompt} {response}" for prompt, response in zip(texts.prompts, texts.responses)]
asked = {
    "scorer": lambda folder: Scorer.open(folder).reward(texts).mean.tolist(),
    "trl": lambda folder: RewardFunction(folder)(texts.prompts, texts.responses),
    "openrlhf": lambda folder: make_reward_func(folder)(said, texts.prompts)["rewards"].tolist(),
}
for folder in sorted(map(str, Path("models").iterdir())):
    for name, ask in asked.items():
        try:
            out[f"{folder} {name}"] = ask(folder)
        except OptionError as error:
            out[f"{folder} {name}"] = str(error)
print(json.dumps(out))
"""


def options(name: str) -> dict[str, Any]:
    """Return the options that make a head quick."""
    return SMALL.get(name) or (FEW if "epochs" in heads.Head.of(name).options() else {})


def fitted(name: str, pairs: Pairs) -> dict[str, FittedHead]:
    """Fit and save a head in all four ways, and return the models that Python has."""
    typed = [word for setting in write_settings(options(name)) for word in ("--set", setting)]
    fit = ["fit", "prefs.jsonl", "--head", name, *typed, "--holdout", "0"]
    assert run([*fit, "--embedder", "hashing", "--embedder-set", "dimension=16", "-o", f"models/{name}.file"]) == 0
    assert run([*fit, "--features", "vectors.npy", "-o", f"models/{name}.features"]) == 0
    x = pairs.features
    bare = Features(x.views, prompt=x.prompt, length=x.length)
    made = {"python": pairs, "arrays": Pairs(bare, pairs.chosen, pairs.rejected)}
    models = {
        way: heads.Head.of({"name": name, "options": options(name)}).fit(data, seed=0) for way, data in made.items()
    }
    for way, model in models.items():
        model.save(f"models/{name}.{way}")
    return models


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, FittedHead]]:
    folder = tmp_path_factory.mktemp("texts")
    rng = random.Random(0)
    words = ["good", "bad", "clear", "vague", "step", "never"]
    said = [(f"good {i} {rng.choice(words)}", f"bad {i} {rng.choice(words)} x") for i in range(24)]
    judged = "ab" * len(said)  # by two annotators, for the head that asks who
    rows = [
        {"prompt": f"How {i // 2}?", "chosen": a, "rejected": b, "annotator": who}
        for i, ((a, b), who) in enumerate(zip(said, judged, strict=False))
    ]
    texts = [{"prompt": f"Why {i}?", "response": f"{rng.choice(words)} {i}"} for i in range(5)]
    for name, lines in (("prefs", rows), ("texts", texts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    models: dict[str, FittedHead] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("models").mkdir()
        read = read_texts("prefs.jsonl")
        joint = [f"{prompt}\n\n{said}" for prompt, said in zip(read.prompts, read.responses, strict=True)]
        np.save("vectors.npy", HASHING.embed(joint).vectors)
        pairs = read_pairs("prefs.jsonl", embedder=HASHING)
        for name in heads.names():
            models |= {f"{name}.{way}": model for way, model in fitted(name, pairs).items()}
    done = subprocess.run([sys.executable, "-c", ASK], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1]), models


@pytest.mark.parametrize("name", heads.names())
def test_a_saved_model_scores_texts_as_the_fitted_one_does(name: str, answers: Any) -> None:
    folder, answered, models = answers
    vectors = as_candidates(read_texts(folder / "texts.jsonl"), embedder=HASHING).features
    here = {"python": models[f"{name}.python"], "file": load_model(folder / "models" / f"{name}.file")}
    for way, model in here.items():
        expected = model.score(vectors).centred().mean
        assert np.ptp(expected) > 0
        for door in ("scorer", "trl", "openrlhf"):
            found = answered[f"models/{name}.{way} {door}"]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
        assert embedder_of(model) == HASHING


@pytest.mark.parametrize("name", heads.names())
def test_a_model_of_vectors_made_elsewhere_refuses_texts(name: str, answers: Any) -> None:
    _, answered, models = answers
    with pytest.raises(OptionError, match="give such vectors with --features, or name their embedder") as refused:
        embedder_of(models[f"{name}.arrays"])
    for way in ("features", "arrays"):
        for door in ("scorer", "trl", "openrlhf"):
            assert answered[f"models/{name}.{way} {door}"] == str(refused.value)


def test_every_way_was_asked(answers: Any) -> None:
    assert len(answers[1]) == len(heads.names()) * len(WAYS) * 3
