"""Times `sequester measure` beside sev-snp-measure and a bare hash, in one run: ``python bench/measure.py [OVMF.fd]``.

Needs the extra `dev` for the peer. Each command is started several times in turn and the best time is taken; modules
are compiled beforehand, as an installation has them. Memory is the largest resident set of the process.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 25
KERNEL, INITRD = 12 << 20, 60 << 20
REAL = Path(__file__).resolve().parents[1] / ".cache" / "real"
IMAGES = (
    "/usr/share/ovmf/OVMF.amdsev.fd",
    *(str(path) for path in sorted(REAL.glob("*/usr/share/ovmf/OVMF.amdsev.fd"))),
)
"""Debian's build with a table for kernel hashes: the machine's own, or what tools/real-tools fetched."""
PEER = "import sys; from sevsnpmeasure.cli import main; sys.exit(main())"


def best(commands: dict[str, list[str]], environment: dict[str, str]) -> dict[str, float]:
    """Return the best wall time of each command in seconds."""
    found = dict.fromkeys(commands, 9e9)
    for _ in range(ROUNDS):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True)
            found[name] = min(found[name], time.perf_counter() - start)
    return found


def memory(command: list[str], environment: dict[str, str]) -> int:
    """Return the largest resident set of a command, in KiB, measured in a process that has no other child."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, env=environment, check=True
    )
    return int(done.stdout)


def table(images: list[str]) -> tuple[int, float]:
    """Return how many references 64 vCPU counts by 20 processors by 5 images are, and the seconds they take."""
    from sequester.measure import processor
    from sequester.measure.methods import method
    from sequester.measure.pieces import Pieces
    from sequester.measure.tables import Matrix, Processor

    names = [name for name in processor.names() if name.startswith("EPYC")][:20]
    processors = [Processor(name, processor.parse(name)) for name in names]
    start = time.perf_counter()
    matrix = Matrix(Pieces("sev-snp"), images, processors, range(1, 65))
    number = sum(1 for _ in method("sev-snp").references(matrix))
    return number, time.perf_counter() - start


def main(image: str) -> None:
    """Print the times."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: os.environ[name] for name in os.environ if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = str(Path(folder, "compiled"))
        kernel, initrd, huge = (str(Path(folder, name)) for name in ("kernel", "initrd", "huge"))
        Path(kernel).write_bytes(os.urandom(KERNEL))
        Path(initrd).write_bytes(os.urandom(INITRD))
        with open(huge, "wb") as file:
            file.truncate(8 * INITRD)
        python = sys.executable
        hashed = f"import hashlib; print(hashlib.sha384(open({image!r}, 'rb').read()).hexdigest())"
        Path(folder, "barehash.py").write_text(hashed + "\n", encoding="utf-8")
        environment["PYTHONPATH"] = folder
        started = Path(folder, "start.py")
        started.write_text(
            "import sys\nfrom sequester.cli.main import entry\nsys.exit(entry())\n", encoding="utf-8"
        )
        pieces = ["measure", "--type", "sev-snp", "--firmware", image, "--cpus", "4", "--cpu", "EPYC-v4"]
        theirs = [
            *(python, "-c", PEER, "--mode", "snp", "--vcpus", "4", "--vcpu-type", "EPYC-v4", "--ovmf", image)
        ]
        boot = ["--kernel", kernel, "--initrd", initrd, "--append", "console=ttyS0"]
        script = str(Path(python).with_name("sequester"))
        bare, bare_module = "bare SHA-384 of the image", "bare SHA-384 of the image, by python -m"
        ours = "sequester measure, as pip 25.3 and later start it"
        here, module = f"sequester measure, {script}", "sequester measure, by python -m"
        ours_boot, theirs_boot = (f"{name}, 72 MB of kernel and initrd" for name in (ours, "sev-snp-measure"))
        found = best(
            {
                "python alone": [python, "-c", "pass"],
                bare: [python, "-c", hashed],
                ours: [python, str(started), *pieces],
                here: [script, *pieces],
                bare_module: [python, "-m", "barehash"],
                module: [python, "-m", "sequester", *pieces],
                "sev-snp-measure": theirs,
                ours_boot: [python, str(started), *pieces, *boot],
                theirs_boot: [*theirs, *boot],
            },
            environment,
        )
        for name, seconds in found.items():
            print(f"{seconds * 1000:8.1f} ms  {name}")
        for what, one, other in (
            ("of the bare hash, as pip 25.3 and later start it", ours, bare),
            ("of the bare hash, as it is started here", here, bare),
            ("of the bare hash, both by python -m", module, bare_module),
            ("of the peer with 72 MB", ours_boot, theirs_boot),
        ):
            print(f"{found[one] / found[other]:8.2f}     {what}")
        images = []
        for number in range(5):
            images.append(str(Path(folder, f"{number}.fd")))
            data = bytearray(Path(image).read_bytes())
            data[0] = number
            Path(images[-1]).write_bytes(data)
        number, seconds = table(images)
        print(f"{seconds * 1000:8.1f} ms  {number} references: 64 vCPU counts, 20 processors, 5 images")
        small = memory([script, *pieces, *boot], environment)
        large = memory([script, *pieces, "--kernel", kernel, "--initrd", huge], environment)
        print(
            f"{small:8d} KiB with an initrd of {INITRD >> 20} MiB, {large} KiB with one of {8 * INITRD >> 20} MiB"
        )
        print(
            f"{resource.getpagesize()} bytes a page, {os.cpu_count()} processors, Python {sys.version.split()[0]}"
        )


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else next((path for path in IMAGES if os.path.exists(path)), "")
    if not chosen:
        sys.exit("name an OVMF image with SEV metadata")
    main(chosen)
