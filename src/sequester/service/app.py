"""The ASGI application: evidence in, its appraisal out.

=======================  =======================================================================================
``POST /v1/appraisals``  evidence as it is (any content type but JSON's), or JSON: ``{"evidence": BASE64,
                         "report_data": HEX}`` or evidence in a JSON wrapping; 200 with the appraisal, whatever its
                         verdict; 400 for what is no evidence, 408 too slow, 413 too large, 429 and 503 too busy
``GET /health``          200 while it runs
``GET /metrics``         counts, for Prometheus
=======================  =======================================================================================

Policy and collateral come with the process and stay as they are, so that every copy gives the same answer. A request
can ask for more than the policy, with its challenge, never for less.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester.batch.appraise import Held
from sequester.batch.records import LARGEST_REPORT_DATA, Record, record_of
from sequester.errors import InputError, SequesterError
from sequester.evidence.appraisal import Appraisal
from sequester.service.metrics import Metrics

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

SCHEMA = "sequester-error/1"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and all at once, may take: bytes of a body, seconds until it has arrived, seconds until its
    answer, and appraisals at the same time (as many again may wait)."""

    body: int = 4 << 20
    arrival: float = 10.0
    answer: float = 10.0
    at_once: int = 4


class RequestError(Exception):
    """A request that is not appraised: the HTTP status, a stable code and a text."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text


def application(
    held: Held,
    tell: Callable[[Appraisal], dict[str, Any]],
    clock: Callable[[], datetime],
    limits: Limits | None = None,
) -> Starlette:
    """Return the application. `held` is what all evidence is held against, at the time that `clock` tells."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    desk = _Desk(held, tell, clock, limits or Limits())
    return Starlette(
        routes=[
            Route("/v1/appraisals", desk.appraise, methods=["POST"]),
            Route("/health", desk.health, methods=["GET"]),
            Route("/metrics", desk.measure, methods=["GET"]),
        ]
    )


class _Desk:
    def __init__(
        self,
        held: Held,
        tell: Callable[[Appraisal], dict[str, Any]],
        clock: Callable[[], datetime],
        limits: Limits,
    ) -> None:
        self._held = held
        self._tell = tell
        self._clock = clock
        self._limits = limits
        self._turn = asyncio.Semaphore(limits.at_once)
        self._present = 0
        self._metrics = Metrics()

    async def appraise(self, request: Request) -> Response:
        """Answer one request."""
        from starlette.responses import JSONResponse

        try:
            if self._present >= 2 * self._limits.at_once:
                raise RequestError(503, "service.busy", "too many requests at once; try again")
            self._present += 1
            try:
                return JSONResponse(await self._appraised(request))
            finally:
                self._present -= 1
        except RequestError as refused:
            self._metrics.refused(refused.code)
            told = {"schema": SCHEMA, "code": refused.code, "error": refused.text}
            headers = {"Retry-After": "1"} if refused.status == 503 else {}
            return JSONResponse(told, refused.status, headers=headers)

    async def _appraised(self, request: Request) -> dict[str, Any]:
        record = _record(request, await self._body(request))
        started = time.perf_counter()
        held = replace(self._held, now=self._clock())
        try:
            async with asyncio.timeout(self._limits.answer), self._turn:
                appraisal = await asyncio.to_thread(held.against, record)
        except TimeoutError:
            raise RequestError(503, "service.slow", "the appraisal took too long") from None
        except InputError as error:
            raise RequestError(400, error.code, str(error)) from None
        except SequesterError as error:
            raise RequestError(500, error.code, str(error)) from None
        codes = tuple(check.code for check in appraisal.checks if check.failed)
        seconds = time.perf_counter() - started
        self._metrics.appraised(appraisal.kind, appraisal.accepted, codes, seconds)
        return self._tell(appraisal)

    async def _body(self, request: Request) -> bytes:
        limit = self._limits.body
        too_large = RequestError(413, "evidence.size", f"more than {limit} bytes")
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limit:
            raise too_large
        from starlette.requests import ClientDisconnect

        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.arrival):
                async for part in request.stream():
                    size += len(part)
                    if size > limit:
                        raise too_large
                    parts.append(part)
        except TimeoutError:
            raise RequestError(408, "service.arrival", "the request did not arrive in time") from None
        except ClientDisconnect:
            raise RequestError(400, "service.arrival", "the request ended too early") from None
        return b"".join(parts)

    async def health(self, _request: Request) -> Response:
        """Say that this process answers."""
        from starlette.responses import JSONResponse

        return JSONResponse({"status": "ok"})

    async def measure(self, _request: Request) -> Response:
        """Give the counts."""
        from starlette.responses import PlainTextResponse

        return PlainTextResponse(self._metrics.text(), media_type="text/plain; version=0.0.4")


def _record(request: Request, body: bytes) -> Record:
    """Return what a request brings: our own JSON, or evidence as it is, whose challenge may be in a header."""
    name = "evidence"
    if not body:
        raise RequestError(400, "evidence.unknown", "the request is empty")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        import json

        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            raise RequestError(400, "evidence.syntax", "the request is no JSON") from None
        if isinstance(told, dict) and isinstance(told.get("evidence"), str):
            try:
                return record_of(told, name)
            except InputError as error:
                raise RequestError(400, error.code, str(error)) from None
    return Record(name, body, _challenge(request))


def _challenge(request: Request) -> bytes | None:
    told = request.query_params.get("report_data")
    if told is None:
        return None
    try:
        challenge = bytes.fromhex(told)
    except ValueError:
        raise RequestError(400, "evidence.syntax", "report_data is no hex") from None
    if len(challenge) > LARGEST_REPORT_DATA:
        raise RequestError(400, "evidence.syntax", f"report_data has {len(challenge)} bytes")
    return challenge
