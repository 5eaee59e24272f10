"""Domains of libvirt: the connection, their monitor, their start. libvirt-python is an extra (`[libvirt]`)."""
