"""What libvirt's domain XML says and what QEMU command line libvirt makes of it, concern by concern."""
