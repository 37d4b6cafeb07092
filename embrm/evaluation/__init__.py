"""What a reward is worth: scores of texts, reports on pairs and pools, rules compared on one set of pools.

Numbers without a reward behind them are `embrm.metrics`; what happens along a run is `embrm.monitoring`.
"""
