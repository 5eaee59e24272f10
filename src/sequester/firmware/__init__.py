"""What firmware images and protected kernels say of themselves: parsers over bytes, with no files and no QEMU.

Images are hostile input: every offset is checked against the image, every count against the room there is,
and nothing is read that is not needed. A structure that is wrong ends in an `InputError` or a `fault`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sequester.firmware.footer import Area, Entry, FooterTable, read_footer
    from sequester.firmware.igvm import read_platforms
    from sequester.firmware.image import Image, ImageBytes
    from sequester.firmware.secure_execution import find_header
    from sequester.firmware.sev import SevMetadata, SevSection, read_sev_metadata
    from sequester.firmware.tdvf import Tdvf, TdvfSection, read_tdvf
    from sequester.firmware.volume import Volume, read_volumes

_WHERE = {
    "Area": "footer",
    "Entry": "footer",
    "FooterTable": "footer",
    "read_footer": "footer",
    "read_platforms": "igvm",
    "Image": "image",
    "ImageBytes": "image",
    "find_header": "secure_execution",
    "SevMetadata": "sev",
    "SevSection": "sev",
    "read_sev_metadata": "sev",
    "Tdvf": "tdvf",
    "TdvfSection": "tdvf",
    "read_tdvf": "tdvf",
    "Volume": "volume",
    "read_volumes": "volume",
}
"""Public name → module; each is loaded on first use: who reads one structure needs no parser of another."""

__all__ = [
    "Area",
    "Entry",
    "FooterTable",
    "Image",
    "ImageBytes",
    "SevMetadata",
    "SevSection",
    "Tdvf",
    "TdvfSection",
    "Volume",
    "find_header",
    "read_footer",
    "read_platforms",
    "read_sev_metadata",
    "read_tdvf",
    "read_volumes",
]


def __getattr__(name: str) -> object:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{module}"), name)
