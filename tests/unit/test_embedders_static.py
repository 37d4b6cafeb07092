"""The static embedder, against the means of the rows of its table."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from embrm import cli, embedders
from embrm.embedders import static
from embrm.errors import MissingExtraError, OptionError

TEXTS = [
    "The cat sat on the mat.",
    "  two  spaces,\n\n    an indented line\tand a tab ",
    "Naïve café, 東京, Привет, 🙂",
    "▁ a mark that stands for spaces ▁▁ inside",
    "<s> marks </s> of the tokenizer <unk>",
    "word " * 3000,
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def files() -> dict[str, Path]:
    found = static.packaged_files()
    assert found is not None
    return found


def test_vectors_are_the_means_of_the_tokens_rows(files: dict[str, Path]) -> None:
    table = load_file(files[static.WEIGHTS])["embedding.weight"].astype(np.float64)
    plain = Tokenizer.from_file(str(files[static.TOKENIZER]))
    means = np.stack([table[plain.encode(text, add_special_tokens=False).ids].mean(axis=0) for text in TEXTS])
    done = embedders.get("static")().embed(TEXTS)
    np.testing.assert_allclose(done.vectors, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-5)
    assert done.truncated == 0


def test_dividing_at_spaces_changes_no_token(files: dict[str, Path]) -> None:
    plain, quick = Tokenizer.from_file(str(files[static.TOKENIZER])), static.tokenizer(files[static.TOKENIZER])
    assert not [token for token in plain.get_vocab() if re.search("[^▁]▁", token)]
    sources = [path.read_text(encoding="utf-8") for path in sorted(Path(static.__file__).parent.glob("*.py"))]
    for text in TEXTS + sources:
        assert quick.encode(text, add_special_tokens=False).ids == plain.encode(text, add_special_tokens=False).ids


def test_an_empty_text_is_the_zero_vector() -> None:
    np.testing.assert_array_equal(embedders.get("static")().embed([""]).vectors, np.zeros((1, 256)))


def test_like_texts_are_near() -> None:
    cat, kitten, bond = embedders.get("static")().embed(["a cat", "a kitten", "fiscal policy"]).vectors
    assert cat @ kitten > 0.5 > cat @ bond


def test_a_full_hit_loads_no_model() -> None:
    embedders.get("static")().embed(TEXTS)
    code = f"""
import sys
from embrm import embedders
print(embedders.get("static")().embed({TEXTS!r}).computed)
print({{"torch", "sentence_transformers", "tokenizers", "wordllama"}} & set(sys.modules) or "")
"""
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]


def test_the_package_is_read_and_never_run() -> None:
    embedders.get("static")().embed(["x"])
    assert "wordllama" not in sys.modules


@pytest.fixture
def other_package(files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    copies = {name: tmp_path / name for name in files}
    for name, path in files.items():
        copies[name].parent.mkdir()
        shutil.copy(path, copies[name])
    monkeypatch.setattr(static, "packaged_files", lambda: copies)
    static._loaded.cache_clear()
    return copies


@pytest.mark.parametrize("name", [static.WEIGHTS, static.TOKENIZER])
def test_only_the_known_files_are_loaded(name: str, other_package: dict[str, Path]) -> None:
    content = bytearray(other_package[name].read_bytes())
    content[-1] ^= 1
    other_package[name].write_bytes(content)
    message = r"is not the file that embedder 'static' knows .*pip install --force-reinstall 'embrm\[static\]'"
    with pytest.raises(MissingExtraError, match=message):
        embedders.get("static")().embed(["x"])
    other_package[name].unlink()
    with pytest.raises(MissingExtraError, match=r"got no such file"):
        embedders.get("static")().embed(["x"])


def test_without_the_extra_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "PACKAGE", "no_such_package")
    assert static.packaged_files() is None
    static._loaded.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'embrm\[static\]'.* 'hashing', which needs no model"):
        embedders.get("static")().embed(["x"])


def test_options_are_checked() -> None:
    with pytest.raises(OptionError, match="batch_size must be at least 1, got 0"):
        embedders.get("static")(batch_size=0)


def test_the_command_line_fits_on_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        json.dumps({"prompt": f"question {i}", "chosen": f"good clear {i}", "rejected": f"vague wrong {i}"})
        for i in range(40)
    ]
    (tmp_path / "prefs.jsonl").write_text("\n".join(rows), encoding="utf-8")
    model = str(tmp_path / "model")
    fit = ["fit", str(tmp_path / "prefs.jsonl"), "--head", "linear", "--embedder", "static", "-o", model, "--json"]
    assert cli.run(fit) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["embedder"]["recipe"] == {"name": "static", "options": {"batch_size": 1024}}
    assert cli.run(["score", model, str(tmp_path / "prefs.jsonl")]) == 0
