"""Requests a second that `embrm serve` answers: 64 clients at once, 2 000 requests, each on a connection of its own.

The clients are another process, and send what OpenRLHF sends: one query with its prompt, through no connection pool.
"""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np

from embrm import Pairs, embedders, heads
from embrm.integrations import openrlhf

CLIENTS, REQUESTS, WIDTH = 64, 2000, 64


def model() -> heads.FittedHead:
    """Return a linear head on the hashing embedder, so that HTTP and not the embedder is measured."""
    texts = [f"answer {i}" for i in range(200)]
    vectors = embedders.get("hashing")(dimension=WIDTH).embed(texts).vectors
    rows = np.arange(200)
    pairs = Pairs.from_arrays(vectors, chosen=rows[::2], rejected=rows[1::2], prompt=rows // 2)
    return heads.get("linear")(members=3).fit(pairs, seed=0)


def ask(address: str) -> tuple[list[float], int]:
    """Send all requests; return the seconds that each took, and how many were not answered with a reward."""
    host = address.split("/")[2]
    start = threading.Barrier(CLIENTS)

    def client(first: int) -> list[float]:
        start.wait()
        seconds = []
        for i in range(first, REQUESTS, CLIENTS):
            began = time.perf_counter()
            connection = http.client.HTTPConnection(host, timeout=60)
            body = json.dumps({"query": [f"How? answer {i}"], "prompts": ["How?"], "labels": [""]})
            connection.request("POST", "/get_reward", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
            connection.close()
            seconds.append(time.perf_counter() - began if len(answer.get("rewards", [])) == 1 else float("nan"))
        return seconds

    with ThreadPoolExecutor(CLIENTS) as pool:
        found = [s for client_seconds in pool.map(client, range(CLIENTS)) for s in client_seconds]
    return [s for s in found if s == s], sum(s != s for s in found)


def main() -> None:
    """Print the rate of three rounds, with the median and the slowest answer."""
    embedder = embedders.get("hashing")(dimension=WIDTH)
    with (
        openrlhf.reward_server(model(), port=0, embedder=embedder).running() as address,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as clients,
    ):
        clients.submit(ask, address).result()  # warm
        for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
            began = time.perf_counter()
            seconds, failed = clients.submit(ask, address).result()
            rate = REQUESTS / (time.perf_counter() - began)
            print(
                f"{rate:.0f} requests/s, median {statistics.median(seconds) * 1e3:.0f} ms, "
                f"slowest {max(seconds) * 1e3:.0f} ms, {failed} failed"
            )


if __name__ == "__main__":
    main()
