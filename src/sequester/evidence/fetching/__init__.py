"""Where a vendor's documents come from: a folder that was filled before, a cache, the network.

`stack.Stack(...).lookup` is the `Lookup` that evidence is appraised with. What is had from anywhere is judged there by
its signatures; here it is only looked at for what it is and how long it may be used.
"""
