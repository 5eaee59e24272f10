"""The platforms. One file each; found by the registry, named nowhere else."""
