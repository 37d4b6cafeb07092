"""A server of this machine: it is bound when it is made, serves inside a block, and ends with what is under way."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from embrm.errors import OptionError
from embrm.serving.access import Access
from embrm.serving.protocol import GuardedProtocol

if TYPE_CHECKING:
    from embrm.serving.guard import Guard

BACKLOG = 512  # connections that wait to be taken
HEAD_BYTES = 64 << 10  # of a request's first line and headers
KEEP_SECONDS = 5  # that an idle connection is kept for a next request
STOP_SECONDS = 30  # that requests under way get when the server stops
TELL_SECONDS = 60  # between two warnings that no connection can be taken
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # after which asyncio waits a second

log = logging.getLogger("embrm.serve")


class HttpServer:
    """Answers until `running` ends.

    Args:
        guarded: access → the application behind its guard.
        host: the name or address to listen at; without a token one of this machine only.
        port: 0 lets the system choose; `server_address` tells.
        token: what a request must bring: `Authorization: Bearer TOKEN`, or as the password of `http://user:TOKEN@…`,
            which is what a trainer can put into an address.
        hosts: names that requests may call the server by, further to this machine's own (the header Host).
        path: the end of the address that `running` gives.

    Raises:
        OptionError: the address cannot be listened at, or others can reach it and there is no token.
    """

    def __init__(
        self,
        guarded: Callable[[Access], Guard],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        hosts: tuple[str, ...] = (),
        path: str = "/",
    ) -> None:
        self._path = path
        try:
            # The address that was checked is the one that is bound: a name could change between.
            family, _, _, _, address = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)[0]
            access = Access(str(address[0]), (*hosts, *([host] if host else [])), token)
            self._socket = socket.create_server((str(address[0]), int(address[1])), family=family, backlog=BACKLOG)
        except (OSError, OverflowError) as error:
            raise OptionError(f"cannot listen at {host}, port {port}: {error}; choose another") from error
        self.guard = guarded(access)
        self.server_address: tuple[str, int] = self._socket.getsockname()[:2]
        self._server = _Server(
            uvicorn.Config(
                self.guard,
                http=GuardedProtocol,
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # whoever asks could name another client in them
                backlog=1,  # to asyncio this is also how often it tries to take one before it waits
                timeout_keep_alive=KEEP_SECONDS,
                timeout_graceful_shutdown=STOP_SECONDS,
                h11_max_incomplete_event_size=HEAD_BYTES,
            )
        )

    @property
    def address(self) -> str:
        """Where the server is asked."""
        host, port = self.server_address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{self._path}"

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve in a thread of its own inside the block, and give the address; at its end finish what is under way."""
        thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        thread.start()
        try:
            yield self.address
        finally:
            self._server.should_exit = True
            thread.join()
            if self.guard.under_way:
                log.warning("stopped with %d requests unanswered", self.guard.under_way)
            self.server_close()

    def __enter__(self) -> HttpServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.server_close()

    def server_close(self) -> None:
        """Free the address."""
        self._socket.close()


class _Server(uvicorn.Server):
    """uvicorn's server, which stays quiet where no further connection can be taken, and tries again each second."""

    _told = float("-inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._tell)
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(BACKLOG)

    def _tell(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            if loop.time() - self._told >= TELL_SECONDS:
                self._told = loop.time()
                log.warning("no further connection can be taken: %s; clients wait until others left", error.strerror)
        elif not (self.should_exit and isinstance(error, ValueError)):  # what was to be tried again is closed
            loop.default_exception_handler(context)


class AuditLog:
    """A file with a line of JSON for each request: when, who, what, how it ended; no text, no token.

    Raises:
        OptionError: the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        try:
            self._path.open("a").close()
        except OSError as error:
            raise OptionError(f"cannot write the audit log {path}: {error.strerror}; choose another place") from error

    def write(self, line: str) -> None:
        """Add a line; the file may have been moved away, as logs are, and a full disk stops no server."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            log.warning("the audit log cannot be written: %s", error)
