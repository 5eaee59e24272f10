"""What SEV and SEV-ES give as evidence: a report that the platform signs, and the measurement that the owner checks."""
