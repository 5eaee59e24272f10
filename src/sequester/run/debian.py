"""Debian packages without root: a private apt state beside the machine's own.

The archive's address, its proxy, its credentials and its keys are the ones that this machine's apt already
uses; nothing about them is known here. Packages are resolved against an empty dpkg status, verified by apt,
and unpacked with `dpkg-deb`, so neither the machine's package state nor its file system is touched.

Standard library only. Source: apt.conf(5), apt-get(8), sources.list(5), deb(5).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from sequester.errors import HostError

CODE = "host.packages"  # every error of this module

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
OS_RELEASE = Path("/etc/os-release")
# A mirror that does not answer is given up after 2 x 20 s, instead of apt's default of 2 minutes a try.
TIMEOUTS = {"Acquire::Retries": "1", "Acquire::http::Timeout": "20", "Acquire::https::Timeout": "20"}
# What apt prints when it fails, the most telling first, and what to do then.
REMEDIES = (
    ("NO_PUBKEY", "install a newer debian-archive-keyring"),
    (
        r"Temporary failure|Could not (resolve|connect)|timed out|Unable to connect",
        "check network and apt's proxy",
    ),
    (r"is expired", "set the clock, or use a mirror that is kept up to date"),
    (r"No space left", "make room on the disk"),
    (r"does not have a Release file", "the configured mirror does not carry this suite; use one that does"),
    (r"^E: |^dpkg-deb: error|^Err:", ""),
)


@dataclass(frozen=True, slots=True)
class Archive:
    """The Debian archive that this machine is configured for."""

    uri: str
    codename: str  # the release of the machine itself: "bookworm"
    architecture: str  # dpkg's name of the machine's architecture: "amd64"
    keyring: Path | None  # None: whatever apt trusts by default


@dataclass(frozen=True, slots=True)
class Package:
    """One package that apt would fetch."""

    name: str
    version: str
    architecture: str
    size: int  # bytes

    @property
    def filename(self) -> str:
        """The name apt gives the downloaded file: an epoch's colon is written `%3a`."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


@dataclass(frozen=True, slots=True)
class AptState:
    """A private apt: own lists, own cache, own sources, an empty dpkg status.

    `directory` is created by `open_state`; deleting it undoes everything.
    """

    directory: Path
    archive: Archive
    suites: tuple[str, ...]
    architecture: str
    default_release: str | None = None
    accept_expired: bool = (
        False  # take lists past their Valid-Until date; the signature must hold all the same
    )

    @property
    def archives(self) -> Path:
        """Where `download` puts the packages."""
        return self.directory / "cache" / "archives"


def machine_archive(os_release: Path = OS_RELEASE, keyring: Path = KEYRING) -> Archive:
    """Find the Debian archive in the machine's own apt configuration.

    Raises `HostError` where apt is absent or has no Debian archive with the component `main`.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise HostError("no apt-get or dpkg-deb here", code=CODE, remedy="run this on Debian")
    architecture = _output(["dpkg", "--print-architecture"]).strip()
    rows = _output(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(ARCHITECTURE)"]
    )
    sources = [tuple(row.split("\t")) for row in dict.fromkeys(rows.splitlines()) if row.count("\t") == 3]
    codename = _os_release_value(os_release, "VERSION_CODENAME")
    uri = _choose_uri(sources, codename)
    if uri is None:
        raise HostError(
            "this machine's apt has no Debian archive with component main",
            code=CODE,
            remedy="add one to /etc/apt/sources.list.d, see sources.list(5)",
        )
    return Archive(uri, codename or "stable", architecture, keyring if keyring.exists() else None)


def _choose_uri(sources: Iterable[Sequence[str]], codename: str | None) -> str | None:
    """The archive that carries the machine's own release; else the first that looks like Debian's."""
    fallback = None
    for uri, release, component, _architecture in sources:
        if component != "main" or "-security" in uri or "-security" in release or "/updates" in release:
            continue
        if codename is not None and release == codename and "debian" in uri:
            return uri.rstrip("/")
        if fallback is None and re.search(r"/debian/?$", uri):
            fallback = uri.rstrip("/")
    return fallback


def _os_release_value(path: Path, key: str) -> str | None:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(rf'^{key}="?([^"\n]*)"?$', text, re.MULTILINE)
    return found.group(1) if found else None


def open_state(
    directory: Path,
    archive: Archive,
    suites: Sequence[str],
    architecture: str | None = None,
    default_release: str | None = None,
    *,
    accept_expired: bool = False,
) -> AptState:
    """Write the private configuration under `directory` and fetch the package lists of `suites`.

    Raises `HostError` when the lists cannot be fetched or their signature does not hold.
    """
    state = AptState(
        directory.resolve(),
        archive,
        tuple(suites),
        architecture or archive.architecture,
        default_release,
        accept_expired,
    )
    for part in ("lists/partial", "cache/archives/partial", "etc"):
        (state.directory / part).mkdir(parents=True, exist_ok=True)
    (state.directory / "status").touch()
    signed = f" [signed-by={archive.keyring}]" if archive.keyring else ""
    lines = [f"deb{signed} {archive.uri} {suite} main\n" for suite in state.suites]
    (state.directory / "etc" / "sources.list").write_text("".join(lines), encoding="utf-8")
    (state.directory / "apt.conf").write_text(_configuration(state), encoding="utf-8")
    _apt(state, "apt-get", "update")
    return state


def resolve(state: AptState, names: Sequence[str]) -> tuple[Package, ...]:
    """Everything that installing `names` into an empty system would fetch (Depends, not Recommends)."""
    return _planned(state, "install", names)


def resolve_alone(state: AptState, names: Sequence[str]) -> tuple[Package, ...]:
    """The packages `names` themselves, without what they depend on."""
    return _planned(state, "download", names)


def depends(state: AptState, name: str) -> tuple[str, ...]:
    """The names that package `name` depends on, alternatives included, virtual packages left out."""
    text = _apt(state, "apt-cache", "depends", "--no-recommends", "--no-suggests", name)
    return tuple(re.findall(r"^[ |]+(?:Pre)?Depends: ([^<\s]+)$", text, re.MULTILINE))


def download(state: AptState, names: Sequence[str]) -> tuple[Path, ...]:
    """Fetch `names` and all they depend on; returns the files, verified by apt against the signed lists.

    What an interrupted call already fetched is not fetched again.
    """
    packages = resolve(state, names)
    _apt(state, "apt-get", "install", "--download-only", *names)
    return _present(state.archives, packages)


def download_alone(state: AptState, names: Sequence[str]) -> tuple[Path, ...]:
    """Fetch `names` without what they depend on."""
    packages = resolve_alone(state, names)
    _apt(state, "apt-get", "download", *names)
    return _present(state.archives, packages)


def unpack(package: Path, target: Path) -> None:
    """Unpack the files of a .deb under `target`; maintainer scripts are not run."""
    target.mkdir(parents=True, exist_ok=True)
    _output(["dpkg-deb", "--extract", str(package), str(target)])


def _present(directory: Path, packages: Sequence[Package]) -> tuple[Path, ...]:
    files = tuple(directory / package.filename for package in packages)
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise HostError(f"apt-get did not fetch {missing[0]}", code=CODE, remedy="is the disk full?")
    return files


def _planned(state: AptState, operation: str, names: Sequence[str]) -> tuple[Package, ...]:
    """Lines of `--print-uris`: 'uri' name_version_architecture.deb size [hash].

    apt leaves out what it finds already fetched, so it is shown an empty place.
    """
    empty = state.directory / "plan"
    (empty / "partial").mkdir(parents=True, exist_ok=True)
    options = ("--print-uris", "-o", f"Dir::Cache::archives={empty}/")
    text = _apt(state, "apt-get", operation, *options, *names, cwd=empty)
    packages = []
    for filename, size in re.findall(r"^'[^']*' (\S+\.deb) (\d+)", text, re.MULTILINE):
        name, version, architecture = filename.removesuffix(".deb").split("_")
        packages.append(Package(name, unquote(version), architecture, int(size)))
    return tuple(packages)


def _configuration(state: AptState) -> str:
    """The apt.conf of the private state: the machine's settings (proxy, keys), then our places.

    The machine's files are included rather than copied, so that no credential is written anywhere. Hooks are
    cleared: they are meant for changes to the machine, and none is made.
    """
    places = _output(["apt-config", "shell", "PARTS", "Dir::Etc::parts/d", "MAIN", "Dir::Etc::main/f"])
    included = [Path(place) for place in re.findall(r"='([^']*)'", places)]
    lines = [f'#include "{place}{"/" if place.is_dir() else ""}";' for place in included if place.exists()]
    lines += [
        f"#clear {name};" for name in ("APT::Update", "DPkg", "APT::Default-Release", "APT::Architectures")
    ]
    settings = {
        "APT::Architecture": state.architecture,
        "APT::Architectures::": state.architecture,
        "APT::Sandbox::User": "root",  # the account _apt may not enter a home directory
        "APT::Install-Recommends": "false",
        "APT::Update::Error-Mode": "any",  # an index that cannot be had is an error, not a warning
        "APT::Get::Assume-Yes": "true",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
        "Dir::State": f"{state.directory}/",
        "Dir::State::lists": f"{state.directory}/lists/",
        "Dir::State::status": f"{state.directory}/status",
        "Dir::Cache": f"{state.directory}/cache/",
        "Dir::Cache::archives": f"{state.archives}/",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::Etc::sourcelist": f"{state.directory}/etc/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        **TIMEOUTS,
    }
    if state.accept_expired:
        settings["Acquire::Check-Valid-Until"] = "false"
    if state.default_release:
        settings["APT::Default-Release"] = state.default_release
    return "\n".join([*lines, *(f'{key} "{value}";' for key, value in settings.items()), ""])


def _apt(state: AptState, command: str, *arguments: str, cwd: Path | None = None) -> str:
    environment = {**os.environ, "APT_CONFIG": str(state.directory / "apt.conf"), "LC_ALL": "C.UTF-8"}
    return _output([command, "-q", *arguments], environment, cwd or state.archives)


def _output(
    command: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        why = error.strerror or str(error)
        raise HostError(f"{command[0]} could not be run", code=CODE, why=why) from error
    if done.returncode != 0:
        why, remedy = _cause(done.stdout + done.stderr)
        what = " ".join(word for word in command[:3] if word != "-q")
        raise HostError(f"{what} failed", code=CODE, why=why, remedy=remedy)
    return done.stdout


def _cause(text: str) -> tuple[str, str]:
    """The line of apt's output that says why, and what to do about the frequent ones."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for pattern, remedy in REMEDIES:
        found = next((line for line in lines if re.search(pattern, line)), None)
        if found is not None:
            return re.sub(r"^(E|W): ", "", found), remedy
    return (lines[-1] if lines else "no output"), ""
