"""What a host is and what it lacks: facts gathered once into a plain record, judged by pure functions.

`collect` gathers (and travels alone), `facts` is the typed view over its record, `requirement` and the files of
checks judge it. Collecting and judging share nothing but the record.
"""
