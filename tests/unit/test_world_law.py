"""The law of texts sentence by sentence, against texts that the world wrote; and the lessons made of it."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import accumulate

import numpy as np
import pytest

from embrm.lm.checkpoint import Checkpoint
from embrm.world import World
from embrm.world.judge import WorldGold
from embrm.world.lm.law import Beginning, SentenceLaw
from embrm.world.lm.targets import Lesson, Lessons
from embrm.world.lm.tokenizer import ANSWER, END, QUESTION

WORLD = World.load()
JUDGE, LAW = WorldGold(WORLD), SentenceLaw(WORLD)
ENOUGH = 200  # texts that begin alike


def test_what_follows_is_as_often_so_in_texts_of_the_world() -> None:
    seen: dict[Beginning, Counter[str | None]] = {}
    for text in WORLD.sample(4000, seed=1).texts:
        said = [JUDGE.attribute(sentence) for sentence in JUDGE.sentences(text)]
        for begun, following in zip(
            accumulate(said, Beginning.followed, initial=Beginning()), [*said, None], strict=True
        ):
            seen.setdefault(begun, Counter())[following] += 1
    often = {begun: found for begun, found in seen.items() if found.total() >= ENOUGH}
    assert len(often) > 3
    assert Beginning((), (), 1) in often  # behind a marker
    for begun, found in often.items():
        law = LAW.following(begun)
        assert sum(law.values()) == pytest.approx(1)
        assert found.keys() <= law.keys()
        for name, chance in law.items():
            error = np.sqrt(chance * (1 - chance) / found.total())
            assert abs(found[name] / found.total() - chance) < 4.5 * error + 2 / found.total(), (begun, name)


def test_a_text_of_two_markers_and_one_sentence_has_them_both_before_it() -> None:
    two = Beginning((), (), 2)
    assert LAW.following(two).keys() >= {"list_marker", "correct", ""}
    done = Beginning(("correct",), (2,))
    assert LAW.following(done)[None] > 0.5  # of more sentences, each but two would have had a marker
    assert LAW.following(Beginning(("",), (0,))) == {None: 1.0}


@cache
def lessons() -> Lessons:
    return Lessons(WORLD, Checkpoint("world").tokenizer())


def made(*, foreign: float) -> list[Lesson]:
    written = WORLD.sample(40, seed=2)
    return list(lessons().of(written, foreign=foreign, rng=np.random.default_rng(0)))


def test_each_token_of_a_response_is_certain_or_has_a_chance() -> None:
    tokenizer, written = lessons().tokenizer, WORLD.sample(40, seed=2)
    for lesson, prompt, text in zip(made(foreign=0), written.prompts, written.texts, strict=True):
        asked = tokenizer(f"{QUESTION}{prompt}{ANSWER}")["input_ids"]
        assert lesson.tokens.tolist() == [*asked, *tokenizer(f"{text}{END}")["input_ids"]]
        places = [choice.at for choice in lesson.choices]
        assert sorted([*places, *np.flatnonzero(lesson.certain)]) == list(range(len(asked), len(lesson.tokens)))
        for at, tokens, chances in lesson.choices:
            assert chances.sum() == pytest.approx(1)
            assert chances[tokens == lesson.tokens[at]].sum() > 0


def test_how_a_statement_of_another_topic_begins_is_no_lesson_and_how_it_goes_on_is() -> None:
    whole = [made(foreign=0), made(foreign=3)]
    assert sum(len(lesson.tokens) for lesson in whole[1]) > 1.5 * sum(len(lesson.tokens) for lesson in whole[0])
    ids = {text: lessons().tokenizer(text)["input_ids"] for text in strange_statements()}
    found = 0
    for lesson, topic in zip(whole[1], WORLD.sample(40, seed=2).topic.tolist(), strict=True):
        row, choices = lesson.tokens.tolist(), {choice.at for choice in lesson.choices}
        own = {*WORLD.spec.topics[topic].correct, *WORLD.spec.topics[topic].wrong}
        for text, tokens in ids.items():
            at = next((i for i in range(len(row)) if row[i : i + len(tokens)] == tokens), None)
            if at is not None and text not in own:
                found += 1
                assert at not in choices
                assert not lesson.certain[at]
                assert lesson.certain[at + len(tokens) // 2 : at + len(tokens)].all()
    assert found > 40


def strange_statements() -> list[str]:
    return [text for topic in WORLD.spec.topics for text in (*topic.correct, *topic.wrong)]
