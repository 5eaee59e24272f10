"""SEV-SNP: attestation reports, the certificates of the keys that sign them, and what is asked of both."""
