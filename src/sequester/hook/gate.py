"""Decides at the door: most domains ask for no protection and pass here, the others are judged elsewhere.

This file is standard library alone. The installed hook is this text with a few lines around it, so that nothing that
happens to the rest of sequester can keep an unprotected domain from starting. A domain that asks for protection, or
has to have it, passes only where the judge ends with status 0: no judge, a slow one or a broken one is a no.

Source: libvirt docs/hooks.html (arguments, standard input; standard error is in libvirt's own error).
"""

import fnmatch
import os
import re
import subprocess
import sys
from collections.abc import Sequence

MARKS = re.compile(
    rb"launchSecurity|confidential-guest-support|memory-encryption|host-trust-limitation"
    rb"|(?:sev|sev-snp|tdx|pef|s390-pv|rme)-guest"
)
"""What a domain's XML has in it, wherever, when it asks for protection. libvirt writes the XML itself, in UTF-8."""
REQUIRED = re.compile(rb"urn:sequester:hook:1")
"""The namespace of the element by which a domain's metadata says that it must be protected."""
MOST_BYTES = 32 << 20
JUDGE_SECONDS = 20


def decide(arguments: Sequence[str], xml: bytes, judge: Sequence[str], policy: str) -> str:
    """Return '' where a domain may start, else why not, in lines.

    `arguments` are libvirt's (name, operation, sub-operation), `xml` is the domain's as bytes, `judge` the command that
    is told about domains that ask for protection, `policy` the path of a file that need not exist.
    """
    name = arguments[0]
    if len(xml) > MOST_BYTES:
        return f"the domain's XML is larger than {MOST_BYTES >> 20} MiB"
    try:
        patterns = required_names(policy)
    except (OSError, ValueError) as error:
        return f"{policy} cannot be used, so that nobody knows which domains must be protected: {error}"
    required = REQUIRED.search(xml) is not None or any(fnmatch.fnmatchcase(name, one) for one in patterns)
    if MARKS.search(xml) is None:
        return "this domain must be protected, and asks for no protection" if required else ""
    command = [*judge, "--policy", policy, *(["--required"] if required else []), "--", name]
    try:
        done = subprocess.run(command, input=xml, capture_output=True, timeout=JUDGE_SECONDS, check=False)
    except OSError as error:
        return f"it asks for protection, and what judges that cannot be run: {error}"
    except subprocess.TimeoutExpired:
        return f"it asks for protection, and what judges that did not answer in {JUDGE_SECONDS} s"
    if done.returncode == 0:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip()
    return said or f"it asks for protection, and what judges that ended with status {done.returncode}"


def required_names(policy: str) -> tuple[str, ...]:
    """Return the patterns of names in a policy file; () where there is none. Raises OSError or ValueError."""
    if not os.path.lexists(policy):
        return ()
    import tomllib  # only here: most hosts have no policy

    with open(policy, "rb") as file:
        said = tomllib.loads(file.read(1 << 20).decode("utf-8"))
    names = said.get("required", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("required is no list of names")
    return tuple(names)


def main(arguments: Sequence[str], judge: Sequence[str], policy: str) -> int:
    """Answer libvirt: 0 lets the domain start, 1 does not. Everything but `prepare begin` passes."""
    if len(arguments) < 3 or arguments[1:3] != ["prepare", "begin"]:
        return 0
    why = decide(arguments, sys.stdin.buffer.read(MOST_BYTES + 1), judge, policy)
    if why:
        sys.stderr.write(f"sequester: domain {ascii(arguments[0])[1:-1]} is not started: {why}\n")
        return 1
    return 0
