"""What a reward server has done, as Prometheus reads it."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
FORMAT = "text/plain; version=0.0.4; charset=utf-8"


class Counters:
    """Counts of a server since it started; any number of threads may add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[int] = Counter()
        self._texts: Counter[str] = Counter()
        self._within = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def request(self, status: int, seconds: float) -> None:
        """Count an answer and how long it took; refusals count too."""
        with self._lock:
            self._requests[status] += 1
            self._within[bisect_left(BUCKETS, seconds)] += 1
            self._seconds += seconds

    def texts(self, samples: int, *, errors: int, cut: int) -> None:
        """Count the samples of a request, those that got no reward, and those that were longer than is read."""
        with self._lock:
            self._texts.update(samples=samples, errors=errors, cut=cut)

    def page(self) -> str:
        """Return all counts in Prometheus' text format 0.0.4."""
        with self._lock:
            return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from _head("embrm_requests_total", "counter", "Requests for rewards, by the status of the answer.")
        for status, number in sorted(self._requests.items()):
            yield f'embrm_requests_total{{status="{status}"}} {number}'
        for key, name, what in (
            ("samples", "embrm_samples_total", "Samples that rewards were asked for."),
            ("errors", "embrm_sample_errors_total", "Samples that got no reward."),
            ("cut", "embrm_cut_texts_total", "Samples that were longer than the embedder reads."),
        ):
            yield from _head(name, "counter", what)
            yield f"{name} {self._texts[key]}"
        name = "embrm_request_seconds"
        yield from _head(name, "histogram", "Seconds from a request's headers to its answer.")
        total = 0
        for edge, number in zip((*BUCKETS, "+Inf"), self._within, strict=True):
            total += number
            yield f'{name}_bucket{{le="{edge}"}} {total}'
        yield f"{name}_sum {self._seconds:.6f}"
        yield f"{name}_count {total}"


def _head(name: str, kind: str, what: str) -> tuple[str, str]:
    return f"# HELP {name} {what}", f"# TYPE {name} {kind}"
