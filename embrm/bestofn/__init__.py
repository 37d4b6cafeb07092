"""Best-of-n and its relatives on pools of scored responses: exact curves, over-optimisation, where hacking begins.

Arrays in, curves out; which rule values the responses belongs to `embrm.selectors`.
"""

from embrm.bestofn.curves import Curve, believable, pool_kl
from embrm.bestofn.exact import curve, kl_bound, kl_estimate, oracle_fraction, sizes_up_to, win_score
from embrm.bestofn.ranks import Convention
from embrm.bestofn.sampled import sampled
from embrm.bestofn.scaling_law import Extrapolation, GaoFit, Peak, extrapolate, fit_gao, peak
from embrm.bestofn.steps import AGGREGATIONS, Aggregation, StepSearch, Trace, aggregate, step_probability, trace_reward
from embrm.bestofn.stochastic import pessimistic, poisson, soft
from embrm.bestofn.threshold import PathRule, hack_threshold
from embrm.bestofn.tilt import TiltPath, reference_sd, tilt_curve, tilt_path, tilted, tilted_pools

__all__ = [
    "AGGREGATIONS",
    "Aggregation",
    "Convention",
    "Curve",
    "Extrapolation",
    "GaoFit",
    "PathRule",
    "Peak",
    "StepSearch",
    "TiltPath",
    "Trace",
    "aggregate",
    "believable",
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
    "reference_sd",
    "sampled",
    "sizes_up_to",
    "soft",
    "step_probability",
    "tilt_curve",
    "tilt_path",
    "tilted",
    "tilted_pools",
    "trace_reward",
    "win_score",
]
