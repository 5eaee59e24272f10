"""Many pieces of evidence at once: read one after the other, appraised on every core, told in the order of input."""
