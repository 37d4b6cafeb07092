"""A reward plus how much more a text is like expert answers than like the policy's."""

from __future__ import annotations

from dataclasses import dataclass

from embrm.core.registry import register
from embrm.selectors.penalised import Penalised


@register
@dataclass(frozen=True, kw_only=True)
class Imitation(Penalised):
    """Largest mean reward plus a weighted log-density ratio: experts' answers over those of the reference policy.

    r + λ·(log p_experts(e) − log p_ref(e)), e the response's vector, after the imitation reward of 2411.08637. The
    penalty of each row is minus the ratio, as `embrm.evaluation.imitation.imitation_penalty` makes it of vectors and
    `--penalty imitation --experts FILE` of texts. Left out, as it needs a language model: the likelihood of tokens
    under a model that was trained on the experts' answers (here it is a density of whole vectors), and that a policy is
    trained on the sum.

    Attributes:
        weight: λ, in reward per nat of the ratio; 0 turns it off and leaves the mean.

    Examples:
        >>> from embrm.core.results import Reward
        >>> choice = Imitation(weight=0.5)(Reward([[1.0, 2.0]], "point"), penalty=[-6.0, 0.0])
        >>> choice.index.item(), choice.value
        (0, array([4., 2.]))
    """

    weight: float = 0.1
