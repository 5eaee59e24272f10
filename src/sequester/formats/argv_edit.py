"""Changes a command line in place: each change touches the argument that says the thing, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sequester.formats import argv_options as options
from sequester.formats.argv_write import arguments, shell_text
from sequester.formats.document import Written
from sequester.formats.keyval import escape, pieces
from sequester.formats.words import Word, quote, read_words, spliced
from sequester.guest.change import Add, Change, Remove, Retype, Set, Unset, applied, told
from sequester.guest.part import Part, Value, spelled_out

if TYPE_CHECKING:
    from sequester.formats.argv_read import Argv


def edited(document: Argv, changes: Sequence[Change]) -> Written:
    """Return the command line's text with the changes made; an argument vector as a shell writes it.

    Parts that no option declares by itself (QEMU's default devices, those behind ``-drive if=virtio``) take
    their properties through ``-global``. What cannot be said is named in the answer's `lost`.
    """
    editor = _Editor(document)
    written = editor.run(changes)
    if document.line.style == "argv":
        words = editor.words()
        return Written(shell_text(words) if words else "", written.lost)
    return written


def edited_argv(document: Argv, changes: Sequence[Change]) -> tuple[list[str], tuple[str, ...]]:
    """Return the argument vector with the changes made, from the emulator on, and what could not be said."""
    editor = _Editor(document)
    written = editor.run(changes)
    line = document.line
    if line.style == "argv":
        words = editor.words()
    else:
        words = [word.value for word in read_words(written.text, document.name, line.style).words]
    return words[max(document.command, 0) :], written.lost


class _Editor:
    """Gathers the new text of each word that changes, then writes the source once."""

    def __init__(self, document: Argv) -> None:
        self.document = document
        self.line = document.line
        self.values: dict[int, str] = {}
        self.dropped: set[int] = set()
        self.added: dict[int, Part] = {}
        self.globals: dict[tuple[str, str], Value] = {}
        self.lost: list[str] = []

    def run(self, changes: Sequence[Change]) -> Written:
        for change in changes:
            if isinstance(change, Add):
                self.added[change.part.key] = change.part
            elif change.key in self.added:
                self._change_added(change)
            else:
                self._change(change)
        if not (self.values or self.dropped or self.added or self.globals):
            return Written(self.line.source, tuple(self.lost))
        return Written(self._text(), tuple(self.lost))

    def _change_added(self, change: Set | Unset | Retype | Remove) -> None:
        kept = applied(self.added[change.key], (change,))
        if kept is None:
            del self.added[change.key]
        else:
            self.added[change.key] = kept

    def _change(self, change: Set | Unset | Retype | Remove) -> None:
        part = self.document.guest.by_key[change.key]
        words = self.document.words_of.get(part.key)
        if words is None:
            self._change_undeclared(part, change)
            return
        match change:
            case Set(name=name, value=value):
                self._set(part, words, name, value)
            case Unset(name=name):
                self._unset(part, words, name)
            case Retype(type=kind):
                self._set(part, words, options.IMPLIED.get(options.option_of(part.group), ""), kind)
            case Remove():
                for at in words:
                    self._drop(at)

    def _change_undeclared(self, part: Part, change: Set | Unset | Retype | Remove) -> None:
        if isinstance(change, Set) and part.group == "device":
            self.globals[part.type, change.name] = change.value
        elif part.group in ("machine", "cpu", "m", "smp") and isinstance(change, (Set, Retype)):
            made = self.added.get(part.key) or Part(part.group, part.type, {}, part.key)
            self.added[part.key] = made
            self._change_added(change)
        elif isinstance(change, Remove) and part.group == "limitation":
            return
        else:
            self.lost.append(f"{told(change)} of {part.label()}: no option declares it")

    def _set(self, part: Part, words: list[int], name: str, value: Value) -> None:
        at = self.document.set_by.get((part.key, name))
        if at is not None:
            head = self._value(at).partition("=")[0]
            self.values[at] = f"{head}={spelled_out(value)}"
            return
        if part.group == "global":
            self.values[words[-1]] = f"{part.type}.{name}={spelled_out(value)}"
            return
        group = options.option_of(part.group)
        if group not in options.IMPLIED:
            if not name:
                self.values[words[-1]] = spelled_out(value)
            else:
                self.lost.append(f"{name} of {part.label()}: the option has no properties")
            return
        for at in reversed(words):
            if self._replace(at, group, name, value):
                return
        self._append(words[0], group, name, value)

    def _replace(self, at: int, group: str, name: str, value: Value) -> bool:
        text = self._value(at)
        if text.startswith("{") and group in options.JSON_TOO:
            loaded = json.loads(text)
            if name not in loaded:
                return False
            loaded[name] = value
            self.values[at] = _dump(loaded, text)
            return True
        found = None
        for piece in pieces(text, options.IMPLIED[group]):
            if options.normal(group, piece) == name:
                found = piece
        if found is None:
            return False
        said = escape(spelled_out(value))
        if found.form in ("=", "implied"):
            self.values[at] = text[: found.value_start] + said + text[found.end :]
        else:
            self.values[at] = f"{text[: found.start]}{name}={said}{text[found.end :]}"
        return True

    def _append(self, at: int, group: str, name: str, value: Value) -> None:
        text = self._value(at)
        if text.startswith("{") and group in options.JSON_TOO:
            loaded = json.loads(text)
            loaded[name] = value
            self.values[at] = _dump(loaded, text)
        elif isinstance(value, (dict, list)):
            self.lost.append(f"{name}: only an option in JSON can hold it")
        else:
            said = f"{name}={escape(spelled_out(value))}"
            self.values[at] = f"{text},{said}" if text else said

    def _unset(self, part: Part, words: list[int], name: str) -> None:
        at = self.document.set_by.get((part.key, name))
        if at is not None:
            self._drop(at)
        if part.group == "global":
            self._drop(words[-1])
            return
        group = options.option_of(part.group)
        for at in words:
            text = self._value(at)
            if text.startswith("{") and group in options.JSON_TOO:
                loaded = json.loads(text)
                if name in loaded:
                    del loaded[name]
                    self.values[at] = _dump(loaded, text)
                continue
            if group not in options.IMPLIED:
                continue
            kept = [
                text[piece.start : piece.end]
                for piece in pieces(text, options.IMPLIED[group])
                if options.normal(group, piece) != name
            ]
            joined = ",".join(kept)
            if not joined:
                self._drop(at)
            elif joined != text:
                self.values[at] = joined

    def _drop(self, at: int) -> None:
        self.dropped.add(at)
        words = self.line.words
        option = words[at].value
        if at and not (option.startswith("-") and option.lstrip("-") in options.FLAGS):
            self.dropped.add(at - 1)

    def _value(self, at: int) -> str:
        return self.values.get(at, self.line.words[at].value)

    def _text(self) -> str:
        out: list[str] = []
        at = 0
        for start, end, text in sorted(self._word_edits(), key=lambda edit: edit[:2]):
            out += (self.line.source[at:start], text)
            at = end
        return "".join((*out, self.line.source[at:]))

    def words(self) -> list[str]:
        """Return the arguments as they will be."""
        kept = [self._value(at) for at in range(len(self.line.words)) if at not in self.dropped]
        return [*kept, *self._extra()]

    def _extra(self) -> list[str]:
        return [*self._global_arguments(), *(a for part in self.added.values() for a in arguments(part))]

    def _word_edits(self) -> Iterator[tuple[int, int, str]]:
        words = self.line.words
        for at, value in self.values.items():
            if at not in self.dropped and value != words[at].value:
                yield self._minimal(words[at], value)
        for at in self.dropped:
            yield words[at].start, self._behind(at), ""
        extra = self._extra()
        if extra:
            yield self._insertion(extra)

    def _global_arguments(self) -> Iterator[str]:
        for (driver, name), value in self.globals.items():
            yield "-global"
            yield f"{driver}.{name}={spelled_out(value)}"

    def _minimal(self, word: Word, value: str) -> tuple[int, int, str]:
        old = word.value
        start = 0
        shortest = min(len(old), len(value))
        while start < shortest and old[start] == value[start]:
            start += 1
        tail = 0
        while tail < shortest - start and old[-1 - tail] == value[-1 - tail]:
            tail += 1
        return spliced(self.line, word, start, len(old) - tail, value[start : len(value) - tail])

    def _behind(self, at: int) -> int:
        """Return the end of a dropped word with the white space or separator behind it."""
        words = self.line.words
        if at + 1 < len(words):
            return words[at + 1].start
        return min(words[at].end + 1, len(self.line.source)) if self.line.style != "shell" else words[at].end

    def _insertion(self, extra: list[str]) -> tuple[int, int, str]:
        last = self.line.words[-1]
        if self.line.style in ("nul", "argv"):
            return last.end, last.end, "".join(f"\0{value}" for value in extra)
        if self.line.style == "lines":
            return last.end, last.end, "".join(f"\n{value}" for value in extra)
        pairs = _pairs(extra)
        indent = self._continuation()
        return last.end, last.end, "".join(f"{indent}{' '.join(quote(v) for v in pair)}" for pair in pairs)

    def _continuation(self) -> str:
        """Return how this source separates options: a continuation line with its indentation, or a blank."""
        source = self.line.source
        at = source.rfind("\\\n", 0, self.line.words[-1].start)
        if at < 0:
            return " "
        behind = at + 2
        end = behind
        while end < len(source) and source[end] in " \t":
            end += 1
        return " \\\n" + source[behind:end]


def _pairs(arguments_: list[str]) -> Iterator[list[str]]:
    pair: list[str] = []
    for value in arguments_:
        if value.startswith("-") and pair:
            yield pair
            pair = []
        pair.append(value)
    if pair:
        yield pair


def _dump(loaded: dict[str, Value], like: str) -> str:
    separators = (", ", ": ") if '": ' in like else (",", ":")
    return json.dumps(loaded, separators=separators, ensure_ascii=like.isascii())
