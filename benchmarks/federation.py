"""How long a decision takes with 10 partners, and with 10 000.

Both federations decide about the same partner's client, in turn (A B A B ...), each time about new
evidence, so that nothing is remembered. Printed are the median of each, and the median and range of
the ratio within a pair, per CPU second of this process.
"""

from __future__ import annotations

import statistics
import sys
import time

from siptls import Evidence, Federation, Partner, Role, TrustPolicy
from siptls.testing import CertificateAuthority, evidence

ROUNDS, DECISIONS = 31, 20
FEW, MANY = 10, 10_000


def federation(size: int, ca: CertificateAuthority, own: bool) -> Federation:
    """Give a federation: each partner with an authority of its own, or all with the same."""
    shared = CertificateAuthority("Public CA", seed="bench").authority()

    def authority(number: int) -> Partner:
        if not number:
            return Partner(["partner.example"], ca.authority())
        cas = CertificateAuthority(f"CA {number}", seed="bench").authority() if own else shared
        return Partner([f"partner{number}.example"], cas)

    return Federation([authority(number) for number in range(size)])


def seconds(policy: TrustPolicy, shown: Evidence) -> float:
    """CPU seconds of some decisions, each about evidence that is new."""
    fresh = [
        Evidence(shown.chain, Role.CLIENT, now=shown.now, reference=shown.reference)
        for _ in range(DECISIONS)
    ]
    start = time.process_time()
    for one in fresh:
        assert policy.evaluate(one).accepted
    return (time.process_time() - start) / DECISIONS


def main() -> None:
    """Measure, and print a table."""
    ca = CertificateAuthority("Partner CA", seed="bench")
    shown = evidence(ca.issue("sip:partner.example"))
    print(f"Python {sys.version.split()[0]}; {ROUNDS} pairs of {DECISIONS} decisions each")
    for own in (False, True):
        few, many = federation(FEW, ca, own), federation(MANY, ca, own)
        seconds(few, shown), seconds(many, shown)
        pairs = [(seconds(few, shown), seconds(many, shown)) for _ in range(ROUNDS)]
        ratios = sorted(b / a for a, b in pairs)
        print(
            f"{'a CA each' if own else 'shared CA'}:"
            f" {FEW} partners {statistics.median(a for a, _ in pairs) * 1e6:.0f} us,"
            f" {MANY} partners {statistics.median(b for _, b in pairs) * 1e6:.0f} us,"
            f" ratio {statistics.median(ratios):.2f} [{ratios[0]:.2f}-{ratios[-1]:.2f}]"
        )


if __name__ == "__main__":
    main()
