"""One lookup over folders, memory, the cache and the network, in this order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from sequester.errors import printable
from sequester.evidence.fetching.cache import Cache
from sequester.evidence.fetching.document import FOR_EVER, Document
from sequester.evidence.fetching.fetcher import Clock, Fetcher, FetchError
from sequester.evidence.fetching.saved import Saved

_UNTRIED = 300.0
"""Seconds for which an address that could not be had is not tried again."""
_TURNS = 64
"""Addresses that are asked for at the same time, at most; one address is never."""
_MOST_KEPT, _MOST_BYTES = 4096, 256 << 20


class Stack:
    """Finds documents by the vendors' addresses. `lookup` is the `Lookup` that evidence is appraised with.

    `note` is told, once for each address, why a document could not be had. `anew` takes only what is good for ever
    from the cache, so that what is had is as new as it can be. `found` and `missing` are what was asked for.
    """

    def __init__(
        self,
        saved: Mapping[str, Saved] | None = None,
        cache: Cache | None = None,
        fetcher: Fetcher | None = None,
        note: Callable[[str], None] = lambda text: None,
        anew: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Clock = time.monotonic,
    ) -> None:
        self._saved = saved or {}
        self._cache = cache
        self._fetcher = fetcher
        self._note = note
        self._anew = anew
        self._now = now
        self._clock = clock
        self._kept: dict[str, Document] = {}
        self._size = 0
        self._failed: dict[str, float] = {}
        self._noted: set[str] = set()
        self._guard = threading.Lock()
        self._turns = tuple(threading.Lock() for _ in range(_TURNS))

    def lookup(self, address: str) -> bytes | None:
        """Return what is at an address; None where it cannot be had."""
        found = self.find(address)
        return None if found is None else found.data

    def find(self, address: str) -> Document | None:
        """Return the document at an address; None where it cannot be had.

        What is out of date comes from a folder only, and only where nothing newer can be had: who judges says so.
        """
        whole = address.partition("#")[0]
        with self._turns[hash(whole) % _TURNS]:  # a document and its chain come in one answer
            saved = self._saved[address].read() if address in self._saved else None
            if saved is not None and (self._fetcher is None or self._good(saved)):
                return saved
            return self._remembered(address) or self._fetched(address, whole) or saved

    def _remembered(self, address: str) -> Document | None:
        kept = self._kept.get(address)
        if kept is not None and self._good(kept):
            return kept
        cached = self._cache.get(address) if self._cache is not None else None
        if cached is None or not self._good(cached) or (self._anew and cached.until != FOR_EVER):
            return None
        self._keep(cached)
        return cached

    def _fetched(self, address: str, whole: str) -> Document | None:
        if self._fetcher is None or self._clock() < self._failed.get(address, float("-inf")):
            return None
        try:
            documents = self._fetcher.fetch(whole)
        except FetchError as error:
            self._fail(address, str(error))
            return None
        found = next((each for each in documents if each.address == address), None)
        if found is None:
            self._fail(address, "no issuer chain came with the answer")
        elif not self._good(found):
            self._fail(address, f"what came was good until {found.until:%Y-%m-%d %H:%M} UTC only")
            return None
        for document in documents:
            self._keep(document)
            if self._cache is not None and (why := self._cache.put(document)):
                self._cache = None
                self._say("", f"nothing is cached: {why}")
        return found

    def _fail(self, address: str, why: str) -> None:
        with self._guard:
            if len(self._failed) >= _MOST_KEPT:
                self._failed.clear()
            self._failed[address] = self._clock() + _UNTRIED
        self._say(address.partition("#")[0], f"{address} could not be had: {why}")

    def _say(self, address: str, text: str) -> None:
        with self._guard:
            if address in self._noted or len(self._noted) >= _MOST_KEPT:
                return
            self._noted.add(address)
        self._note(printable(text))

    def _keep(self, document: Document) -> None:
        with self._guard:
            if len(self._kept) >= _MOST_KEPT or self._size + len(document.data) > _MOST_BYTES:
                self._kept.clear()
                self._size = 0
            self._kept[document.address] = document
            self._size += len(document.data)

    def _good(self, document: Document) -> bool:
        return self._now() < document.until
