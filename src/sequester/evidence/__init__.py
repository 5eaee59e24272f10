"""Evidence: what a guest or its firmware says of itself under a vendor's signature, read and held against a policy."""
