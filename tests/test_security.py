"""What SECURITY.md promises of files: they are read, never run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embrm import heads
from embrm.core.data import Pairs

ROOT = Path(__file__).resolve().parents[1]
UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "jsonpickle", "marshal", "shelve"}
CALLS = {"eval", "exec", "compile", "__import__"}  # the builtins, which are called by their bare names
LOADERS = {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.load", "joblib.load", "pandas.read_pickle"}
FLAGS = {"allow_pickle": False, "trust_remote_code": False, "weights_only": True}


def reads_plain_yaml(call: ast.Call) -> bool:
    """Say whether it is yaml.load with the loader of yaml.safe_load, in C or in Python."""
    loaders = [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "Loader"]
    return ast.unparse(call.func) == "yaml.load" and loaders in (["yaml.CSafeLoader"], ["yaml.SafeLoader"])


def unsafe(tree: ast.AST) -> Iterator[str]:
    """Yield what unpickles, or makes code of text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.partition(".")[0] in UNPICKLERS)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in CALLS | LOADERS and not reads_plain_yaml(node):
                yield f"calls {called}"
            for keyword in node.keywords:
                safe = FLAGS.get(keyword.arg or "")
                if safe is not None and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is safe):
                    yield f"passes {keyword.arg}={ast.unparse(keyword.value)}"


def test_no_module_unpickles_or_evaluates() -> None:
    files = sorted((ROOT / "embrm").rglob("*.py"))
    assert len(files) > 100
    assert [f"{file}: {what}" for file in files for what in unsafe(ast.parse(file.read_text("utf-8")))] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from pickle import loads", "imports pickle"),
        ("def f():\n    import os, dill.source", "imports dill.source"),
        ("yaml.load(text)", "calls yaml.load"),
        ("yaml.load(text, Loader=yaml.CLoader)", "calls yaml.load"),
        ("x = eval(text)", "calls eval"),
        ("np.load(path, allow_pickle=flag)", "passes allow_pickle=flag"),
        ("torch.load(path, weights_only=False)", "calls torch.load"),
        ("AutoModel.from_pretrained(name, trust_remote_code=True)", "passes trust_remote_code=True"),
    ],
)
def test_the_check_sees_what_is_unsafe(source: str, found: str) -> None:
    assert found in list(unsafe(ast.parse(source)))
    assert list(unsafe(ast.parse("yaml.safe_load(t)\nre.compile(t)\nnet.eval()\nnp.load(p, allow_pickle=False)"))) == []
    assert list(unsafe(ast.parse("yaml.load(text, Loader=yaml.CSafeLoader)"))) == []


LOADING = """
import pathlib, sys
import embrm

folders = sys.argv[1:]
for folder in folders:
    embrm.load_model(folder)  # what it needs is imported now

def refuse(event, arguments):
    if event in ("compile", "exec", "import", "os.system", "subprocess.Popen", "socket.connect") \\
            or event.startswith(("pickle.", "marshal.", "os.exec", "os.spawn", "os.fork")):
        raise SystemExit(f"loading a model did {event} {arguments}")

sys.addaudithook(refuse)
for folder in folders:
    model = embrm.load_model(folder)
    print(type(model).__name__, flush=True)
exec("1 + 1")
"""


def test_loading_a_model_runs_nothing_of_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = Pairs.from_arrays(rng.normal(size=(80, 3)), chosen=np.arange(40), rejected=np.arange(40, 80),
                              prompt=np.tile(np.arange(40), 2))  # fmt: skip
    folders = []
    for name, options in {"linear": {}, "boosting": {}, "inform": {"epochs": 1}, "ensemble": {"members": 2}}.items():
        folders.append(tmp_path / name)
        heads.get(name)(**options).fit(pairs, seed=0).save(folders[-1])
        for file in ("__init__.py", "sitecustomize.py", "modeling.py"):
            (folders[-1] / file).write_text("raise SystemExit('code of the model was run')")
    done = subprocess.run(
        [sys.executable, "-c", LOADING, *map(str, folders)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )
    assert done.stdout.split() == ["FittedLinear", "FittedBoosting", "FittedNet", "FittedEnsemble"], done.stderr
    assert re.search(r"loading a model did (compile|exec)", done.stderr)  # the hook was there


def test_tokens_are_compared_in_constant_time() -> None:
    """What stops at the first other byte, as == does, tells how many were right."""
    tree = ast.parse((ROOT / "embrm" / "serving" / "access.py").read_text("utf-8"))
    [function] = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "has_token"]
    compared = [ast.unparse(node) for node in ast.walk(function) if isinstance(node, ast.Compare)]
    assert [line for line in compared if "token" in line or "given" in line] == ["self.token is None"]
    assert ast.unparse(function.body[-1]) == "return hmac.compare_digest(given, self.token.encode())"


def test_every_promise_names_a_test_that_exists() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    promised, _, rest = text.partition("## What is promised")[2].partition("## What is not promised")
    rows = [line for line in promised.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 5
    assert rest
    for row in rows:
        named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            assert re.search(rf"^def {test}\(", (ROOT / file).read_text("utf-8"), flags=re.MULTILINE), (file, test)
