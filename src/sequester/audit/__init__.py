"""A running guest held against what its limitation asks for."""
