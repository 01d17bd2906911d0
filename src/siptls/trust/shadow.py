"""Shadow: the dry run of a policy change.

The policy in force decides. A candidate is asked about the same peers, and where it would decide
otherwise, that is told. Nothing of the candidate reaches a decision: it is asked last, about a copy
of the evidence, and whatever goes wrong with it is a line in the log.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from siptls.arguments import check_callback
from siptls.journal import about
from siptls.journal import log as _log
from siptls.trust.authority import Authority
from siptls.trust.comparison import Difference, DifferenceKind, judge_apart
from siptls.trust.decision import Decision
from siptls.trust.evidence import Evidence
from siptls.trust.names import printable
from siptls.trust.plain import shown_names
from siptls.trust.policy import (
    Combinable,
    TrustPolicy,
    authorities_of,
    judge,
    log_failure,
    require_policy,
)

__all__ = ["MAX_TOLD", "Shadow"]


# Differences that are remembered as logged: as many as a large federation has edges. After that
# the oldest is forgotten, and logged again if it comes again: a stranger who presents ever new
# names shall neither fill memory nor silence the others.
MAX_TOLD = 1024


def _is_policy(_: Any, __: Any, value: Any) -> None:
    require_policy(value)


def _is_callback(_: Any, __: Any, value: Any) -> None:
    check_callback("on_difference", value)


@frozen
class Shadow(Combinable):
    """Decides exactly as one policy, and tells where another one would decide otherwise.

    Both are asked in each handshake, one after the other, so that it costs what both cost. Put it
    around the whole policy: what stands outside of it is not part of the comparison.

    Args:
        current: The policy in force. Its decision is the decision.
        candidate: The policy that is to replace it. One that raises has refused, and nobody notices
            but ``on_difference`` and the log.
        on_difference: ``def on_difference(difference)``: called for each handshake in which they
            differ, in the handshake and in its thread, so be quick. What it raises is logged. None
            logs a warning, once for each kind of difference and names that a peer presents.

    Raises:
        ConfigurationError: One of them is no policy, or the callback no plain function.
    """

    current: TrustPolicy = field(validator=_is_policy)
    candidate: TrustPolicy = field(validator=_is_policy)
    on_difference: Callable[[Difference], Any] | None = field(default=None, validator=_is_callback)
    _told: OrderedDict[tuple[DifferenceKind, bytes], None] = field(
        factory=OrderedDict, init=False, eq=False, repr=False
    )

    @property
    def authorities(self) -> frozenset[Authority] | None:
        """Who vouches in the current policy; None if it does not tell.

        Not in the candidate: with further anchors OpenSSL would ask clients for other certificates
        and might build other paths, and so the decisions would not be those of the current policy.
        """
        return authorities_of(self.current)

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Decide as the current policy does; tell if the candidate would not."""
        decision = judge(self.current, evidence)
        try:
            difference = Difference(evidence, decision, judge_apart(self.candidate, evidence))
            if difference:
                tell = self._log_once if self.on_difference is None else self.on_difference
                tell(difference)
        except Exception as error:  # noqa: BLE001  whatever it is, it changes no decision
            log_failure("on_difference failed, and the decision stands", error, evidence)
        return decision

    def _log_once(self, difference: Difference) -> None:
        names = "\n".join(shown_names(difference.evidence)).encode(errors="replace")
        key = (difference.kind, hashlib.sha256(names).digest())
        if key in self._told:
            return
        self._told[key] = None
        if len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)  # in one step, whatever other threads do
        evidence = difference.evidence
        fields = about(
            "decision_differs",
            address=evidence.address,
            role=evidence.role,
            expected=evidence.reference,
            presented=map(printable, shown_names(evidence)),
            difference=str(difference.kind),
        )
        _log.warning("a candidate would decide otherwise: %s", difference.summary, extra=fields)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("a candidate would decide otherwise: %s", difference.explain(), extra=fields)
