"""Attestation of s390 Secure Execution guests: the exchange of pvattest, its request, and who can have answered it."""
