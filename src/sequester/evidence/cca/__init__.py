"""Arm CCA attestation tokens: what platform and realm say, under whose keys, and against whose reference values."""
