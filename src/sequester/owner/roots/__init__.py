"""AMD's keys for SEV by product: ASK and ARK, as AMD publishes them (see `sequester.owner.sev_chain.ROOTS`)."""
