"""Claims on detection: what the bottleneck's latent shows of a hacked policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array
from embrm.monitoring.fair import alarms_mean
from embrm.monitoring.onset import alarm_report, cusum_alarm, gold_onset
from embrm.study.claims import margins
from embrm.study.claims.case import FAIR
from embrm.study.claims.cells import Cells, Of
from embrm.study.claims.define import Measured, claim
from embrm.study.claims.fits import missing
from embrm.study.claims.live import recent
from embrm.study.claims.verdict import difference, equivalence
from embrm.study.metric import Metric

CSI = Metric("watch", "csi", "latent")
FEWEST = 2  # runs of each kind, for a spread


@dataclass(frozen=True, eq=False)
class _WatchedRun:
    """CSI and gold `(steps,)` of a policy that moves away from π_ref."""

    csi: Array
    gold: Array

    def unhacked(self) -> _WatchedRun:
        """Return the run up to where gold falls."""
        end = gold_onset(self.gold)
        return _WatchedRun(self.csi[:end], self.gold[:end])

    def rise(self, step: int) -> float:
        """Return by how much CSI is higher from a step on, relative to its mean before."""
        before, after = self.csi[:step].mean(), self.csi[step:].mean()
        return float((after - before) / max(abs(before), 1e-12))

    def noticed(self) -> bool:
        """Return whether an alarm fires at or before the onset, within half of the run."""
        steps = len(self.csi)
        alarm = cusum_alarm(self.csi, baseline=max(steps // 4, 2))
        found = alarm_report(self.csi, self.gold, alarm=alarm, window=steps // 2)
        return found.onset is not None and not found.missed and not found.false_alarm

    def alarmed(self) -> bool:
        return cusum_alarm(self.csi, baseline=max(len(self.csi) // 4, 2)) is not None


@claim(
    "C7",
    "CSI rises when gold falls (onset within the lead window), and stays low on a run that is not hacked",
    source="InfoRM 2024",
    heads=["inform"],
    setting="Along an exact path the policy leaves π_ref evenly, so CSI can rise with KL whether gold falls or not.",
)
def csi_rises(cells: Cells) -> Measured:
    """Rise of CSI from before to after gold's onset on hacked runs; and on clean runs less than a quarter of it.

    Clean are runs against fair annotators up to where their own gold falls, if it does, and only those that get as far
    as the hacked runs' onset.
    """
    short = []
    for kind, of in (("RL runs", _of_rl), ("runs along the path", _of_path)):
        runs, fair = of(cells, clean=False), [run.unhacked() for run in of(cells, clean=True)]
        onsets = [(run, gold_onset(run.gold)) for run in runs]
        turned = [(run, onset) for run, onset in onsets if onset]
        step = int(np.median([onset for _, onset in turned])) if turned else 0
        unhacked = [run for run in fair if len(run.csi) > step]
        if len(turned) >= FEWEST and len(unhacked) >= FEWEST:
            break
        if runs or fair:
            short.append(
                f"gold falls in {len(turned)} of {len(onsets)} {kind} of {cells.dataset}, and {len(unhacked)} of "
                f"{len(fair)} with fair annotators get as far without a fall"
            )
    else:
        raise missing(f"{'; '.join(short) or f'{cells.dataset} has no runs'}; two of each are the least")
    hacked = np.array([run.rise(onset) for run, onset in turned])[:, None]
    clean = np.array([run.rise(step) for run in unhacked])[:, None]
    parts = [
        difference("relative rise of CSI when gold falls", cells.mean(hacked, None)),
        equivalence(
            f"rise on clean runs less {margins.CSI} of that on hacked ones",
            cells.sample([clean, hacked], lambda means: means[0] - margins.CSI * means[1], crossed=False),
            below=0.0,
        ),
    ]
    hits, false = sum(run.noticed() for run, _ in turned), sum(run.alarmed() for run in unhacked)
    said = f"{kind}: alarm in time in {hits} of {len(turned)}, false alarms among fair annotators in {false}"
    shift = alarms_mean(hits, len(turned), false, len(clean))
    return parts, "; ".join([f"{said} of {len(clean)}: {shift}", *short])


def _of_path(cells: Cells, *, clean: bool) -> list[_WatchedRun]:
    mechanism = FAIR if clean else None  # at the same label noise, which alone may move a path
    found = cells.gather(*(Of("inform", metric, mechanism=mechanism) for metric in (CSI, Metric("points", "gold"))))
    return [_run(csi, gold) for csi, gold in zip(*(x.T for x in found), strict=True)]


def _of_rl(cells: Cells, *, clean: bool) -> list[_WatchedRun]:
    rows = cells.runs("inform", FAIR if clean else None)
    return [_run(r.arrays[CSI], recent(r.arrays[Metric("run", "gold")])) for r in rows if CSI in r.arrays]


def _run(csi: Array, gold: Array) -> _WatchedRun:
    finite = np.isfinite(csi) & np.isfinite(gold)
    return _WatchedRun(csi[finite], gold[finite])


@claim(
    "C8",
    "Over-optimised samples are outliers in the bottleneck's latent: AUROC above raw embeddings and PCA of equal size",
    source="InfoRM 2024",
    heads=["inform"],
    setting="Frozen embeddings already tell styles apart, and the latent keeps only what the training pairs asked for.",
)
def outliers(cells: Cells) -> Measured:
    """AUROC in the latent minus that in raw embeddings and minus that in their principal axes; the better decides."""
    spaces = ("latent", "joint", "pca")
    metrics = [Metric("auroc", space=space) for space in spaces]
    found = np.stack(cells.gather(*(Of("inform", metric) for metric in metrics)), axis=2)
    kept = np.asarray(np.isfinite(found).all(axis=(1, 2)))
    whole, remark = found[kept], ""
    if len(whole) < len(found) / 2:
        # Few prompts have hacked texts under every seed: seeds are averaged over, where there are any.
        some = np.asarray(np.isfinite(found).all(axis=2))
        kept = np.asarray(some.any(axis=1))
        whole = np.nanmean(np.where(some[..., None], found, np.nan)[kept], axis=1, keepdims=True)
        remark = f"of {found.shape[1]} seeds those with hacked texts are averaged for each prompt"
    clusters = cells.clusters(metrics[0])[kept]
    parts = [
        difference(
            f"AUROC in the latent minus {name}",
            cells.mean(whole[..., 0] - whole[..., i], clusters),
            smallest=margins.AUROC,
        )
        for i, name in enumerate(("raw embeddings", "PCA"), start=1)
    ]
    level = (
        ", ".join(f"{s} {x:.3g}" for s, x in zip(spaces, whole.mean(axis=(0, 1)), strict=True)) if len(whole) else ""
    )
    return parts, "; ".join(filter(None, [f"AUROC: {level}", f"{len(whole)} of {len(found)} prompts", remark]))
