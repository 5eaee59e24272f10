"""One switch that protects a QEMU/KVM guest from its host."""

__version__ = "0.1.0"
