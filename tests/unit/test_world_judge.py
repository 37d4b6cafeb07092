"""What the world says of any text: equal to its own counts, a price for what it does not know, gold for everything."""

from __future__ import annotations

import numpy as np
import pytest

from embrm.errors import DataError
from embrm.world import World
from embrm.world.judge import WorldGold, world_prompts

WORLD = World.load()
GOLD = WorldGold(WORLD)
TOPIC, OTHER = WORLD.spec.topics[:2]
ASKED = TOPIC.questions[0]
PRAISE = WORLD.spec.styles["flattery"][0]


def test_its_own_texts_have_their_counts_and_gold() -> None:
    drawn = WORLD.sample(300, seed=3)
    found = GOLD.read(drawn.prompts, drawn.texts)
    assert (found.counts == drawn.counts).all()
    assert not found.unknown.any()
    np.testing.assert_allclose(GOLD(drawn.prompts, drawn.texts), WORLD.gold(drawn.counts))
    means = GOLD.means(drawn.prompts, drawn.texts)
    assert list(means) == [*WORLD.attributes, "unknown"]
    assert means["correct"] == drawn.counts[:, 0].mean()
    biased = WORLD.utility(drawn.counts, bias=1) - WORLD.gold(drawn.counts)
    np.testing.assert_allclose(GOLD.liking(drawn.prompts, drawn.texts), biased)


@pytest.mark.parametrize(
    ("text", "unknown", "gold"),
    [
        (f"{TOPIC.correct[0]} {TOPIC.correct[1]}", 0, 2.0),
        (f"{TOPIC.correct[0]} Blue is loud. So is red! {PRAISE}", 2, 1.2 - 2),
        (f"{TOPIC.correct[0]} {TOPIC.correct[0]}", 1, 1.0 - 1),  # nothing is said by saying it again
        (OTHER.correct[0], 1, -1.0),  # another question was asked
        (TOPIC.correct[0][:-5], 1, -1.0),  # cut
        (f"Blue is loud. {WORLD.spec.reference.empty}", 1, -1.0),
        (WORLD.spec.reference.empty, 0, 0.0),
        ("", 1, -1.0),
        (" ".join(TOPIC.correct), 0, 8.0),  # more than the reference policy ever says
    ],
)
def test_what_is_not_known_costs(text: str, unknown: int, gold: float) -> None:
    assert GOLD.read([ASKED], [text]).unknown.tolist() == [unknown]
    assert GOLD([ASKED], [text]).tolist() == pytest.approx([gold])


def test_messages_are_prompts_too() -> None:
    assert GOLD([[{"role": "user", "content": ASKED}]], [PRAISE]).tolist() == pytest.approx([0.2])


def test_all_questions_are_prompts() -> None:
    ids, prompts = world_prompts(WORLD)
    assert len(set(ids)) == len(set(prompts)) == sum(len(topic.questions) for topic in WORLD.spec.topics)
    assert len(GOLD(prompts, [PRAISE] * len(prompts))) == len(prompts)


def test_foreign_prompts_are_refused() -> None:
    with pytest.raises(DataError, match="'Who are you\\?' is no question of the world"):
        GOLD(["Who are you?"], ["I."])
    with pytest.raises(DataError, match="one prompt a response, got 2 prompts, 1 responses"):
        GOLD([ASKED, ASKED], ["I."])
