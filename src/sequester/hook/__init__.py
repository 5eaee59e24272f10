"""A hook of libvirt that keeps domains with misconfigured protection from starting."""
