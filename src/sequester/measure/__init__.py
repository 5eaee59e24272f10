"""What a launch is measured as: the digests that a guest's owner has to expect, worked out without the host.

One module a platform, named as its platform is; the others are what they share. Nothing here looks at the
machine it runs on except for the files that a launch names.
"""
