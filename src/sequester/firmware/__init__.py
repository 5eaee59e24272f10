"""What firmware images and protected kernels say of themselves: parsers over bytes, with no files and no QEMU.

Images are hostile input: every offset is checked against the image, every count against the room there is,
and nothing is read that is not needed. A structure that is wrong ends in an `InputError` or a `fault`.
"""

from sequester.firmware.footer import Area, Entry, FooterTable, read_footer
from sequester.firmware.igvm import read_platforms
from sequester.firmware.image import Image, ImageBytes
from sequester.firmware.secure_execution import find_header
from sequester.firmware.sev import SevMetadata, SevSection, read_sev_metadata
from sequester.firmware.tdvf import Tdvf, TdvfSection, read_tdvf
from sequester.firmware.volume import Volume, read_volumes

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
