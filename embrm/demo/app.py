"""The application behind `embrm demo`: the page, and what it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from embrm.demo.page_files import page_part, page_script
from embrm.demo.setting import FitSetting, pressure_of, seats_of, setting_of, texts_of
from embrm.demo.stage import Stage, WorldStage
from embrm.errors import EmbrmError
from embrm.serving.access import Access
from embrm.serving.body import RefusedError, read_body, refusal
from embrm.serving.guard import Guard, JsonAnswer

BODY = 256 << 10  # bytes of a request
PAGES = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class DemoApp:
    """The live page over HTTP.

    Attributes:
        stage: is set before the first request.
    """

    stage: Stage

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embrm-demo")
        self._results: list[dict[str, Any]] = []

    def guarded(self, access: Access) -> Guard:
        """Return the application behind its guard."""
        asked: Mapping[str, Callable[[dict[str, Any]], Any]] = {
            "/state": lambda body: self.stage.state(),
            "/score": self._score,
            "/path": self._path,
            "/point": self._point,
            "/result": self._result,
        }
        routes = [Route(path, self._file(*of), methods=["GET"]) for path, of in PAGES.items()]
        routes += [Route(path, self._answer(function), methods=["POST"]) for path, function in asked.items()]
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
        app = Router(routes, default=_nothing)
        return Guard(app, access, paths=frozenset((*PAGES, *asked)), headers=headers, scheme="Basic")

    def _file(self, name: str, kind: str) -> Callable[[Request], Any]:
        async def send(request: Request) -> Response:
            return Response(page_script() if name == "app.js" else page_part(name), media_type=kind)

        return send

    def _answer(self, function: Callable[[dict[str, Any]], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            body = await read_body(request, BODY)
            try:
                told = await asyncio.get_running_loop().run_in_executor(self._thread, function, body)
            except RefusedError:
                raise
            except EmbrmError as error:
                raise refusal(HTTPStatus.BAD_REQUEST, str(error)) from error
            return JsonAnswer(told)

        return answer

    def _setting(self, body: Mapping[str, Any]) -> FitSetting:
        stage = self.stage
        return (
            setting_of(body, usual=stage.usual, most=stage.most_pairs)
            if isinstance(stage, WorldStage)
            else FitSetting()
        )

    def _score(self, body: dict[str, Any]) -> Any:
        setting, texts = self._setting(body), texts_of(body)
        said = [self.stage.say(setting, seat, texts) for seat in seats_of(body)]
        return {"seats": said, "gold": [self.stage.gold(*text) for text in texts]}

    def _world(self) -> WorldStage:
        if not isinstance(self.stage, WorldStage):
            raise refusal(HTTPStatus.NOT_FOUND, "a model of one's own has no path: nobody knows the gold of its texts")
        return self.stage

    def _path(self, body: dict[str, Any]) -> Any:
        stage, setting = self._world(), self._setting(body)
        views = [stage.path(setting, seat) for seat in seats_of(body)]
        return {"seats": [{**view.curves(), "cloud": view.cloud()} for view in views]}

    def _point(self, body: dict[str, Any]) -> Any:
        view = self._world().path(self._setting(body), seats_of(body)[0])
        return view.point(pressure_of(body, float(view.path.inverse_beta[-1])), str(body.get("prompt", "")))

    def _result(self, body: dict[str, Any]) -> Any:
        row = body.get("row")
        if row is not None:
            numbers = ("reward", "gold")
            if not isinstance(row, dict) or not all(
                isinstance(row.get(n), list) and len(row[n]) == 2 and all(isinstance(x, int | float) for x in row[n])
                for n in numbers
            ):
                raise refusal(HTTPStatus.BAD_REQUEST, "a result has reward and gold, each before and after")
            kept = {n: [float(x) for x in row[n]] for n in numbers}
            alarm = row.get("alarm")
            told = {"name": str(row.get("name", ""))[:40], **kept, "alarm": alarm if isinstance(alarm, int) else None}
            self._results = [*self._results, told][-200:]
        return {"rows": self._results}


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise refusal(HTTPStatus.NOT_FOUND, "there is nothing here; the page is at /")
