"""A study that is killed at any moment and resumed gives the table of one that never was, here and on Ray."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.small_study import on_world, write_config

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
from pathlib import Path
from embrm.study.config import load_config
from embrm.study.runner.run import run
if __name__ == "__main__":
    run(load_config(sys.argv[1]), Path(sys.argv[2]), workers=int(sys.argv[3]))
"""

JUDGED = """
import sys
from pathlib import Path
from embrm.study import claims
from embrm.study.results import Results
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    claims.write(claims.findings(Results.load(folder), draws=400), folder, rows="")
"""


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("kills")
    write_config(room / "study.yaml", on_world())
    (room / "study.py").write_text(SCRIPT, encoding="utf-8")
    return room


def begin(room: Path, name: str, *, workers: int = 2, threads: int = 1) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own."""
    command = [sys.executable, str(room / "study.py"), str(room / "study.yaml"), str(room / name), str(workers)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True, env=limited(threads))


def limited(threads: int) -> dict[str, str]:
    """Return the environment of a process whose libraries may use so many threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}


@pytest.fixture(scope="module")
def whole(room: Path) -> tuple[bytes, float]:
    """Return the table of a run that was left alone, and its seconds."""
    start = time.perf_counter()
    process = begin(room, "whole")
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err.decode()
    return (room / "whole" / "results.parquet").read_bytes(), time.perf_counter() - start


def test_threads_and_workers_change_no_row_and_no_verdict(room: Path, whole: tuple[bytes, float]) -> None:
    verdicts = []
    for name, workers, threads in (("whole", 2, 1), ("alone", 1, 2), ("three", 3, 2)):
        if name != "whole":
            process = begin(room, name, workers=workers, threads=threads)
            _, err = process.communicate(timeout=600)
            assert process.returncode == 0, err.decode()
        assert (room / name / "results.parquet").read_bytes() == whole[0]
        subprocess.run([sys.executable, "-c", JUDGED, str(room / name)], check=True, env=limited(threads))
        found = json.loads((room / name / "claims.json").read_bytes())
        verdicts.append([row for row in found if row["id"] != "C19"])  # which is about seconds
    assert verdicts[0] == verdicts[1] == verdicts[2]
    assert {row["verdict"] for row in verdicts[0]} > {"not run"}  # some had something to say


def test_twenty_kills_change_nothing(room: Path, whole: tuple[bytes, float]) -> None:
    table, seconds = whole
    rng = random.Random(0)
    kills = runs = 0
    while kills < 20:
        runs += 1
        folder, finished, killed = room / f"killed{runs}", False, False
        while not finished:
            process, start = begin(room, folder.name), time.perf_counter()
            try:
                _, err = process.communicate(timeout=rng.uniform(0.1, 0.9) * seconds if kills < 20 else 600)
                assert process.returncode == 0, err.decode()
                finished = True
                if not killed:  # the machine has become faster
                    seconds = time.perf_counter() - start
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                kills, killed = kills + 1, True
        assert (folder / "results.parquet").read_bytes() == table
        left = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        assert {file.stem for file in (folder / "cells").iterdir()} == set(left["keys"])
        assert left["failures"] == {}


def test_one_of_two_processes_works_and_the_other_says_who_does(room: Path, whole: tuple[bytes, float]) -> None:
    first = begin(room, "shared")
    deadline = time.monotonic() + 120
    while not (room / "shared" / "config.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    second = begin(room, "shared")
    _, err = second.communicate(timeout=120)
    assert second.returncode == 1
    assert f"shared is held by process {first.pid} on ".encode() in err
    _, err = first.communicate(timeout=600)
    assert first.returncode == 0, err.decode()
    assert (room / "shared" / "results.parquet").read_bytes() == whole[0]


def test_one_worker_gives_the_same_table(room: Path, whole: tuple[bytes, float]) -> None:
    process = begin(room, "inline", workers=1)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err.decode()
    assert (room / "inline" / "results.parquet").read_bytes() == whole[0]


RAY = """
import os, signal, sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from embrm.study.config import load_config
from embrm.study.runner.run import run

def kill_a_worker(folder):
    # When a row is there. A node whose worker starts late may not have one yet: where cores are busy, the first is done
    # with a study of seconds before the second stands.
    actors = []
    while not list((folder / "cells").glob("*.npz")) or not actors:
        time.sleep(0.02)
        actors = [actor for actor in ray._private.state.actors().values() if actor["State"] == "ALIVE"]
    os.kill(actors[0]["Pid"], signal.SIGKILL)
    print("killed", actors[0]["Pid"], flush=True)

if __name__ == "__main__":
    folder = Path(sys.argv[2])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    thread = threading.Thread(target=kill_a_worker, args=(folder,), daemon=True)
    thread.start()
    results = run(load_config(sys.argv[1]), folder, engine="ray")
    thread.join(1)
    print(results.environment["engine"], results.environment["workers"], results.failures)
    ray.shutdown()
    cluster.shutdown()
"""


@pytest.fixture
def cluster_script(room: Path) -> Path:
    pytest.importorskip("ray")
    path = room / "cluster.py"
    path.write_text(RAY, encoding="utf-8")
    return path


def test_two_ray_nodes_of_which_a_worker_is_killed_give_the_same_table(
    room: Path, whole: tuple[bytes, float], cluster_script: Path
) -> None:
    command = [sys.executable, str(cluster_script), str(room / "study.yaml"), str(room / "ray")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "killed" in done.stdout
    assert "ray 2 {}" in done.stdout
    assert (room / "ray" / "results.parquet").read_bytes() == whole[0]
