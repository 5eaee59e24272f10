"""A running guest against what its limitation asks: asked over QMP, judged by the rules of `check`."""
