"""One thread for small work: limited inside, put back as found, whoever else limits and whatever is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import timeit
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import sklearn.cluster  # noqa: F401 - brings OpenMP
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from embrm.bestofn import curve
from embrm.core.data import Pairs, Problem
from embrm.core.threads import Limited, all_threads, one_thread, strictly_one_thread
from embrm.heads import Head
from embrm.heads import get as get_head

WIDE = 3  # what the caller of these tests has set


def settings() -> dict[str, int]:
    """Return the number of threads of torch and of every library, of this thread where it has its own."""
    found = {library["filepath"]: int(library["num_threads"]) for library in threadpool_info()}
    return {**found, "torch": torch.get_num_threads()}


def blas() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def caller() -> Iterator[dict[str, int]]:
    before = torch.get_num_threads()
    with threadpool_limits(WIDE):
        torch.set_num_threads(WIDE)
        found = settings()
        assert set(found.values()) == {WIDE}
        assert len(found) >= 4  # two BLAS, two OpenMP
        yield found
        assert settings() == found  # every test leaves the setting as it was
    torch.set_num_threads(before)


def test_a_block_limits_everything() -> None:
    with one_thread:
        assert set(settings().values()) == {1}
    with pytest.raises(ZeroDivisionError), one_thread:
        _ = 1 / 0


def test_a_function_is_limited_and_keeps_its_name() -> None:
    @one_thread
    def work(x: int) -> tuple[int, set[int]]:
        if x < 0:
            raise ZeroDivisionError
        return x, set(settings().values())

    assert work.__name__ == "work"
    assert work(3) == (3, {1})
    with pytest.raises(ZeroDivisionError):
        work(-1)


def test_blocks_nest() -> None:
    with one_thread:
        with pytest.raises(ZeroDivisionError), one_thread, strictly_one_thread:
            _ = 1 / 0
        assert set(settings().values()) == {1}


def test_a_generator_left_in_the_middle_restores_when_it_is_closed(caller: dict[str, int]) -> None:
    def numbers() -> Generator[int]:
        with one_thread:
            yield 1
            yield 2

    half = numbers()
    assert next(half) == 1
    assert set(settings().values()) == {1}
    with one_thread:  # blocks that overlap without nesting
        half.close()
        assert set(settings().values()) == {1}
    assert settings() == caller


def test_a_limit_of_the_callers_own_inside_is_kept() -> None:
    with one_thread:
        torch.set_num_threads(2)
        with one_thread:
            assert torch.get_num_threads() == 2
        torch.set_num_threads(1)


def test_models_have_all_threads_unless_it_is_strict(caller: dict[str, int]) -> None:
    @all_threads
    def model() -> int:
        return torch.get_num_threads()

    assert model() == WIDE
    with one_thread:
        assert model() == WIDE
        with pytest.raises(ZeroDivisionError), all_threads:
            _ = 1 / 0
        assert torch.get_num_threads() == 1
        with strictly_one_thread:
            assert model() == 1
            with one_thread, all_threads, all_threads:
                assert model() == 1
        assert model() == WIDE
        assert set(settings().values()) == {1}


def test_threads_that_overlap_put_back_what_was_there_first(caller: dict[str, int]) -> None:
    inside, leave = threading.Event(), threading.Event()
    seen: dict[str, Any] = {}

    def first() -> None:
        with one_thread:
            inside.set()
            leave.wait(10)
        seen["first, after"] = torch.get_num_threads()

    def second() -> None:
        inside.wait(10)
        with one_thread:
            seen["second"] = settings()
            leave.set()
            thread.join(10)  # the first, which set what the process shares, has left
            seen["second, alone"] = settings()
            with all_threads:
                seen["model"] = torch.get_num_threads()
        seen["second, after"] = torch.get_num_threads(), blas()

    thread = threading.Thread(target=first)
    thread.start()
    other = threading.Thread(target=second)
    other.start()
    other.join(10)
    assert set(seen["second"].values()) == set(seen["second, alone"].values()) == {1}
    assert seen["first, after"] == seen["model"] == WIDE
    assert seen["second, after"] == (WIDE, {WIDE})


def test_many_threads_at_once() -> None:
    def work(i: int) -> set[int]:
        seen = set()
        for _ in range(20):
            with one_thread:
                seen |= {torch.get_num_threads()} | blas()
        return seen

    with ThreadPoolExecutor(8) as pool:
        assert set.union(*pool.map(work, range(32))) == {1}


def test_a_nested_block_costs_microseconds() -> None:
    def nested() -> None:
        with one_thread:
            pass

    with one_thread:
        assert min(timeit.repeat(nested, number=1000, repeat=5)) < 0.05  # 50 µs each; 1 µs measured


def test_subclasses_are_limited_whoever_wrote_them() -> None:
    class Base(Limited, limited=("work",)):
        def work(self) -> set[int]:
            return set(settings().values())

        def other(self) -> set[int]:
            return set(settings().values())

    class Own(Base):
        def work(self) -> set[int]:
            return set(settings().values())

    assert Base().work() == Own().work() == {1}
    assert Own().other() == {WIDE}


# --- the library's entry points


def pairs() -> Pairs:
    rng = np.random.default_rng(0)
    n = 40
    features = rng.normal(size=(2 * n, 6)).astype(np.float32)
    return Pairs.from_arrays(features, chosen=np.arange(n), rejected=np.arange(n, 2 * n), prompt=np.arange(2 * n) % n)


@pytest.mark.parametrize("name", ["linear", "laplace", "inform"])
def test_heads_fit_and_score_on_one_thread(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    view = Pairs.compact

    def compact(self: Pairs) -> Pairs:
        seen.append(set(settings().values()))
        return view(self)

    monkeypatch.setattr(Pairs, "compact", compact)
    recipe = get_head(name)()
    data = pairs()
    model = recipe.fit(data, seed=0)
    recipe.fit_many([Problem(data, 1)])

    def viewed(self: Any, features: Any) -> Any:
        seen.append(set(settings().values()))
        return features.matrix(self.head.view)

    monkeypatch.setattr(type(model), "_view", viewed)
    model.score(data.features)
    model.latent(data.features)
    assert len(seen) >= 2
    assert all(threads == {1} for threads in seen)


def test_a_head_from_elsewhere_is_limited_too() -> None:
    class Probe(Head):
        def fit_many(self, problems: Any) -> Any:
            return [set(settings().values()) for _ in problems]

        def restore(self, state: Any) -> Any:
            raise NotImplementedError

    probe: Any = Probe()
    assert probe.fit(pairs(), seed=0) == {1}
    assert probe.fit_many([Problem(pairs(), 0), Problem(pairs(), 1)]) == [{1}, {1}]


def test_curves_are_computed_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    from embrm.bestofn import curves
    from embrm.bestofn.ranks import ranked

    seen = []

    def kept(values: Any) -> Any:
        seen.append(settings())
        return ranked(values)

    monkeypatch.setattr(curves, "ranked", kept)
    curve(np.arange(6.0).reshape(2, 3), np.ones((2, 3)), sizes=[1, 2])
    assert seen
    assert all(set(found.values()) == {1} for found in seen)


# --- processes of their own: what is loaded when


def python(code: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment = {**own, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torch_may_be_loaded_inside_and_is_never_loaded_for_it() -> None:
    out = python("""
import sys
from embrm.core.threads import all_threads, one_thread, strictly_one_thread
with one_thread:
    assert "torch" not in sys.modules and "numpy" not in sys.modules
    import torch
    print(torch.get_num_threads(), end=" ")
    with all_threads:
        print(torch.get_num_threads(), end=" ")
    with one_thread:
        print(torch.get_num_threads(), end=" ")
print(torch.get_num_threads())
""")
    assert out == "2 2 1 2\n"


def test_a_strict_block_limits_a_torch_that_its_model_loads() -> None:
    out = python("""
from embrm.core.threads import all_threads, strictly_one_thread
with strictly_one_thread:
    import torch
    with all_threads:
        print(torch.get_num_threads())
""")
    assert out == "1\n"


@pytest.mark.slow
def test_the_command_line_fits_on_one_thread_that_waits_passively(tmp_path: Any) -> None:
    rows = [f'{{"prompt": "p{i}", "chosen": "good {i}", "rejected": "bad {i}"}}' for i in range(20)]
    (tmp_path / "prefs.jsonl").write_text("\n".join(rows), encoding="utf-8")
    out = python(f"""
import os, sys
from embrm.cli import main
from embrm.heads.linear import Linear
fit_many = Linear.__dict__["fit_many"]
def watched(self, problems):
    import torch
    from threadpoolctl import threadpool_info
    print({{library["num_threads"] for library in threadpool_info()}}, torch.get_num_threads())
    return fit_many(self, problems)
Linear.fit_many = watched
sys.argv = ["embrm", "fit", {str(tmp_path / "prefs.jsonl")!r}, "--head", "linear", "--embedder", "hashing",
            "-o", {str(tmp_path / "model")!r}]
try:
    main()
except SystemExit as stop:
    print(stop.code, os.environ["OMP_WAIT_POLICY"])
""")
    lines = out.splitlines()
    assert lines[0].startswith("{1}")
    assert lines[-1] == "0 passive"
