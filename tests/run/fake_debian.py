"""A machine with Debian's tools, none of them real: what `apt-get` and its like answer is in the test's hands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROW = "http://mirror.invalid/debian/\tbookworm\tmain\tamd64"
SCRIPTS = {
    "dpkg": "echo amd64",
    "dpkg-deb": 'cp -r "$FAKE/tree/." "$3/"',
    "apt-config": "echo \"PARTS='/nonexistent/'\"; echo \"MAIN='/nonexistent'\"",
    "apt-cache": "printf '%s\\n' 'linux-image-cloud-amd64' '  Depends: linux-image-6.1.0-1-cloud-amd64'",
}
# Without --print-uris the packages are "fetched": empty files where apt would put them.
APT_GET = """
echo "$*" >> "$FAKE/calls"
case "$*" in
indextargets*) cat "$FAKE/sources" ;;
*update*) if [ -e "$FAKE/broken" ]; then cat "$FAKE/broken" >&2; exit 100; fi ;;
*--print-uris*) cat "$FAKE/uris" ;;
*) while read -r _ file _; do : > "$file"; done < "$FAKE/uris" ;;
esac
"""
URIS = """\
'http://mirror.invalid/k.deb' linux-image-6.1.0-1-cloud-amd64_6.1.5-1_amd64.deb 1000000 SHA256:00
'http://mirror.invalid/b.deb' busybox-static_1%3a1.35.0-4_amd64.deb 900000 SHA256:00
"""


def fake_debian(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the fake tools first on $PATH; returns the folder whose files decide what they answer."""
    commands = folder / "commands"
    commands.mkdir(parents=True)
    for name, script in {**SCRIPTS, "apt-get": APT_GET}.items():
        path = commands / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    (folder / "sources").write_text(ROW + "\n")
    (folder / "uris").write_text(URIS)
    (folder / "os-release").write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    monkeypatch.setenv("FAKE", str(folder))
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    return folder


def fake_tree(folder: Path) -> None:
    """What the fake packages unpack to."""
    files = {
        "boot/vmlinuz-6.1.0-1-cloud-amd64": b"kernel",
        "bin/busybox": b"busybox",
        "lib/modules/6.1.0-1-cloud-amd64/kernel/virtio_blk.ko": b"\0depends=virtio\0",
        "lib/modules/6.1.0-1-cloud-amd64/kernel/virtio.ko": b"\0depends=\0",
    }
    for name, content in files.items():
        path = folder / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
