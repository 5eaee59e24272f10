"""The consequences of the trust limitation: one definition a rule, one file a concern."""
