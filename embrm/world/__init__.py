"""The simulated world with a known gold reward."""

from embrm.world.preferences import prefer
from embrm.world.world import Responses, World

__all__ = ["Responses", "World", "prefer"]
