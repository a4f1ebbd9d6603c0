"""The cloud's HTTP side: moto's EC2, S3 and STS behind a layer that remembers calls and makes them fail.

What lies below ``/_cloud/`` is the emulator's own control, so that another process than the emulator's can set
faults: see :class:`Control`.
"""

from __future__ import annotations

import io
import json
import random
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

ANY = "*"


@dataclass
class Faults:
    """What goes wrong now. Change it at any time.

    Attributes:
        no_capacity: Instance type, market (``spot``, ``on-demand``) and, where given, subnet that are sold out; ``*``
            is any.
        throttle_calls: How many of the next EC2 calls are refused with RequestLimitExceeded.
        throttle_rate: Which share of EC2 calls is refused so.
        throttle_actions: Only these calls are refused; none named means all.
        error: EC2's error code for every call, for example ``InternalError``; empty for none.
        unreachable: Connections are cut without an answer, S3's too.
        boot_s: How long a machine that is made from now on boots.
    """

    no_capacity: list[list[str]] = field(default_factory=list)
    throttle_calls: int = 0
    throttle_rate: float = 0.0
    throttle_actions: list[str] = field(default_factory=list)
    error: str = ""
    unreachable: bool = False
    boot_s: float = 0.0


@dataclass(frozen=True)
class Call:
    """An EC2 call as it came in, with what it was answered: an HTTP status, 0 for none."""

    action: str
    form: dict[str, str]
    status: int


class Api:
    """WSGI application in front of moto's.

    Args:
        behind: Moto's application.
        books: Held by whoever reads or changes moto's instances, so that nobody sees one that is half made.
        noticed: Called after each call that may change instances.
        act: Does what :class:`Control` asks for besides faults: name and arguments, an answer that JSON knows.
    """

    def __init__(
        self,
        behind: Callable[..., Any],
        books: threading.Lock,
        noticed: Callable[[], None],
        act: Callable[[str, dict[str, Any]], Any],
    ) -> None:
        self._behind, self._books, self._noticed, self._act = behind, books, noticed, act
        self.faults, self.calls = Faults(), []
        self._once: dict[str, tuple[str, list[tuple[str, str]], bytes]] = {}
        self._random = random.Random(7)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        path = environ.get("PATH_INFO", "")
        if path.startswith("/_cloud/"):
            return self._control(path.removeprefix("/_cloud/"), environ["wsgi.input"].read(length), start_response)
        if self.faults.unreachable:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError("the cloud does not answer")
        kind = environ.get("CONTENT_TYPE", "")
        if not kind.startswith("application/x-www-form-urlencoded"):
            return self._behind(environ, start_response)  # S3, whose bodies may be long
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
        form = {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
        action = form.get("Action", "")
        if form.get("Version") != "2016-11-15":  # EC2's own; STS and others are not made to fail
            return self._behind(environ, start_response)
        return self._ec2(action, form, environ, start_response)

    def _ec2(
        self, action: str, form: dict[str, str], environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        code, status = self._fault(action, form)
        if code:
            self.calls.append(Call(action, form, int(status[:3])))
            return _error(code, status, start_response)
        token = form.get("ClientToken", "") if action == "RunInstances" else ""
        with self._books:
            # One at a time: moto's objects are not made for threads, and a repeated token must find the first answer.
            if token not in self._once:
                seen: list[Any] = []
                body = b"".join(self._behind(environ, lambda *said: seen.extend(said[:2])))
                answer = (seen[0], seen[1], body)
                if token and seen[0].startswith("200"):
                    self._once[token] = answer
            else:
                answer = self._once[token]
        self.calls.append(Call(action, form, int(answer[0][:3])))
        if not action.startswith("Describe"):
            self._noticed()
        start_response(answer[0], answer[1])
        return [answer[2]]

    def _fault(self, action: str, form: dict[str, str]) -> tuple[str, str]:
        faults = self.faults
        if faults.error:
            return faults.error, "500 Internal Server Error"
        if not faults.throttle_actions or action in faults.throttle_actions:
            if faults.throttle_calls > 0:
                faults.throttle_calls -= 1
                return "RequestLimitExceeded", "503 Service Unavailable"
            if self._random.random() < faults.throttle_rate:
                return "RequestLimitExceeded", "503 Service Unavailable"
        if action == "RunInstances":
            market = form.get("InstanceMarketOptions.MarketType", "on-demand")
            subnet = form.get("NetworkInterface.1.SubnetId") or form.get("SubnetId", "")
            wanted = (form.get("InstanceType", ""), market, subnet)
            for pattern in faults.no_capacity:
                if all(part in (ANY, value) for part, value in zip(pattern, wanted, strict=False)):
                    return "InsufficientInstanceCapacity", "500 Internal Server Error"
        return "", ""

    def _control(self, name: str, body: bytes, start_response: Callable[..., Any]) -> Iterable[bytes]:
        arguments = json.loads(body or b"{}")
        try:
            if name == "faults":
                for key, value in arguments.items():
                    getattr(self.faults, key)
                    setattr(self.faults, key, value)
                answer = vars(self.faults)
            else:
                answer = self._act(name, arguments)
        except (AttributeError, KeyError, TypeError, ValueError) as problem:
            start_response("400 Bad Request", [("Content-Type", "application/json")])
            return [json.dumps({"problem": str(problem)}).encode()]
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]


def _error(code: str, status: str, start_response: Callable[..., Any]) -> list[bytes]:
    message = {"InsufficientInstanceCapacity": "We currently do not have sufficient capacity."}.get(code, code)
    start_response(status, [("Content-Type", "text/xml")])
    text = f"<Response><Errors><Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error></Errors>"
    return [f"{text}<RequestID>emulated</RequestID></Response>".encode()]


class Control:
    """Sets faults and acts on machines of an emulator in any process: ``Control(url).faults(unreachable=True)``."""

    def __init__(self, url: str) -> None:
        self._url = url

    def faults(self, **changes: Any) -> dict[str, Any]:
        """Change some of :class:`Faults`; all of them as they are then."""
        return self._ask("faults", changes)

    def machines(self) -> list[dict[str, Any]]:
        """Machines that exist: ``id``, ``region``, ``address``, ``type``, ``spot``, ``tags``."""
        return self._ask("machines", {})

    def reclaim(self, instance: str, notice_s: float = 120.0) -> None:
        """Announce at the machine's metadata address that it is taken back, and do it then."""
        self._ask("reclaim", {"instance": instance, "notice_s": notice_s})

    def fail(self, instance: str) -> None:
        """Let the machine's host break: it is off at once, without notice."""
        self._ask("fail", {"instance": instance})

    def cut(self, instance: str) -> None:
        """Partition: pull the machine's cable."""
        self._ask("cut", {"instance": instance})

    def mend(self, instance: str) -> None:
        self._ask("mend", {"instance": instance})

    def limit(self, instance: str, mbps: float | None) -> None:
        """Make its wire thin."""
        self._ask("limit", {"instance": instance, "mbps": mbps})

    def console(self, instance: str) -> str:
        return self._ask("console", {"instance": instance})

    def _ask(self, name: str, arguments: dict[str, Any]) -> Any:
        request = urllib.request.Request(f"{self._url}/_cloud/{name}", json.dumps(arguments).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as refused:
            raise ValueError(f"{name} {arguments}: {refused.read().decode(errors='replace')}") from refused
