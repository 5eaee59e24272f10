"""Whether certificates were revoked, by their issuers' own lists: whole, signed, and current."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.papers import describe_subject, papers
from sequester.evidence.policy import Policy
from sequester.measure.certificates import is_whole_and_signed, names_key

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

ListAddress = Callable[["Certificate"], str]
"""Certificate → where its issuer publishes what it revoked, '' where it publishes nothing."""


class Revocation:
    """Asks the issuers' lists for each certificate of a path."""

    def __init__(
        self,
        lists: tuple[CertificateRevocationList, ...],
        address: ListAddress,
        lookup: Callable[[str], bytes | None],
        policy: Policy,
        now: datetime,
    ) -> None:
        self._lists = lists
        self._address = address
        self._lookup = lookup
        self._policy = policy
        self._now = now
        self.since = datetime.min.replace(tzinfo=UTC)
        self.until = datetime.max.replace(tzinfo=UTC)

    def checks(self, certificates: tuple[Certificate, ...]) -> tuple[Check, Check]:
        """Return REVOCATION and FRESHNESS for all but the root."""
        asked: list[str] = []
        waived = ""
        for certificate, issuer in pairwise(certificates):
            address = self._address(certificate)
            if not address:
                continue
            name, by = describe_subject(certificate), describe_subject(issuer)
            own = self._own(issuer, address)
            if any(each.get_revoked_certificate_by_serial_number(certificate.serial_number) for each in own):
                return (
                    failed(criteria.REVOCATION, f"'{by}' revoked '{name}'", "not revoked", "certificates"),
                    skipped(criteria.FRESHNESS, "a list that revokes need not be current"),
                )
            current = [each for each in own if self._current(each)]
            if current:
                newest = max(current, key=lambda each: each.last_update_utc)
                self._narrow(newest)
                asked.append(f"'{by}' (list of {newest.last_update_utc:%Y-%m-%d})")
            elif self._policy.revocation:
                return self._missing(own, by, address)
            else:
                waived = f"there is no current list of '{by}', and the policy asks for none"
        if waived:
            return skipped(criteria.REVOCATION, waived), skipped(criteria.FRESHNESS, waived)
        if not asked:
            why = "no issuer in this chain publishes a list"
            return skipped(criteria.REVOCATION, why), skipped(criteria.FRESHNESS, why)
        until = f"until {self.until:%Y-%m-%d %H:%M} UTC"
        return passed(criteria.REVOCATION, ", ".join(asked)), passed(criteria.FRESHNESS, until)

    def _own(self, issuer: Certificate, address: str) -> list[CertificateRevocationList]:
        own = [each for each in self._lists if _is_of(each, issuer)]
        if not any(self._current(each) for each in own):
            document = self._lookup(address)
            if document is not None:
                found, _ = papers((document,))
                own += [each for each in found.lists if _is_of(each, issuer)]
        return own

    def _current(self, each: CertificateRevocationList) -> bool:
        end = each.next_update_utc
        return end is not None and each.last_update_utc <= self._now < end

    def _narrow(self, each: CertificateRevocationList) -> None:
        end = each.next_update_utc
        assert end is not None
        self.since, self.until = max(self.since, each.last_update_utc), min(self.until, end)

    def _missing(self, own: list[CertificateRevocationList], by: str, address: str) -> tuple[Check, Check]:
        remedy = f"fetch {address} and give it with --collateral, or say `revocation = false` in the policy"
        if not own:
            return (
                failed(
                    criteria.REVOCATION, f"there is no list of '{by}'", "its current list", address, remedy
                ),
                skipped(criteria.FRESHNESS, "there is no list"),
            )
        newest = max(own, key=lambda each: each.last_update_utc)
        end = newest.next_update_utc
        times = f"from {newest.last_update_utc:%Y-%m-%d} to {f'{end:%Y-%m-%d}' if end else 'an unknown time'}"
        return (
            skipped(criteria.REVOCATION, f"the list of '{by}' is not current"),
            failed(
                criteria.FRESHNESS,
                f"the list of '{by}' is valid {times}",
                f"valid at {self._now:%Y-%m-%d %H:%M} UTC",
                address,
                remedy,
            ),
        )


def _is_of(each: CertificateRevocationList, issuer: Certificate) -> bool:
    return each.issuer == issuer.subject and names_key(each, issuer) and is_whole_and_signed(each, issuer)
