"""Modules are found in a kernel package and ordered by what they need."""

from __future__ import annotations

import lzma
from pathlib import Path

from sequester.run.kernel_modules import depends, find_modules, load_order, read_module


def module(*needed: str) -> bytes:
    return b"\x7fELF....\0license=GPL\0depends=" + ",".join(needed).encode() + b"\0intree=Y\0"


def package(tree: Path, modules: dict[str, bytes]) -> Path:
    for name, content in modules.items():
        path = tree / "lib" / "modules" / "6.1.0" / "kernel" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tree


def test_a_module_comes_after_everything_it_needs(tmp_path: Path) -> None:
    tree = package(
        tmp_path,
        {
            "drivers/virtio_net.ko": module("virtio", "net_failover"),
            "drivers/net_failover.ko": module("failover"),
            "net/failover.ko": module(),
            "drivers/virtio.ko": module(),
        },
    )
    order = load_order(find_modules(tree), ["virtio_net"])
    assert order == ("virtio", "failover", "net_failover", "virtio_net")


def test_what_is_built_into_the_kernel_is_left_out(tmp_path: Path) -> None:
    tree = package(tmp_path, {"drivers/virtio_blk.ko": module("virtio")})
    assert load_order(find_modules(tree), ["virtio_blk", "virtio_pci"]) == ("virtio_blk",)


def test_a_dash_and_an_underscore_are_the_same_to_the_kernel(tmp_path: Path) -> None:
    tree = package(tmp_path, {"drivers/virtio-rng.ko": module("rng-core"), "drivers/rng-core.ko": module()})
    assert load_order(find_modules(tree), ["virtio_rng"]) == ("rng_core", "virtio_rng")


def test_a_module_of_a_newer_debian_is_unpacked(tmp_path: Path) -> None:
    tree = package(tmp_path, {"drivers/virtio_blk.ko.xz": lzma.compress(module("virtio"))})
    path = find_modules(tree)["virtio_blk"]
    assert depends(read_module(path)) == ("virtio",)


def test_a_module_that_needs_nothing_needs_nothing() -> None:
    assert depends(module()) == ()
    assert depends(b"no modinfo at all") == ()
