"""Best-of-n and its relatives on pools of scored responses: exact curves, over-optimisation, where hacking begins.

Arrays in, curves out; which rule values the responses belongs to `embrm.selectors`.
"""

from embrm.bestofn.curves import Curve, pool_kl
from embrm.bestofn.exact import curve, kl_bound, kl_estimate, oracle_fraction, win_score
from embrm.bestofn.ranks import Convention
from embrm.bestofn.scaling_law import Extrapolation, GaoFit, Peak, extrapolate, fit_gao, peak
from embrm.bestofn.stochastic import pessimistic, poisson, soft, tilt
from embrm.bestofn.threshold import hack_threshold

__all__ = [
    "Convention",
    "Curve",
    "Extrapolation",
    "GaoFit",
    "Peak",
    "curve",
    "extrapolate",
    "fit_gao",
    "hack_threshold",
    "kl_bound",
    "kl_estimate",
    "oracle_fraction",
    "peak",
    "pessimistic",
    "poisson",
    "pool_kl",
    "soft",
    "tilt",
    "win_score",
]
