"""Event logs of confidential guests: read strictly, replayed against measured registers, and told in words."""
