"""What is known of the image that a guest starts in."""

from __future__ import annotations

from sequester.findings.case import Case, Firmware
from sequester.guest.firmware import Image, boots, firmware


def image_read(case: Case) -> tuple[Image | None, Firmware | None]:
    """Return the image that the guest starts in (None: QEMU's default) and what it says of itself, if it was read."""
    image = boots(firmware(case.guest))
    about = case.firmware.get(image.path) if image is not None else None
    return image, (about if about is not None and about.size else None)
