"""Where documents come from, in which order, and until when: folders, memory, the cache, the network."""

from __future__ import annotations

import json
import os
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snp_made import Vendor, der

from sequester.errors import InputError
from sequester.evidence.fetching.cache import Cache, cache_folder
from sequester.evidence.fetching.document import FOR_EVER, Document
from sequester.evidence.fetching.entry import read_entry, told_of
from sequester.evidence.fetching.fetcher import Fetcher
from sequester.evidence.fetching.network import Answer, AnswerError
from sequester.evidence.fetching.saved import read_index, write_folder
from sequester.evidence.fetching.stack import Stack
from sequester.evidence.snp import kds

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
VENDOR = Vendor("Genoa")
LIST = kds.list_address("Genoa")
VCEK = kds.vcek_address("Genoa", VENDOR.chip_id, 0)
CERTIFICATE = der(VENDOR.vcek())
DAY = timedelta(days=1)


def a_list(days: int = 5) -> bytes:
    return VENDOR.revocations(begin=NOW - DAY, end=NOW + timedelta(days=days))


@dataclass
class World:
    """A clock that is set, and vendors that answer from a table and count."""

    now: datetime = NOW
    seconds: float = 0.0
    there: dict[str, bytes] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    notes: list[str] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    def open(self, address: str, seconds: float) -> Answer:
        self.asked[address] += 1
        self.before()
        if address not in self.there:
            return Answer(404, {}, b"")
        return Answer(200, {}, self.there[address])

    def stack(self, folder: Path | None = None, saved: str = "", anew: bool = False) -> Stack:
        return Stack(
            read_index(saved) if saved else {},
            None if folder is None else Cache(folder),
            Fetcher(
                opener=self.open,
                now=lambda: self.now,
                clock=lambda: self.seconds,
                sleep=lambda _: None,
                jitter=lambda: 0.0,
            ),
            self.notes.append,
            anew,
            lambda: self.now,
            lambda: self.seconds,
        )


def test_what_was_fetched_is_asked_for_once_and_then_cached(tmp_path: Path) -> None:
    world = World(there={LIST: a_list(), VCEK: CERTIFICATE})
    first = world.stack(tmp_path / "new" / "cache")
    for _ in range(3):
        assert first.lookup(LIST) == world.there[LIST]
        assert first.lookup(VCEK) == CERTIFICATE
    second = world.stack(tmp_path / "new" / "cache")
    assert second.lookup(LIST) == world.there[LIST]
    assert world.asked == {LIST: 1, VCEK: 1}
    assert world.notes == []


def test_files_of_the_cache_are_named_by_their_address_and_their_owners_alone(tmp_path: Path) -> None:
    world = World(there={LIST: a_list()})
    world.stack(tmp_path / "cache").lookup(LIST)
    name = sha256(LIST.encode()).hexdigest()
    assert sorted(os.listdir(tmp_path / "cache")) == [name, f"{name}.json"]
    entry = json.loads((tmp_path / "cache" / f"{name}.json").read_text())
    assert (entry["address"], entry["until"]) == (LIST, (NOW + 5 * DAY).isoformat())
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "cache").iterdir()} == {0o600}


def test_nothing_is_used_beyond_its_time(tmp_path: Path) -> None:
    world = World(there={LIST: a_list(5)})
    stack = world.stack(tmp_path)
    stack.lookup(LIST)
    world.now = NOW + 5 * DAY - timedelta(seconds=1)
    stack.lookup(LIST)
    assert world.asked[LIST] == 1
    world.now = NOW + 5 * DAY
    world.there[LIST] = newer = a_list(9)
    assert stack.lookup(LIST) == newer
    assert world.stack(tmp_path).lookup(LIST) == newer
    assert world.asked[LIST] == 2
    world.now = NOW + 9 * DAY
    world.there.clear()
    assert world.stack(tmp_path).lookup(LIST) is None


def test_a_chips_certificate_is_used_for_ever(tmp_path: Path) -> None:
    world = World(there={VCEK: CERTIFICATE})
    world.stack(tmp_path).lookup(VCEK)
    world.now = NOW + 20_000 * DAY
    assert world.stack(tmp_path).lookup(VCEK) == CERTIFICATE
    assert world.asked[VCEK] == 1


def test_what_comes_out_of_date_is_neither_used_nor_kept_and_said_to_be_so(tmp_path: Path) -> None:
    world = World(there={LIST: VENDOR.revocations(begin=NOW - 9 * DAY, end=NOW - DAY)})
    assert world.stack(tmp_path).lookup(LIST) is None
    assert os.listdir(tmp_path) == []
    assert "was good until 2026-11-26 12:00 UTC only" in world.notes[0]


def test_what_could_not_be_had_is_said_once_and_tried_again_after_a_while(tmp_path: Path) -> None:
    world = World()
    stack = world.stack(tmp_path)
    for _ in range(5):
        assert stack.lookup(LIST) is None
    assert world.asked[LIST] == 1
    assert stack.lookup(LIST + "#issuer-chain") is None
    assert world.notes == [f"{LIST} could not be had: kdsintf.amd.com did not send it: 404"]
    world.seconds = 301
    world.there[LIST] = a_list()
    assert stack.lookup(LIST) == world.there[LIST]
    assert len(world.notes) == 1


def test_what_a_server_says_does_not_steer_a_terminal() -> None:
    world = World()

    def failing() -> None:
        raise AnswerError("\x1b[2J gone", again=False)

    world.before = failing
    world.stack().lookup(LIST)
    assert world.notes[0].isprintable()


def test_many_who_ask_for_one_address_make_one_request() -> None:
    world = World(there={LIST: a_list()})
    meeting = threading.Barrier(8)
    held = threading.Event()
    world.before = lambda: bool(held.wait(0.1)) and None
    stack = world.stack()
    found: list[bytes | None] = []

    def ask() -> None:
        meeting.wait()
        found.append(stack.lookup(LIST))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [world.there[LIST]] * 8
    assert world.asked[LIST] == 1


def test_a_chain_that_did_not_come_with_its_table_is_said_to_be_missing() -> None:
    world = World(there={LIST: a_list()})
    assert world.stack().lookup(LIST + "#issuer-chain") is None
    assert "no issuer chain came" in world.notes[0]


def test_a_cache_that_cannot_be_written_is_said_once_and_does_without(tmp_path: Path) -> None:
    world = World(there={LIST: a_list(), VCEK: CERTIFICATE})
    (tmp_path / "file").write_bytes(b"")
    stack = world.stack(tmp_path / "file" / "cache")
    assert stack.lookup(LIST) == world.there[LIST]
    assert stack.lookup(VCEK) == CERTIFICATE
    (note,) = world.notes
    assert note.startswith("nothing is cached: ")


def test_a_cache_folder_without_leave_to_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    world = World(there={LIST: a_list()})
    assert world.stack(tmp_path).lookup(LIST) == world.there[LIST]
    assert "No space left" in world.notes[0]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(a_list(7)),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_bytes(b"{"),
        lambda path: path.with_suffix(".json").write_bytes(b"[" * 9000),
        lambda path: path.with_suffix(".json").write_bytes(bytes(1 << 20)),
        lambda path: path.with_suffix(".json").write_text("[]"),
        lambda path: path.with_suffix(".json").write_text(
            path.with_suffix(".json").read_text().replace("Genoa", "Milan")
        ),
        lambda path: path.with_suffix(".json").write_text(
            path.with_suffix(".json").read_text().replace("+00:00", "")
        ),
    ],
)
def test_a_cache_that_is_spoilt_is_as_good_as_none(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    world = World(there={LIST: a_list()})
    world.stack(tmp_path).lookup(LIST)
    spoil(tmp_path / sha256(LIST.encode()).hexdigest())
    assert world.stack(tmp_path).lookup(LIST) == world.there[LIST]
    assert world.asked[LIST] == 2
    assert world.stack(tmp_path).lookup(LIST) == world.there[LIST]
    assert world.asked[LIST] == 2, "it is mended"


def test_a_folder_is_asked_before_all_else_and_its_old_documents_only_where_there_is_nothing_newer(
    tmp_path: Path,
) -> None:
    saved, old = str(tmp_path / "saved"), a_list(1)
    write_folder(saved, [Document(LIST, old, NOW, NOW + DAY)])
    world = World(there={LIST: a_list(5)})
    assert world.stack(saved=saved).lookup(LIST) == old
    assert world.asked == {}
    world.now = NOW + 2 * DAY
    assert Stack(read_index(saved)).lookup(LIST) == old, "who judges it says that it is old"
    assert world.stack(saved=saved).lookup(LIST) == world.there[LIST]
    world.there.clear()
    assert world.stack(saved=saved).lookup(LIST) == old


def test_to_fill_a_folder_only_what_is_for_ever_is_taken_from_the_cache(tmp_path: Path) -> None:
    world = World(there={LIST: a_list(3), VCEK: CERTIFICATE})
    for address in (LIST, VCEK):
        world.stack(tmp_path).lookup(address)
    world.there[LIST] = newer = a_list(5)
    stack = world.stack(tmp_path, anew=True)
    assert (stack.lookup(LIST), stack.lookup(VCEK)) == (newer, CERTIFICATE)
    assert stack.lookup(LIST) == newer
    assert world.asked == {LIST: 2, VCEK: 1}


def test_a_folder_is_added_to_and_its_names_are_readable(tmp_path: Path) -> None:
    folder = str(tmp_path / "a" / "b")
    write_folder(folder, [Document(LIST, a_list(), NOW, NOW + DAY)])
    write_folder(folder, [Document(VCEK, CERTIFICATE, NOW, FOR_EVER)])
    write_folder(folder, [Document(LIST, newer := a_list(9), NOW, NOW + 9 * DAY)])
    names = sorted(os.listdir(folder))
    assert len(names) == 3
    assert [name.rsplit("-", 1)[0] for name in names[:2]] == [
        "amd-vcek-Genoa-000102030405060708090a0b-blSPL=00-teeSPL=00-snpSPL=00",
        "amd-vcek-Genoa-crl",
    ]
    index = read_index(folder)
    assert index[LIST].read() == Document(LIST, newer, NOW, NOW + 9 * DAY)
    assert index[VCEK].read() == Document(VCEK, CERTIFICATE, NOW, FOR_EVER)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", ".hidden", "a/b", "", "a\n", "\0"])
def test_an_index_names_files_of_its_own_folder_alone(tmp_path: Path, name: str) -> None:
    entry = told_of(Document(LIST, b"", NOW, FOR_EVER), file=name)
    told = {"schema": "sequester-collateral/1", "documents": [entry]}
    (tmp_path / "index.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match="malformed"):
        read_index(str(tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "other/1"}', "[" * 100_000])
def test_an_index_of_something_else_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    assert read_index(str(tmp_path)) == {}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)))
def test_no_time_in_an_index_is_a_traceback(value: object) -> None:
    good = told_of(Document(LIST, b"", NOW, FOR_EVER))
    for key in ("address", "fetched", "until"):
        found = read_entry({**good, key: value})
        assert found is None or (key, value) == ("until", None) or isinstance(value, str)


@given(st.datetimes(), st.none() | st.datetimes())
def test_an_entry_comes_back_as_it_was(fetched: datetime, until: datetime | None) -> None:
    end = FOR_EVER if until is None else until.replace(tzinfo=UTC)
    document = Document(LIST, b"", fetched.replace(tzinfo=UTC), end)
    entry = read_entry(json.loads(json.dumps(told_of(document))))
    assert entry is not None
    assert (entry.address, entry.fetched, entry.until) == (LIST, document.fetched, end)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, Path("/c/sequester/collateral")),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, Path("/h/.cache/sequester/collateral")),
        ({"HOME": "/h"}, Path("/h/.cache/sequester/collateral")),
        ({"HOME": ""}, None),
        ({}, None),
    ],
)
def test_the_cache_is_the_users_own(environment: dict[str, str], folder: Path | None) -> None:
    assert cache_folder(environment) == folder
