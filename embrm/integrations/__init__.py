"""Other people's trainers and benchmarks: TRL, OpenRLHF, scikit-learn, RewardBench.

Each module needs its library alone; what several of them need is below them.
"""
