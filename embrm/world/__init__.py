"""The simulated world with a known gold reward: topics, annotators, texts, shipped vectors, runs in it.

Policies that write its texts are `embrm.policies`; what a study measures on it is `embrm.study.datasets.world`.
"""

from embrm.world.mechanism import Mechanism
from embrm.world.preferences import prefer
from embrm.world.world import Responses, World

__all__ = ["Mechanism", "Responses", "World", "prefer"]
