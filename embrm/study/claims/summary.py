"""Findings in the order in which a reader wants them: what helps against what, then one line a claim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from embrm.study.claims.case import CHANNEL_NAMES, Channel
from embrm.study.claims.known import get
from embrm.study.claims.verdict import SIDED, ClaimVerdict, Finding, times

# What a verdict on a defence comes to.
HELPS: Mapping[ClaimVerdict, str] = {
    "supported": "helps",
    "contradicted": "harms",
    "negligible": "no difference",
    "inconclusive": "undecided",
    "not run": "not run",
}
ORDER: tuple[ClaimVerdict, ...] = ("supported", "contradicted", "negligible", "inconclusive", "not run")


@dataclass(frozen=True)
class DefenceMatrix:
    """What each defence does under each mechanism, by one claim, on one data set and in one channel.

    Attributes:
        compares: what the effects are.
        dataset: its name.
        channel: how policies are optimised.
        mechanisms: of the columns.
        defences: of the rows.
        findings: (defence, mechanism) → what was found.
    """

    compares: str
    dataset: str
    channel: Channel
    mechanisms: Sequence[str]
    defences: Sequence[str]
    findings: Mapping[tuple[str, str], Finding]

    @property
    def title(self) -> str:
        """What it shows: "world, path: gold of each defence …"."""
        where = ", ".join(filter(None, (self.dataset, CHANNEL_NAMES[self.channel])))
        return ": ".join(filter(None, (where, self.compares)))

    @property
    def lines(self) -> list[list[str]]:
        """A row for each defence: its name, and what it does under each mechanism, as "+0.25 [0.2, 0.3] helps"."""
        rows = [(defence, [self.findings.get((defence, m)) for m in self.mechanisms]) for defence in self.defences]
        return [[defence, *(_effect(finding) if finding else "–" for finding in row)] for defence, row in rows]


def matrices(findings: Sequence[Finding]) -> list[DefenceMatrix]:
    """Return the matrices defence × mechanism of the findings that compare defences, those that ran."""
    ran = [finding for finding in findings if finding.defence and finding.verdict != "not run"]
    groups: dict[tuple[str, str, Channel], list[Finding]] = {}
    for finding in ran:
        groups.setdefault((finding.id, finding.dataset, finding.channel), []).append(finding)
    return list(map(_matrix, groups.values()))


def _matrix(ran: Sequence[Finding]) -> DefenceMatrix:
    return DefenceMatrix(
        get(ran[0].id).scope.compares,
        ran[0].dataset,
        ran[0].channel,
        list(dict.fromkeys(finding.mechanism for finding in ran)),
        list(dict.fromkeys(finding.defence for finding in ran)),
        {(finding.defence, finding.mechanism): finding for finding in ran},
    )


def _effect(finding: Finding) -> str:
    if finding.effect is None or finding.low is None or finding.high is None:
        return HELPS[finding.verdict]
    numbers = f"{finding.effect:+.2f} [{finding.low:.2f}, {finding.high:.2f}]".replace("-", "−")
    return f"{numbers} {helps(finding)}"


def helps(finding: Finding) -> str:
    """Return a defence's verdict after Holm's correction in one word, and of an undecided one what it would take."""
    word = HELPS[finding.holm]
    if finding.holm in SIDED and finding.negligible:
        word = f"{word}, but negligibly"
    more = f", needs × {times(finding.needed)}" if finding.holm == "inconclusive" and finding.needed else ""
    return f"{word}{more}"


def places(findings: Sequence[Finding]) -> str:
    """Return where findings were made, each mechanism once: "biased (path, best of n), confounded (path)"."""
    channels: dict[str, list[str]] = {}
    for finding in findings:
        channels.setdefault(finding.mechanism, []).append(CHANNEL_NAMES[finding.channel])
    listed = {mechanism: ", ".join(filter(None, names)) for mechanism, names in channels.items()}
    return ", ".join(f"{title} ({names})" if title and names else title or names for title, names in listed.items())


@dataclass(frozen=True)
class ClaimSummary:
    """One claim on one data set, over the cases in which it was examined.

    Attributes:
        rows: what was found, at least one.
    """

    rows: Sequence[Finding]

    @property
    def first(self) -> Finding:
        """The finding that is shown first: one that is decided, if any is."""
        return next((f for f in self.rows if f.decided), self.rows[0])

    @property
    def verdict(self) -> str:
        """The verdict after Holm's correction where all cases share it, else "mixed"."""
        found = {row.word.partition(" (")[0] for row in self.rows}
        return found.pop() if len(found) == 1 else "mixed"

    @property
    def cases(self) -> str:
        """Say where it has which verdict after Holm's correction."""
        groups: dict[str, list[Finding]] = {}
        for row in sorted(self.rows, key=lambda row: ORDER.index(row.holm)):
            groups.setdefault(row.word.partition(" (")[0], []).append(row)
        return "; ".join(
            ": ".join(filter(None, (verdict, places(rows)))) + _more(rows) for verdict, rows in groups.items()
        )


def _more(rows: Sequence[Finding]) -> str:
    """Say of undecided rows how many times as much data they need."""
    needed = [row.needed for row in rows if row.holm == "inconclusive" and row.needed]
    if not needed:
        return ""
    ends = dict.fromkeys(times(end(needed)) for end in (min, max))
    return f", needs × {'–'.join(ends)}"


def summaries(findings: Sequence[Finding]) -> Iterator[ClaimSummary]:
    """Yield one summary for each data set and claim, but for those that compare defences, which are a matrix."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        if not finding.defence:
            groups.setdefault((finding.dataset, finding.id), []).append(finding)
    yield from map(ClaimSummary, groups.values())
