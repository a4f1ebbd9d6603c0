"""moto's S3 and STS behind a guard that keeps session policies, which moto takes and does not enforce.

Requests with a key that ``AssumeRole`` gave are checked against that session's policy and end; others pass as they are. An
object that is not there is told as forbidden unless listing without a prefix is allowed: the strictest that servers are.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree

from tests.session_policies import Asked, allows

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_CREDENTIAL = re.compile(r"Credential=([^/]+)/")


@dataclass(frozen=True)
class Seen:
    """A request that came with a key."""

    key: str
    method: str
    asked: Asked
    allowed: bool
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Session:
    policy: dict[str, Any]
    ends_at: float
    duration_s: int


class Guard:
    """The application in front of moto's.

    Attributes:
        now: Clock of the store and of STS.
        broken: What ``AssumeRole`` is answered instead, as a status and an error code.
    """

    def __init__(self, inner: Application) -> None:
        self._inner = inner
        self.now: Callable[[], float] = time.time
        self.sessions: dict[str, Session] = {}
        self.seen: list[Seen] = []
        self.broken: tuple[int, str] | None = None
        self._writing = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        found = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        key = found.group(1) if found else ""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        if environ["REQUEST_METHOD"] == "POST" and b"Action=AssumeRole" in body:
            return self._assume(environ, body, start_response)
        session = self.sessions.get(key)
        asked = asked_of(environ)
        allowed = session is None or all(allows(session.policy, one, self.now()) for one in asked)
        if key:
            self.seen += [Seen(key, environ["REQUEST_METHOD"], one, allowed, body) for one in asked]
        if session is not None and self.now() >= session.ends_at:
            return _error(start_response, 400, "ExpiredToken", environ)
        if not allowed:
            return _error(start_response, 403, "AccessDenied", environ)
        status, headers, content = self._answer(environ)
        if session is not None and status.startswith("404") and asked[0].action == "s3:GetObject":
            listing = Asked("s3:ListBucket", asked[0].resource.split("/", 1)[0])
            if not allows(session.policy, listing, self.now()):
                return _error(start_response, 403, "AccessDenied", environ)
        start_response(status, headers)
        return content

    def _assume(self, environ: dict[str, Any], body: bytes, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self.broken is not None:
            return _error(start_response, *self.broken, environ)
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        status, headers, content = self._answer(environ)
        document = ElementTree.fromstring(b"".join(content))
        name = next(found.text or "" for found in document.iter() if found.tag.endswith("AccessKeyId"))
        duration_s = int(form["DurationSeconds"])
        with self._writing:
            self.sessions[name] = Session(json.loads(form["Policy"]), self.now() + duration_s, duration_s)
        start_response(status, headers)
        return content

    def _answer(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], list[bytes]]:
        told: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], _problem: object = None) -> None:
            told[:] = [status, headers]

        content = list(self._inner(environ, start))
        return told[0], told[1], content

    def asked_with(self, key: str) -> list[Seen]:
        """What was asked with this key."""
        return [seen for seen in self.seen if seen.key == key]


def asked_of(environ: dict[str, Any]) -> list[Asked]:
    """The actions that a path-style S3 request needs."""
    method, query = environ["REQUEST_METHOD"], parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    bucket, _, key = unquote(environ["PATH_INFO"]).lstrip("/").partition("/")
    arn = f"arn:aws:s3:::{bucket}"
    if not key:
        plain_list = method == "GET" and "list-type" in query
        context = {"s3:prefix": query["prefix"][0]} if "prefix" in query else {}
        return [Asked("s3:ListBucket" if plain_list else f"s3:{method}-bucket", arn, context)]
    actions = {
        "GET": "s3:ListMultipartUploadParts" if "uploadId" in query else "s3:GetObject",
        "HEAD": "s3:GetObject",
        "PUT": "s3:PutObject",
        "POST": "s3:PutObject",
        "DELETE": "s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject",
    }
    asked = [Asked(actions[method], f"{arn}/{key}")]
    source = environ.get("HTTP_X_AMZ_COPY_SOURCE")
    return asked + ([Asked("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/')}")] if source else [])


def _error(start_response: Callable[..., Any], status: int, code: str, environ: dict[str, Any]) -> Iterable[bytes]:
    start_response(f"{status} {code}", [("Content-Type", "application/xml")])
    if environ["REQUEST_METHOD"] == "HEAD":
        return []
    inner = f"<Code>{code}</Code><Message>{code} by the guard</Message>"
    of_sts = environ["PATH_INFO"] == "/"
    return [
        (f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>" if of_sts else f"<Error>{inner}</Error>").encode()
    ]


@contextlib.contextmanager
def guarded_s3_server() -> Iterator[tuple[str, Guard]]:
    """Start moto behind a guard, on a free port of 127.0.0.1; yields its URL and the guard."""
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    guard = Guard(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, guard, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", guard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
