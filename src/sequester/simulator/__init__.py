"""The firmware's side of each platform, played without the hardware: real cryptography under a root that says
SIMULATED. Nothing here protects a guest."""
