"""AMD's root keys (ARK) of SEV-SNP by product line, and the intermediate certificates that are shipped.

Source: AMD's Key Distribution Service, ``https://kdsintf.amd.com/vcek/v1/{Milan,Genoa,Turin}/cert_chain`` (ASK, ARK)
and ``.../vlek/v1/.../cert_chain`` (ASVK, ARK), as its specification 57230 describes it.
"""

from __future__ import annotations

from functools import cache

from sequester.evidence.roots import shipped

ARKS = {
    "Milan": "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
    "Genoa": "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
    "Turin": "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
}
"""SHA-256 of each line's root certificate in DER: the only ones that are trusted."""

INTERMEDIATES = {
    "milan-ask": "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b",
    "milan-asvk": "c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5",
    "genoa-ask": "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521",
    "genoa-asvk": "197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372",
    "turin-ask": "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185",
    "turin-asvk": "104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c",
}
"""SHA-256 of the intermediate certificates. They are as good as the root that signed them, whoever hands them in."""


@cache
def certificates() -> tuple[bytes, ...]:
    """Return the certificates that are shipped, in DER."""
    names = {f"{line.lower()}-ark": pin for line, pin in ARKS.items()} | INTERMEDIATES
    found = (shipped(f"{name}.der", pin) for name, pin in names.items())
    return tuple(each for each in found if each is not None)
