"""The application behind `embrm serve`: POST /get_reward, and pages for those who look after it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from embrm.errors import DataError, EmbrmError
from embrm.integrations._samples import Samples, ServerLimits, columns_of, sample_of, samples_of, texts_of
from embrm.integrations._scorer import TextScorer
from embrm.serving.access import Access
from embrm.serving.batches import Batches
from embrm.serving.body import Bodies, RefusedError, read_body, refusal, too_large
from embrm.serving.counters import FORMAT, Counters
from embrm.serving.guard import Exchange, Guard, JsonAnswer
from embrm.serving.server import AuditLog

PATH = "/get_reward"
PAGES = ("/", "/health", "/metrics")

log = logging.getLogger("embrm.serve")


class RewardApp:
    """Rewards over HTTP.

    Every answer but that of /metrics is JSON on one line, also a refusal. Without the token / and /health still answer,
    the latter with the status alone, so that a probe needs no secret.

    Attributes:
        limits: of a request.
        about: what /health tells of the model.
        scorer: is set before the first request.
        keep_system: likewise; whether system messages stay in the prompts.
    """

    scorer: TextScorer
    keep_system: bool

    def __init__(self, limits: ServerLimits, about: Mapping[str, str]) -> None:
        self.limits, self.about = limits, dict(about)
        self.counters = Counters()
        self._audit = None if limits.audit is None else AuditLog(limits.audit)
        self._batches = Batches(self._answer)
        self._bodies = Bodies(max(limits.total, limits.size))

    def guarded(self, access: Access) -> Guard:
        """Return the application behind its guard."""
        self._access = access
        pages = {"/": self._root, "/health": self._health, "/metrics": self._metrics}
        routes = [Route(path, page, methods=["GET"]) for path, page in pages.items()]
        app = Router([*routes, Route("/{path:path}", _Rewards(self))])
        return Guard(
            app,
            access,
            paths=frozenset((PATH, *PAGES)),
            probes=frozenset(("/", "/health")),
            told=self._tell,
        )

    async def _root(self, request: Request) -> Response:
        return JsonAnswer({"embrm": f"rewards are at POST {PATH}"})

    async def _health(self, request: Request) -> Response:
        known = self._access.has_token(request.headers.get("authorization", ""))
        return JsonAnswer({"status": "ok", **(self.about if known else {})})

    async def _metrics(self, request: Request) -> Response:
        return Response(self.counters.page(), media_type=FORMAT)

    async def rewards(self, request: Request) -> Response:
        """Answer what is no page: a request for rewards, or one that is refused before its body is read."""
        if request.url.path != PATH:
            raise refusal(
                HTTPStatus.NOT_FOUND,
                f"there is nothing here; rewards are at POST {PATH}, and GET takes {', '.join(PAGES)}",
            )
        if request.method != "POST":
            raise refusal(
                HTTPStatus.METHOD_NOT_ALLOWED, f"{PATH} takes POST, got {request.method[:20]}", header=("Allow", "POST")
            )
        with self._bodies.room() as take:
            answer = await self._batches.ask(await read_body(request, self.limits.size, take))
        if isinstance(answer, RefusedError):
            raise answer
        return JsonAnswer(answer)

    def _answer(self, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        """Return for each request what is sent back, or the refusal."""
        read = [self._read(body) for body in bodies]
        asked = [samples for samples in read if isinstance(samples, Samples)]
        try:
            texts = [[text for s in asked for text in getattr(s, name)] for name in ("responses", "prompts")]
            scored = self.scorer(*texts) if asked else None
        except Exception as error:  # of libraries below: these requests fail, the server stays
            return [_failed(error) if isinstance(samples, Samples) else samples for samples in read]
        told, end = [], 0
        for body, samples in zip(bodies, read, strict=True):
            if scored is None or not isinstance(samples, Samples):
                told.append(samples)
                continue
            start, end = end, end + len(samples.rows)
            told.append(self._told(columns_of(scored.take(slice(start, end)), samples), samples, body))
        return told

    def _read(self, body: dict[str, Any]) -> Samples | RefusedError:
        try:
            if _of_slime(body):
                return sample_of(body, keep_system=self.keep_system)
            queries, most = texts_of(body.get("query"), "query", found=body), self.limits.texts
            if len(queries) > most:
                return too_large(f"query has {len(queries)} texts, and at most {most} are scored; split the request")
            return samples_of(queries, body.get("prompts"), keep_system=self.keep_system)
        except DataError as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))

    def _told(self, found: dict[str, list[float | None]], samples: Samples, body: dict[str, Any]) -> Any:
        logs = {name: found.pop(name) for name in ("uncertainty", "truncated")}
        cut = sum(bool(cut) for cut in logs["truncated"])
        self.counters.texts(len(samples.errors), errors=samples.failed, cut=cut)
        if _of_slime(body):
            return found["rewards"][0]
        return {**found, "extra_logs": logs} | ({"errors": samples.errors} if samples.failed else {})

    def _tell(self, exchange: Exchange) -> None:
        if exchange.path not in PAGES or exchange.method not in ("GET", "HEAD"):
            self.counters.request(exchange.status, exchange.seconds)
        log.debug("%s %s %s → %d", exchange.client, exchange.method, exchange.path, exchange.status)
        if self._audit is not None:
            self._audit.write(exchange.line())


class _Rewards:
    """The route of everything that is no page; as a class, so that Starlette leaves the methods to it."""

    def __init__(self, app: RewardApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await (await self._app.rewards(Request(scope, receive)))(scope, receive, send)


def _of_slime(body: Mapping[str, Any]) -> bool:
    return "query" not in body and "response" in body


def _failed(error: Exception) -> RefusedError:
    if isinstance(error, EmbrmError):
        log.error("scoring failed: %s", error)
        return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"scoring failed: {error}")
    log.error("scoring failed", exc_info=error)
    return refusal(
        HTTPStatus.INTERNAL_SERVER_ERROR, f"scoring failed: {type(error).__name__}; the server's log says more"
    )
