"""What a reward is worth: scores of texts, reports on pairs and pools, rules and heads compared.

Numbers without a reward behind them are `embrm.metrics`; what happens along a run is `embrm.monitoring`.
"""
