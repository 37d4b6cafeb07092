"""The embedding cache: damage, death, company, partial hits, what it holds, and where it lies."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from embrm.embedders.cache import shards as _shards
from embrm.embedders.cache import store as _cache
from embrm.embedders.cache.shards import ShardRows
from embrm.embedders.cache.store import VectorStore, cache_folder, info, prune, recall, remember, text_key
from embrm.errors import CacheError, OptionError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def rows(numbers: range, *, dimension: int = 8) -> ShardRows:
    """Rows whose vectors follow from their number, so that a wrong one is seen."""
    vectors = np.array([np.random.default_rng(i).normal(size=dimension) for i in numbers], dtype=np.float32)
    return ShardRows(keys(numbers), vectors.reshape(-1, dimension), np.array([i % 3 == 0 for i in numbers], dtype=bool))


def keys(numbers: range) -> list[bytes]:
    return [text_key(str(i).encode()) for i in numbers]


def put(space: VectorStore, numbers: range) -> None:
    with space.writer() as write:
        write(rows(numbers))


def assert_holds(space: VectorStore, numbers: range, asked: range) -> None:
    found, truth = space.read(keys(asked)), rows(numbers)
    order = {key: i for i, key in enumerate(found.keys)}
    assert sorted(order) == sorted(truth.keys)
    at = [order[key] for key in truth.keys]
    if not at:
        return
    np.testing.assert_array_equal(found.vectors[at], truth.vectors)
    np.testing.assert_array_equal(found.cut[at], truth.cut)


def shards(space: VectorStore) -> list[Path]:
    return sorted(space.folder.glob("*.shard"))


def start(code: str) -> subprocess.Popen[str]:
    head = "from embrm.embedders.cache import store as _cache\nfrom tests.unit.test_cache import *\n"
    return subprocess.Popen([sys.executable, "-c", head + textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)


def test_partial_hits() -> None:
    space = VectorStore("a")
    assert_holds(space, range(0), asked=range(5))
    put(space, range(5))
    assert_holds(space, range(3, 5), asked=range(3, 20))
    put(space, range(5, 9))
    assert_holds(space, range(9), asked=range(20))


def test_identities_do_not_mix() -> None:
    put(VectorStore("a"), range(5))
    assert_holds(VectorStore("b"), range(0), asked=range(5))


def test_interrupted_work_is_kept() -> None:
    space = VectorStore("a")

    def work() -> None:
        with space.writer() as write:
            write(rows(range(7)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert_holds(space, range(7), asked=range(9))


def test_a_killed_process_leaves_what_it_had_written(folder: Path) -> None:
    process = start("""
        _cache.FLUSH_SECONDS = 0
        with VectorStore("a").writer() as write:
            for i in range(50_000):
                write(rows(range(i, i + 1)))
                if i == 20: print("going", flush=True)
    """)
    assert process.stdout is not None
    assert process.stdout.readline() == "going\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    space = VectorStore("a")
    n = len(space.read(keys(range(50_000))).keys)
    assert 20 < n < 50_000
    assert_holds(space, range(n), asked=range(50_000))
    put(space, range(n, n + 5))
    assert_holds(space, range(n + 5), asked=range(50_000))


def test_two_processes_at_once() -> None:
    code = """
        _cache.FLUSH_SECONDS = 0
        with VectorStore("a").writer() as write:
            for i in range({start}, {start} + 150):
                write(rows(range(i, i + 1)))
        VectorStore("a").read(keys(range(250)))
        print("done")
    """
    both = [start(code.format(start=first)) for first in (0, 100)]
    assert [process.communicate()[0] for process in both] == ["done\n", "done\n"]
    assert_holds(VectorStore("a"), range(250), asked=range(300))


def test_many_small_shards_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cache, "FLUSH_SECONDS", 0)
    space = VectorStore("a")
    with space.writer() as write:
        for i in range(2 * _cache.SMALL_SHARDS):
            write(rows(range(i, i + 2)))  # each text twice
    assert len(shards(space)) == 1
    assert _shards.count_rows(shards(space)[0]) == 2 * _cache.SMALL_SHARDS + 1
    assert_holds(space, range(2 * _cache.SMALL_SHARDS + 1), asked=range(999))


def test_a_shard_that_vanishes_under_a_reader_is_empty(tmp_path: Path) -> None:
    gone, sound = _shards.read_shard(tmp_path / "gone.shard", None)
    assert not gone.keys
    assert sound
    assert _shards.count_rows(tmp_path / "gone.shard") == 0


@pytest.mark.parametrize("at", ["vector", "key", "flag"])
def test_a_damaged_row_is_lost_alone(at: str) -> None:
    space = VectorStore("a")
    put(space, range(10))
    [shard] = shards(space)
    content = bytearray(shard.read_bytes())
    index = _shards.HEADER + 10 * 8 * 4 + 4 * _shards.INDEX.itemsize  # of row 4
    content[{"vector": _shards.HEADER + 4 * 8 * 4 + 3, "key": index, "flag": index + 20}[at]] ^= 1
    shard.write_bytes(content)
    keep = rows(range(10)).take([0, 1, 2, 3, 5, 6, 7, 8, 9])
    if at == "key":  # the row is then that of another text, which nobody asks for
        found = space.read(keys(range(10)))
    else:
        with pytest.warns(UserWarning, match="1 files of the embedding cache are damaged"):
            found = space.read(keys(range(10)))
        assert shards(space) != [shard]
    assert found.keys == keep.keys
    np.testing.assert_array_equal(found.vectors, keep.vectors)
    put(space, range(4, 5))
    assert_holds(space, range(10), asked=range(10))


@pytest.mark.parametrize("damage", ["shortened", "emptied", "no shard", "longer", "other shape"])
def test_a_damaged_shard_is_recomputed(damage: str) -> None:
    space = VectorStore("a")
    put(space, range(10))
    [shard] = shards(space)
    content = shard.read_bytes()
    shape = np.array([10, 7], dtype="<u8").tobytes()
    shard.write_bytes(
        {
            "shortened": content[:-5],
            "emptied": b"",
            "no shard": bytes(8) + content[8:],
            "longer": content + b"x",
            "other shape": content[:8] + shape + content[24:],
        }[damage]
    )
    put(space, range(10, 12))
    with pytest.warns(UserWarning, match="damaged; what they lost is computed again"):
        assert_holds(space, range(10, 12), asked=range(12))
    assert shard not in shards(space)
    put(space, range(10))
    assert_holds(space, range(12), asked=range(12))


def test_an_unwritable_cache_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CacheError, match=r"cannot write the embedding cache .*file.cache .*set EMBRM_CACHE"):
        put(VectorStore("a"), range(3))
    with pytest.raises(CacheError, match="set EMBRM_CACHE"):
        remember("question", "answer")


def test_an_unreadable_cache_names_the_way_out() -> None:
    space = VectorStore("a")
    (space.folder / "0.shard").mkdir(parents=True)
    with pytest.raises(CacheError, match=r"cannot read the embedding cache .* set EMBRM_CACHE"):
        space.read(keys(range(3)))


def test_a_space_that_cannot_be_removed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(VectorStore("a"), range(3))

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)  # a superuser running the tests may remove anything
    with pytest.raises(CacheError, match=r"cannot change the embedding cache .*Permission denied"):
        prune()


def test_facts_are_remembered() -> None:
    assert recall("q") is None
    remember("q", "yes")
    remember("r", "no")
    assert recall("q") == "yes"
    assert recall("r") == "no"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", b'{"question": "other", "answer": "x"}', b'{"question": "q"}']
)
def test_a_damaged_fact_is_unknown(content: bytes, folder: Path) -> None:
    remember("q", "yes")
    [fact] = (folder / "facts").iterdir()
    fact.write_bytes(content)
    assert recall("q") is None


def test_every_bit_of_a_fact_may_flip(folder: Path) -> None:
    remember("q", "yes")
    [fact] = (folder / "facts").iterdir()
    whole = fact.read_bytes()
    for place in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        fact.write_bytes(flipped)
        assert recall("q") in (None, "yes")


def test_what_would_be_waited_for_is_no_fact_and_no_shard(folder: Path) -> None:
    remember("q", "yes")
    [fact] = (folder / "facts").iterdir()
    fact.write_text("[" * 100_000)
    assert recall("q") is None
    fact.unlink()
    os.mkfifo(fact)
    assert recall("q") is None
    space = VectorStore("a")
    put(space, range(3))
    os.mkfifo(space.folder / "pipe.shard")
    with (space.folder / "vast.shard").open("wb") as vast:
        vast.truncate(1 << 40)
    assert info().rows == 3
    with pytest.warns(UserWarning, match="2 files of the embedding cache are damaged"):
        assert_holds(space, range(3), asked=range(5))
    (space.folder / "identity.txt").unlink()
    os.mkfifo(space.folder / "identity.txt")
    assert [found.identity for found in info().spaces] == ["unreadable"]


def test_info_counts_what_there_is(folder: Path) -> None:
    assert info() == _cache.CacheInfo(folder, ())
    put(VectorStore("older"), range(10))
    put(VectorStore("newer"), range(4))
    put(VectorStore("newer"), range(4, 6))
    week = time.time() - 7 * 86_400
    os.utime(VectorStore("older").folder / "identity.txt", (week, week))
    found = info()
    assert [(s.identity, s.rows) for s in found.spaces] == [("newer", 6), ("older", 10)]
    assert found.rows == 16
    assert found.bytes == sum(path.stat().st_size for path in folder.rglob("*.shard"))
    np.testing.assert_allclose([s.idle_days for s in found.spaces], [0, 7], atol=0.01)


def test_prune_removes_what_is_idle(folder: Path) -> None:
    put(VectorStore("older"), range(10))
    put(VectorStore("newer"), range(4))
    for part, age in (("stale", 7200), ("young", 60)):
        path = VectorStore("newer").folder / f".{part}.part"
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age,) * 2)
    week = time.time() - 7 * 86_400
    os.utime(VectorStore("older").folder / "identity.txt", (week, week))
    assert prune(idle_days=8).spaces == ()
    assert [s.identity for s in prune(idle_days=6).spaces] == ["older"]
    assert [s.identity for s in info().spaces] == ["newer"]
    assert [path.name for path in folder.rglob("*.part")] == [".young.part"]
    assert prune().rows == 4
    assert info().rows == 0
    with pytest.raises(OptionError, match="idle_days must be at least 0, got -1"):
        prune(idle_days=-1)


def test_reading_counts_as_use() -> None:
    put(VectorStore("a"), range(3))
    week = time.time() - 7 * 86_400
    os.utime(VectorStore("a").folder / "identity.txt", (week, week))
    VectorStore("a").read(keys(range(1)))
    assert info().spaces[0].idle_days < 0.1


def test_a_space_pruned_while_it_is_written_stays_known(monkeypatch: pytest.MonkeyPatch) -> None:
    with VectorStore("a").writer() as write:
        write(rows(range(3)))
        prune()
    assert [(s.identity, s.rows) for s in info().spaces] == [("a", 3)]


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"EMBRM_CACHE": "/x/y"}, "/x/y"),
        ("linux", {"EMBRM_CACHE": "~/y"}, "/home/user/y"),
        ("linux", {}, "/home/user/.cache/embrm"),
        ("linux", {"XDG_CACHE_HOME": "/fast"}, "/fast/embrm"),
        ("darwin", {}, "/home/user/Library/Caches/embrm"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/embrm"),
    ],
)
def test_where_the_cache_lies(
    platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EMBRM_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in {"HOME": "/home/user", **variables}.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


def test_every_bit_of_a_shard_may_flip() -> None:
    space = VectorStore("a")
    put(space, range(3))
    [shard] = shards(space)
    content, truth = shard.read_bytes(), rows(range(3))
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        shard.write_bytes(damaged)
        found, _ = _shards.read_shard(shard, set(truth.keys))
        for i, j in enumerate(map(truth.keys.index, found.keys)):
            assert found.vectors[i].tobytes() == truth.vectors[j].tobytes()
            assert found.cut[i] == truth.cut[j]


def test_a_writer_beside_many_prunes_loses_nothing_of_its_own() -> None:
    process = start("""
        for i in range(400):
            _cache.prune()
        print("done")
    """)
    with VectorStore("a").writer() as write:
        while process.poll() is None:
            put(VectorStore("a"), range(5))
            write(rows(range(3)))
    out, err = process.communicate()
    assert out == "done\n", err
    put(VectorStore("a"), range(5))
    assert_holds(VectorStore("a"), range(5), asked=range(5))


@pytest.mark.parametrize("late", [2, 99])
def test_a_file_that_comes_while_a_space_is_removed_is_removed_too(late: int, monkeypatch: pytest.MonkeyPatch) -> None:
    put(VectorStore("a"), range(5))
    real = os.rmdir
    came: list[Path] = []

    def rmdir(path: str, *, dir_fd: int | None = None) -> None:
        if len(came) < late:  # a writer had resolved the folder's name before it was moved
            folder = next(_cache.cache_folder().glob("**/.*.*"))
            came.append(folder / f"{len(came)}.part")
            came[-1].write_bytes(b"x")
        real(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", rmdir)
    if late == 99:
        with pytest.raises(CacheError, match=r"cannot change the embedding cache .*not empty"):
            _cache.prune()
        return
    _cache.prune()
    assert len(came) == late
    assert not came[0].parent.exists()


@pytest.fixture
def full_disk() -> Iterator[Callable[[], None]]:
    """Give what lets no file of this process grow beyond 100 bytes."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_stops_the_cache_and_not_the_work(
    full_disk: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cache, "FLUSH_SECONDS", -1)
    done = 0

    def work() -> None:
        nonlocal done
        with VectorStore("a").writer() as write:
            write(rows(range(3)))
            full_disk()
            for i in range(3, 9):
                write(rows(range(i, i + 3)))
                done += 1

    with pytest.warns(UserWarning, match=r"cannot write the embedding cache .*; what is computed now is not kept"):
        work()
    assert done == 6
    assert_holds(VectorStore("a"), range(3), asked=range(12))


def test_shards_that_cannot_be_merged_or_mended_stay_and_stop_no_work(
    full_disk: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of a text are 77 bytes with their shard, so that single ones are still written and no merged ones."""
    monkeypatch.setattr(_cache, "SMALL_SHARDS", 2)
    small, damaged = VectorStore("a"), VectorStore("b")
    put(small, range(1))
    put(small, range(1, 2))
    put(damaged, range(4))
    [shard] = shards(damaged)
    content = bytearray(shard.read_bytes())
    content[30] ^= 1  # of the first vector
    shard.write_bytes(content)
    full_disk()
    told = r"cannot write the embedding cache .*; its files stay as they are"
    with pytest.warns(UserWarning, match=told):
        put(small, range(2, 3))
    assert len(shards(small)) == 3
    assert_holds(small, range(3), asked=range(5))
    with pytest.warns(UserWarning, match=told), pytest.warns(UserWarning, match="1 files .* are damaged"):
        assert_holds(damaged, range(1, 4), asked=range(4))
    assert shards(damaged) == [shard]


def test_a_clock_that_goes_backwards_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before is dated ahead: it counts as used now, and an unfinished file may be under way."""
    space, year = VectorStore("a"), 365 * 86_400
    put(space, range(3))
    (space.folder / ".part.part").write_bytes(b"x")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - year)
    monkeypatch.setattr(_cache, "FLUSH_SECONDS", 0)
    put(space, range(3, 6))
    assert prune(idle_days=0.01).spaces == ()
    assert (space.folder / ".part.part").exists()
    assert info().spaces[0].idle_days == 0
    assert_holds(space, range(6), asked=range(9))


KILLS = """
    import random
    _cache.FLUSH_SECONDS, _cache.SMALL_SHARDS = 0, 8  # many files, and many merges of them
    dice = random.Random(0)

    def work(side, seed):
        dice, told = random.Random(seed), os.open("told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        while True:
            first = dice.randrange(300)
            put(VectorStore("a"), range(first, first + 3))
            os.write(told, f"{first}\\n".encode())
            assert_right(VectorStore("a").read(keys(range(300))))

    os.close(os.open("told", os.O_WRONLY | os.O_CREAT))
    for round in range(100):
        children, before, began = [], os.path.getsize("told"), time.monotonic()
        for side in (0, 1):
            child = os.fork()
            if child == 0:
                try:
                    work(side, 2 * round + side)
                finally:
                    os._exit(3)  # what was read was wrong
            children.append(child)
        while os.path.getsize("told") == before and time.monotonic() < began + 5:
            time.sleep(0.001)
        for child in children:
            time.sleep(dice.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    print("killed 200")
"""


def assert_right(found: ShardRows) -> None:
    place = {key: i for i, key in enumerate(keys(range(400)))}
    for key, vector, cut in zip(found.keys, found.vectors, found.cut.tolist(), strict=True):
        truth = rows(range(place[key], place[key] + 1))
        np.testing.assert_array_equal(vector, truth.vectors[0])
        assert cut == truth.cut[0]


@pytest.mark.slow
def test_two_hundred_kills_of_two_processes_lose_nothing_that_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two write, merge and read one cache and are killed at any moment; what a writer had ended is there and right."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    )
    process = start(KILLS)
    assert process.communicate(timeout=300)[0] == "killed 200\n"
    told = [int(line) for line in (tmp_path / "told").read_text().splitlines()]
    wanted = {i for first in told for i in range(first, first + 3)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a damaged shard would be told
        found = VectorStore("a").read(keys(range(400)))
    assert_right(found)
    assert {keys(range(400)).index(key) for key in found.keys} >= wanted
    left = len(list(VectorStore("a").folder.glob("*.part"))) + len(list(VectorStore("a").folder.glob(".*.part")))
    print(f"{len(told)} writes ended, {len(wanted)} texts, {len(shards(VectorStore('a')))} shards, {left} parts left")
    assert len(told) > 90
