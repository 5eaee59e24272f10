"""A QMP server in front of QEMU's: what a monitor may still do to a guest whose host is not trusted."""
