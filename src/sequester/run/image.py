"""The small Linux guest that `run --simulate` boots: a Debian kernel and an initramfs with busybox.

Made from Debian packages without root, kept in a cache, and made again when the init script changes.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sequester.errors import HostError, InputError
from sequester.run import debian
from sequester.run.initramfs import initramfs, recipe

Progress = Callable[[str], None]

MARKER = b"sequester-disk-marker "  # the guest looks for it in the first, middle and last sector of a disk
SECTOR = 512  # bytes
BUSYBOX = "busybox-static"
DESCRIPTION = "image.json"  # written last


@dataclass(frozen=True, slots=True)
class Source:
    """Where the guest of one QEMU target comes from."""

    architecture: str  # dpkg's name
    package: str  # the meta package of the kernel
    console: str  # the kernel's name of QEMU's first serial console


SOURCES = {
    "x86_64": Source("amd64", "linux-image-cloud-amd64", "ttyS0"),
    "aarch64": Source("arm64", "linux-image-cloud-arm64", "ttyAMA0"),
    "ppc64": Source("ppc64el", "linux-image-powerpc64le", "hvc0"),
    "s390x": Source("s390x", "linux-image-s390x", "ttysclp0"),
}


@dataclass(frozen=True, slots=True)
class GuestImage:
    """A guest ready to boot with `-kernel` and `-initrd`."""

    kernel: Path
    initrd: Path
    release: str  # of the kernel: "6.1.0-50-cloud-amd64"
    console: str

    def command_line(self, *, stay: bool = False) -> str:
        """What `-append` gets. With `stay` the guest leaves a shell on the console and waits for `poweroff`."""
        words = [f"console={self.console}", "quiet", "panic=-1"]
        return " ".join([*words, "sequester.stay"] if stay else words)


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/sequester`, or `~/.cache/sequester`; source: XDG Base Directory Specification."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if base.startswith("/") else os.path.expanduser("~/.cache")) / "sequester"


def ensure_image(arch: str, cache_dir: Path, progress: Progress) -> GuestImage:
    """The guest for QEMU target `arch`, from `cache_dir`, or made now (some 30 MB from Debian, some 10 s).

    Raises `InputError` for a target without a guest, `HostError` when the packages cannot be had or the cache
    cannot be written.
    """
    source = SOURCES.get(arch)
    if source is None:
        known = ", ".join(SOURCES)
        raise InputError(f"no guest image for {arch}", code="run.image", remedy=f"there is one for {known}")
    place = cache_dir / "guest" / arch
    key = _key(source)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with (place / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return _newest(place, key, source) or _build(place, key, source, progress)
    except OSError as error:
        why = error.strerror or str(error)
        remedy = "set XDG_CACHE_HOME to a directory that can be written"
        raise HostError(
            f"cannot keep a guest image in {place}", code="host.cache", why=why, remedy=remedy
        ) from error


def write_disk(path: Path, size: int = 16 * 1024 * 1024) -> None:
    """Write a sparse raw disk of `size` bytes whose marker the guest finds."""
    sectors = size // SECTOR
    with path.open("wb") as disk:
        disk.truncate(sectors * SECTOR)
        for sector in (0, sectors // 2, sectors - 1):
            disk.seek(sector * SECTOR)
            disk.write(MARKER + b"%d\n" % sector)


def _key(source: Source) -> str:
    """Changes whenever the same packages would give another image."""
    return hashlib.sha256(recipe() + repr(source).encode()).hexdigest()[:12]


def _newest(place: Path, key: str, source: Source) -> GuestImage | None:
    described = sorted(
        place.glob(f"*-{key}/{DESCRIPTION}"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    return next((image for path in described if (image := _load(path.parent, source)) is not None), None)


def _load(directory: Path, source: Source) -> GuestImage | None:
    """The finished image in `directory`; None when somebody has damaged it."""
    kernel, initrd = directory / "kernel", directory / "initrd"
    try:
        release = json.loads((directory / DESCRIPTION).read_bytes())["release"]
    except (ValueError, KeyError, TypeError):
        return None
    return (
        GuestImage(kernel, initrd, release, source.console) if kernel.exists() and initrd.exists() else None
    )


def _build(place: Path, key: str, source: Source, progress: Progress) -> GuestImage:
    """Make the image beside its place and rename it."""
    work = place / ".work"
    archive = debian.machine_archive()
    progress(f"reading Debian {archive.codename}'s package lists")
    state = debian.open_state(work / "apt", archive, [archive.codename], source.architecture)
    names = _kernel_packages(state, source.package)
    release = names[0].removeprefix("linux-image-")
    packages = debian.resolve_alone(state, [*names, BUSYBOX])
    megabytes = sum(package.size for package in packages) / 1e6
    progress(f"fetching Linux {release} and busybox, {megabytes:.0f} MB")
    tree = work / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for package in debian.download_alone(state, [*names, BUSYBOX]):
        debian.unpack(package, tree)
    progress("making the initramfs")
    image = work / "image"
    shutil.rmtree(image, ignore_errors=True)
    image.mkdir()
    shutil.copyfile(_one(tree, "boot/vmlinu[xz]-*", "usr/lib/modules/*/vmlinu[xz]"), image / "kernel")
    busybox = _one(tree, "bin/busybox", "usr/bin/busybox").read_bytes()
    (image / "initrd").write_bytes(gzip.compress(initramfs(tree, busybox), mtime=0))
    versions = {package.name: package.version for package in packages}
    (image / DESCRIPTION).write_text(json.dumps({"release": release, "packages": versions}) + "\n")
    label = re.sub(r"[^\w.+-]", "_", f"{versions[names[0]]}-{versions[BUSYBOX]}")
    target = place / f"{label}-{key}"
    shutil.rmtree(target, ignore_errors=True)
    image.rename(target)
    shutil.rmtree(work)
    return GuestImage(target / "kernel", target / "initrd", release, source.console)


def _kernel_packages(state: debian.AptState, meta: str) -> list[str]:
    """The packages that hold a kernel and its modules, the one with the release in its name first.

    Up to Debian 13 that is one package; then linux-image-* is empty and names linux-binary-* and linux-modules-*.
    """
    found = [name for name in debian.depends(state, meta) if name.startswith("linux-image-")]
    if not found:
        raise HostError(f"{meta} names no kernel package", code="host.packages")
    parts = [name for name in debian.depends(state, found[0]) if re.match(r"linux-(binary|modules)-\d", name)]
    return [found[0], *parts]


def _one(tree: Path, *patterns: str) -> Path:
    for pattern in patterns:
        for path in sorted(tree.glob(pattern)):
            return path
    raise HostError(f"the packages have no {patterns[0]}", code="host.packages")
