"""`sequester image`: boot images that only protected guests can open."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sequester.cli.host_keys import add_host_keys, the_host_keys
from sequester.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import BinaryIO

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

PLATFORMS = ("s390-pv",)
_KEY = 32
_LONGEST_CMDLINE = 1 << 16

EPILOG = """\
The image opens only on machines whose host key document is named. A document is held against IBM's signing key and its
chain up to a root, and every link against a current revocation list; nothing is downloaded: the documents' CRL
distribution points name the lists.

examples:
  sequester image s390-pv --kernel vmlinuz --initrd initrd.img --append 'root=/dev/vda1' --host-key HKD-8562.crt \\
      --root DigiCertCA.crt --cert ibm-z-host-key-signing.crt --cert DigiCertIntermediate.crt \\
      --crl ibm.crl --crl digicert.crl -o guest.img
  sequester measure --type s390-pv --kernel guest.img
  sequester measure --type s390-pv --kernel guest.img --explain

IBM's boot loader is part of the image and comes from an installed s390-tools; elsewhere unpack Debian's package:
  dpkg-deb -x s390-tools_*_s390x.deb tools;  --boot-code tools/usr/share/s390-tools/pvimg
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("platform", metavar="PLATFORM", choices=PLATFORMS, help="s390-pv: Secure Execution")
    parser.add_argument("--kernel", metavar="F", required=True, help="s390x kernel, raw as it is booted")
    parser.add_argument("--initrd", metavar="F", default="", help="its initrd")
    cmdline = parser.add_mutually_exclusive_group()
    cmdline.add_argument("--append", metavar="S", default="", help="its command line")
    cmdline.add_argument("--append-file", metavar="F", help="its command line, from a file")
    add_host_keys(parser, "machine that may run it")
    how = parser.add_argument_group("how it is made")
    how.add_argument("--boot-code", metavar="DIR", help="where stage3a.bin and stage3b_reloc.bin are")
    how.add_argument("--enable-dump", action="store_true", help="let the host take encrypted dumps")
    how.add_argument(
        "--comm-key", metavar="F", help="32 bytes that open dumps and guard secrets (random, not kept)"
    )
    how.add_argument(
        "--header-key", metavar="F", help="32 bytes that open the header for `pvimg info` (random, not kept)"
    )
    parser.add_argument("-o", "--output", metavar="IMAGE", required=True, help="write it there")
    parser.add_argument("--json", action="store_true", help="print what it is measured as, as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Make the image, read it again, and print what it is measured as."""
    from sequester.measure.methods.s390_pv import launch
    from sequester.measure.pieces import Pieces
    from sequester.report.measure import measurement_json, measurement_text

    hosts = the_host_keys(arguments)
    with _new_file(arguments.output) as (file, beside):
        _write(arguments, file, hosts)
        file.flush()
        measurement = launch(Pieces("s390-pv", kernel=beside)).measure()
    if arguments.no_verify:
        _warn("the host key documents were NOT verified (--no-verify): whoever wrote them can read the guest")
    sys.stdout.write(
        measurement_json(measurement) if arguments.json else measurement_text(measurement, "hex")
    )
    return 0


def _write(arguments: argparse.Namespace, file: BinaryIO, hosts: list[EllipticCurvePublicKey]) -> None:
    from sequester.measure.se_boot_code import read_boot_code
    from sequester.measure.se_build import Secrets
    from sequester.measure.se_write import DUMPS_ALLOWED, USUAL_FLAGS, Parts, write_image

    if arguments.append_file is not None:
        from sequester.measure.files import read_image

        append = read_image(arguments.append_file, _LONGEST_CMDLINE).rstrip(b"\n\0")
    else:
        append = os.fsencode(arguments.append)
    secrets = Secrets.random(_key(arguments.header_key), _key(arguments.comm_key))
    write_image(
        file,
        Parts(arguments.kernel, arguments.initrd, append),
        read_boot_code(arguments.boot_code),
        hosts,
        secrets,
        USUAL_FLAGS | (DUMPS_ALLOWED if arguments.enable_dump else 0),
    )


def _key(path: str | None) -> bytes | None:
    if path is None:
        return None
    from sequester.owner.files import read

    data = read(path, _KEY)
    if len(data) != _KEY:
        raise InputError(f"a key has {_KEY} bytes, and this file {len(data)}", code="image.key", where=path)
    return data


@contextmanager
def _new_file(path: str) -> Iterator[tuple[BinaryIO, str]]:
    """Open a file for writing and reading, and its name until it appears under `path`, whole or not at all."""
    try:
        descriptor, beside = tempfile.mkstemp(
            prefix=".sequester-", dir=os.path.dirname(os.path.abspath(path))
        )
        try:
            with open(descriptor, "w+b") as file:
                yield file, beside
                mask = os.umask(0)
                os.umask(mask)
                os.fchmod(file.fileno(), 0o666 & ~mask)
            os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise
    except OSError as error:
        raise InputError(
            "this file cannot be written", code="output.unwritable", where=path, why=error.strerror or ""
        ) from None


def _warn(text: str) -> None:
    print(f"sequester: warning: {text}", file=sys.stderr)
