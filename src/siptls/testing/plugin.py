"""The pytest plugin: fixtures for tests of policies. It is there as soon as siptls is installed.

The keys are made from a seed, so that they cost no time and are the same in each run.
"""

from __future__ import annotations

import pytest

from siptls.testing.pki import CertificateAuthority
from siptls.trust.enterprise import Enterprise
from siptls.trust.federation import Partner

__all__ = ["enterprise", "partner", "partner_ca", "sip_ca"]


@pytest.fixture(scope="session")
def sip_ca() -> CertificateAuthority:
    """The CA of an enterprise."""
    return CertificateAuthority("Enterprise CA", seed="siptls")


@pytest.fixture(scope="session")
def partner_ca() -> CertificateAuthority:
    """The CA of a federation partner."""
    return CertificateAuthority("Partner CA", seed="siptls")


@pytest.fixture
def enterprise(sip_ca: CertificateAuthority) -> Enterprise:
    """The policy of ``enterprise.example``, for which ``sip_ca`` vouches."""
    return Enterprise(["enterprise.example"], sip_ca.authority())


@pytest.fixture
def partner(partner_ca: CertificateAuthority) -> Partner:
    """The partner ``partner.example``, for which ``partner_ca`` vouches."""
    return Partner(["partner.example"], partner_ca.authority())
