"""The hook as libvirt runs it: installed in a folder, with the domain's XML on standard input."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from sequester.hook.installing import install

PLAIN = """\
<domain type='kvm'>
  <name>web</name>
  <memory unit='MiB'>512</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices>
</domain>
"""
LOOSE = PLAIN.replace(
    "<domain type='kvm'>", "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
).replace(
    "</domain>",
    "<qemu:commandline><qemu:arg value='-object'/>"
    "<qemu:arg value='sev-guest,id=sev0,cbitpos=51,reduced-phys-bits=1'/></qemu:commandline></domain>",
)
"""An object that nothing names: libvirt and QEMU start this without protection, and without a word."""
NEEDY = PLAIN.replace(
    "<memory ", "<metadata><must-be-protected xmlns='urn:sequester:hook:1'/></metadata><memory "
)
PREPARE = ("prepare", "begin", "-")


@dataclass(frozen=True)
class HookInPlace:
    """An installed hook, and its policy file (which need not be there)."""

    path: Path
    policy: Path

    def run(
        self, xml: str | bytes, name: str = "web", arguments: tuple[str, ...] = PREPARE
    ) -> subprocess.CompletedProcess[bytes]:
        data = xml.encode() if isinstance(xml, str) else xml
        # As libvirt runs it: this environment, and a folder that is nobody's.
        environment = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin", "HOME": "/nonexistent"}
        return subprocess.run(
            [self.path, name, *arguments],
            input=data,
            capture_output=True,
            env=environment,
            cwd="/",
            timeout=60,
            check=False,
        )

    def broken(self) -> None:
        """Make what judges domains fail, as after half an upgrade."""
        text = self.path.read_text()
        self.path.write_text(text.replace("from sequester.cli.main import entry", "import no_such_module"))


def in_place(folder: Path) -> HookInPlace:
    policy = folder / "hook.toml"
    return HookInPlace(install(str(folder / "hooks"), str(policy)), policy)
