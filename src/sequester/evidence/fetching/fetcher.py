"""Asks the vendors' services with patience: again after a passing fault, when they say, and not too often.

AMD's service answers clients that ask often with 429. How often is too often is not published; what its users found is
about one request in ten seconds, so that requests beyond the first few are spaced from the start.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

from sequester.errors import InputError
from sequester.evidence.fetching.document import Document, UnfitError, made
from sequester.evidence.fetching.network import Answer, AnswerError, may_be_asked, request
from sequester.evidence.snp import kds
from sequester.evidence.tdx.pcs import ISSUER_CHAIN

_AMD = urlsplit(kds.SITE).hostname or ""
_INTEL = "api.trustedservices.intel.com"
_INTEL_ROOT = "certificates.trustedservices.intel.com"
VENDORS = frozenset((_AMD, _INTEL, _INTEL_ROOT))
"""The only hosts that are asked, besides those that stand in for them."""
_ROOT_LIST = "/IntelSGXRootCA.der"
_CHAIN_HEADERS = {
    "/tcb": "tcb-info-issuer-chain",
    "/qe/identity": "sgx-enclave-identity-issuer-chain",
    "/pckcrl": "sgx-pck-crl-issuer-chain",
}
_CERTIFICATION = "/sgx/certification/v4"
_HEX = re.compile(rb"\s*(?:[0-9A-Fa-f]{2})+\s*")
_BUSY = (429, 503)
_SHUT, _LONGEST_SHUT = 30.0, 600.0
"""Seconds for which a host that does not answer, or asks to be left alone, is not asked for anything."""
_LEAST = 0.1
_SECONDS = re.compile(r"\s*([0-9]{1,9})\s*")

Opener = Callable[[str, float], Answer]
"""Address and seconds → answer. Raises AnswerError."""
Sleep = Callable[[float], None]
Clock = Callable[[], float]


class FetchError(Exception):
    """A document that could not be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one document is tried for: seconds in all, tries, and the first pause, which doubles each time."""

    total: float = 60.0
    tries: int = 4
    pause: float = 0.5


@dataclass(frozen=True, slots=True)
class _Failure:
    """A try that failed: why, whether to try again, and whether all that is asked of the host would fail so.

    `wait` is the least number of seconds until another try, as the host asked for it.
    """

    why: str
    again: bool
    of_host: bool
    wait: float = 0.0


class Spacing:
    """Lets a few requests through at once, and the others at intervals."""

    def __init__(self, burst: int, interval: float, clock: Clock, sleep: Sleep) -> None:
        self._free_at = [clock()] * burst
        self._interval = interval
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when the next request may be made."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._free_at.pop(0))
            self._free_at.append(max(turn, self._free_at[-1] if self._free_at else turn) + self._interval)
        if turn > now:
            self._sleep(turn - now)


def sites_of_pccs(pccs: str) -> Mapping[str, str]:
    """Return who stands in for Intel's hosts, with a PCCS. Raises InputError for what is no address of one."""
    base = pccs.strip().rstrip("/").removesuffix(_CERTIFICATION)
    if not may_be_asked(base) or urlsplit(base).query or urlsplit(base).fragment:
        raise InputError(
            f"'{pccs[:100]}' is no address of a PCCS",
            code="usage.pccs",
            remedy="https://HOST:8081, or http:// on this machine only",
        )
    return {_INTEL: base, _INTEL_ROOT: base}


@dataclass(slots=True)
class Fetcher:
    """Fetches documents by the vendors' addresses.

    `sites` has the base URL that stands in for a vendor's host: a PCCS for Intel's, a server of their own for tests.
    `now` tells the time of day, `clock` and `sleep` the time that passes, in seconds.
    """

    sites: Mapping[str, str] = field(default_factory=dict)
    patience: Patience = Patience()
    opener: Opener = request
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock: Clock = time.monotonic
    sleep: Sleep = time.sleep
    jitter: Callable[[], float] = random.random
    amd_burst: int = 4
    amd_interval: float = 10.0
    _spacing: Spacing = field(init=False)
    _shut: dict[str, tuple[float, str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._spacing = Spacing(self.amd_burst, self.amd_interval, self.clock, self.sleep)

    def fetch(self, address: str) -> tuple[Document, ...]:
        """Return the document at an address, and the issuer chain that came with it under an address of its own.

        Raises FetchError. The chain may be used as long as what it came with.
        """
        place = self._place(address)
        answer = self._patiently(place, urlsplit(address).hostname == _AMD)
        try:
            found = made(address, _binary(address, answer.body), self.now())
            chain = self._chain(found, answer)
        except UnfitError as error:
            raise FetchError(f"what {_host(place)} sent is not what it should be: {error}") from None
        return (found,) if chain is None else (found, chain)

    def _place(self, address: str) -> str:
        parts = urlsplit(address)
        if parts.scheme != "https" or parts.netloc not in VENDORS:
            raise FetchError("it is at none of the hosts that are asked")
        base = self.sites.get(parts.netloc)
        if base is None:
            return address
        if parts.netloc == _INTEL_ROOT and parts.path == _ROOT_LIST:
            return f"{base}{_CERTIFICATION}/rootcacrl"
        return f"{base}{parts.path}{f'?{parts.query}' if parts.query else ''}"

    def _patiently(self, place: str, spaced: bool) -> Answer:
        host = _host(place)
        shut_until, why = self._shut.get(host, (0.0, ""))
        if why and self.clock() < shut_until:
            raise FetchError(f"{host} is not asked for a while: {why}")
        end: float | None = None
        failure, pause = _Failure("", False, False), self.patience.pause
        for count in range(1, self.patience.tries + 1):
            if spaced:
                self._spacing.wait()
            if end is None:
                end = self.clock() + self.patience.total
            tried = self._try(place, max(end - self.clock(), _LEAST))
            if isinstance(tried, Answer):
                return tried
            failure = tried
            wait = max(pause * (1 + self.jitter()), failure.wait)
            if not failure.again or count == self.patience.tries or self.clock() + wait >= end:
                break
            self.sleep(wait)
            pause *= 2
        if failure.of_host:
            self._shut[host] = self.clock() + min(max(_SHUT, failure.wait), _LONGEST_SHUT), failure.why
        raise FetchError(f"{host} did not send it: {failure.why}")

    def _try(self, place: str, seconds: float) -> Answer | _Failure:
        try:
            answer = self.opener(place, seconds)
        except AnswerError as error:
            return _Failure(str(error), error.again, error.silent)
        if answer.status == 200:
            return answer
        busy = answer.status in _BUSY
        wait = self._asked_to_wait(answer) if busy else 0.0
        return _Failure(_refusal(answer), busy or answer.status >= 500, busy, wait)

    def _asked_to_wait(self, answer: Answer) -> float:
        """Return the seconds of Retry-After, which is a number or a date; 0 where it is neither."""
        said = answer.headers.get("retry-after", "")
        if number := _SECONDS.fullmatch(said):
            return float(number[1])
        try:
            date = parsedate_to_datetime(said)
        except (ValueError, OverflowError):
            return 0.0
        date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        return max(0.0, (date - self.now()).total_seconds())

    def _chain(self, found: Document, answer: Answer) -> Document | None:
        path = urlsplit(found.address).path
        header = next((name for end, name in _CHAIN_HEADERS.items() if path.endswith(end)), "")
        said = answer.headers.get(header, "")
        if not said:
            return None
        address = found.address + ISSUER_CHAIN
        chain = made(address, unquote(said).encode(), found.fetched)
        return Document(address, chain.data, chain.fetched, found.until)


def _binary(address: str, body: bytes) -> bytes:
    """Return a list in DER: a PCCS sends the root's in hex, an old one every list."""
    if urlsplit(address).path.endswith((_ROOT_LIST, "/pckcrl")) and _HEX.fullmatch(body):
        return bytes.fromhex(body.decode())
    return body


def _refusal(answer: Answer) -> str:
    if 300 <= answer.status < 400:
        return f"{answer.status}: it points to {answer.headers.get('location', 'nowhere')[:200]}"
    if after := answer.headers.get("retry-after"):
        return f"{answer.status}, and to come again after {after[:40]}"
    return str(answer.status)


def _host(place: str) -> str:
    return urlsplit(place).netloc
