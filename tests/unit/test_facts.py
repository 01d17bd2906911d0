"""siptls.cli.facts: what stands in a certificate, be it well-formed or not."""

from __future__ import annotations

import datetime as dt
from typing import Any

from certificates import NOW, SECOND, YEAR, altered, make, make_ca, purposes
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from siptls.cli.facts import Facts, days_until

CA = make_ca("Contoso CA")
LEAF = make("leaf", CA, purposes(ExtendedKeyUsageOID.SERVER_AUTH)).certificate
DAY = dt.timedelta(days=1)


def test_who_has_issued_it_and_for_what_it_is_meant() -> None:
    facts = Facts(LEAF, NOW)
    assert facts.issuer == "CN=Contoso CA"
    assert facts.purposes == ("serverAuth",)
    assert not facts.is_self_signed
    assert Facts(CA.certificate, NOW).is_self_signed
    assert Facts(CA.certificate, NOW).purposes is None


def test_its_dates_are_held_against_the_time_of_the_look() -> None:
    before, within, after = NOW - YEAR - SECOND, NOW, NOW + YEAR + SECOND
    assert [Facts(LEAF, now).has_begun for now in (before, within, after)] == [False, True, True]
    assert [Facts(LEAF, now).has_ended for now in (before, within, after)] == [False, False, True]
    assert Facts(LEAF, NOW).days == 365
    assert Facts(LEAF, NOW + YEAR).days == 0


def test_days_are_whole_and_negative_once_it_is_over() -> None:
    assert days_until(NOW + DAY - SECOND, NOW) == 0
    assert days_until(NOW + DAY, NOW) == 1
    assert days_until(NOW - SECOND, NOW) == -1
    assert days_until(NOW - 2 * DAY, NOW) == -2


def test_what_cannot_be_decoded_is_no_failure() -> None:
    usage = x509.ObjectIdentifier("2.5.29.37")
    broken = (x509.UnrecognizedExtension(usage, b"\x30\xff"), False)
    assert Facts(make("leaf", CA, broken).certificate, NOW).purposes is None


def test_a_name_of_a_stranger_is_one_printable_line() -> None:
    facts = Facts(make("leaf", make_ca("x\x1b[2J\r\ny")).certificate, NOW)
    assert facts.issuer.isprintable()
    assert Facts(make("leaf", make_ca("")).certificate, NOW).issuer == "(empty name)"


def test_as_plain_data_it_is_what_a_decision_tells_and_more() -> None:
    told = Facts(LEAF, NOW).to_dict()
    assert told["issuer"] == "CN=Contoso CA"
    assert told["self_signed"] is False
    assert told["purposes"] == ["serverAuth"]
    assert told["days"] == 365
    assert {"description", "serial", "sha256", "not_before", "not_after"} <= set(told)
    assert Facts(CA.certificate, NOW).to_dict()["purposes"] is None


class Broken:
    """A certificate whose names do not decode: `cryptography` raises whenever one looks."""

    @property
    def issuer(self) -> x509.Name:
        raise ValueError("error parsing asn1 value")


def test_an_issuer_that_cannot_be_decoded_is_told_so() -> None:
    certificate: Any = Broken()
    assert Facts(certificate, NOW).issuer == "(name that cannot be decoded)"
    assert not Facts(certificate, NOW).is_self_signed


def test_dates_that_cannot_be_decoded_are_no_failure() -> None:
    """There is no year 0, and X.690 lets one be written."""
    made = make("leaf", CA, not_after=dt.datetime(9999, 1, 1, tzinfo=dt.UTC))
    facts = Facts(altered(made, b"99990101000000Z", b"00000101000000Z"), NOW)
    assert facts.validity is None
    assert facts.days is None
    assert facts.has_begun
    assert not facts.has_ended
    told = facts.to_dict()
    assert (told["not_before"], told["not_after"], told["days"]) == (None, None, None)
