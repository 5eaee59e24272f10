"""The guest owner's side of a launch: chain, session, measurement, secret, ID block."""
