"""Real QEMUs and a real libvirt in private trees, without root: what they are, how they are built and checked."""
