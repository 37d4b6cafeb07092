"""One rule for chat content: the same text by files, TRL, OpenRLHF's function and its server's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embrm.data.chat import prompt_text, response_text
from embrm.data.texts import read_texts
from embrm.errors import DataError
from embrm.integrations._chat import split
from embrm.integrations.trl import said

CALL = {"type": "function", "function": {"name": "look", "arguments": '{"q": "x"}'}}
WRITTEN = '<tool_call>\n{"name": "look", "arguments": {"q": "x"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "So."}, "So."),
        ({"content": " So.\n"}, "So."),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb"),
        ({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "b"}]}, "b"),
        ({"content": None, "tool_calls": [CALL]}, WRITTEN),
        ({"tool_calls": [CALL]}, WRITTEN),
        ({"content": "Wait.", "tool_calls": [CALL]}, f"Wait.\n{WRITTEN}"),
        ({"content": None}, ""),
        ({"content": "So.", "reasoning_content": "hm"}, "So."),
        ({"content": "<think>hm</think>\n\nSo."}, "So."),
        ({"content": "hm</think>So."}, "So."),
        ({"content": "So.<think>hm"}, "So."),
        ({"content": "<think>never said"}, ""),
    ],
)
def test_a_message_is_its_words_and_calls(message: dict[str, Any], text: str) -> None:
    assert response_text([{"role": "assistant", **message}]) == text


def test_system_turns_and_turns_without_a_word_are_left_out() -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"from": "human", "value": "Hi"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": " "},
    ]
    assert prompt_text(messages) == "Hi"
    assert prompt_text(messages, keep_system=True) == "system: Be kind.\n\nuser: Hi"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "prompt must be text or a list of messages, got None"),
        (3.5, "got 3.5"),
        ([["a"]], "must hold messages"),
        ([{"role": "user"}], "must hold messages"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], "images cannot be embedded"),
        ([{"role": "user", "content": 3}], "a message's content must be text, got 3"),
        ("\ud800", "half of a surrogate pair"),
        ([{"role": "user", "content": "\ud800"}], "half of a surrogate pair"),
    ],
)
def test_what_is_no_text_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prompt_text(value)


words = st.text(st.characters(codec="utf-8", exclude_characters="<>[]｜|~{}"), min_size=1, max_size=20).filter(
    str.strip
)
turns = st.lists(st.tuples(words, words), max_size=2)


@given(before=turns, asked=words, answer=words, thought=st.none() | words, system=st.none() | words)
def test_one_conversation_is_one_text_by_every_route(
    before: list[tuple[str, str]],
    asked: str,
    answer: str,
    thought: str | None,
    system: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    prompt = [{"role": "system", "content": system}] if system else []
    for question, reply in before:
        prompt += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    prompt.append({"role": "user", "content": asked})
    spoken = f"<think>\n{thought}\n</think>\n\n{answer}" if thought else answer
    completion = [{"role": "assistant", "content": spoken}]
    templated = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in prompt)
    templated += "<|im_start|>assistant\n"
    folder = tmp_path_factory.mktemp("routes")
    (folder / "texts.jsonl").write_text(json.dumps({"prompt": prompt, "response": completion}))
    texts = read_texts(folder / "texts.jsonl")
    other = {"role": "assistant", "content": f"no {answer}"}
    (folder / "whole.jsonl").write_text(json.dumps({"chosen": prompt + completion, "rejected": [*prompt, other]}))
    whole = read_texts(folder / "whole.jsonl")
    query = f"{templated}{spoken}<|im_end|>"
    asked_text, answer_text, rows = said([prompt], [completion])
    routes = {
        "file": (texts.prompts[0], texts.responses[0]),
        "whole conversations": (whole.prompts[0], whole.responses[0]),
        "TRL": (asked_text[0], answer_text[0]),
        "TRL, templated": tuple(part[0] for part in said([templated], [spoken])[:2]),
        "OpenRLHF": split(query, templated),
        "OpenRLHF without prompts": split(query),
    }
    assert rows == [0]
    assert set(routes.values()) == {routes["file"]}, routes
    assert routes["file"][1] == answer.strip()


def test_tools_read_alike_in_files_and_trainers(tmp_path: Path) -> None:
    prompt = [
        {"role": "user", "content": "How?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "a leaflet"},
    ]
    (tmp_path / "x.jsonl").write_text(json.dumps({"prompt": prompt, "response": "So."}))
    expected = f"user: How?\n\nassistant: {WRITTEN}\n\ntool: a leaflet"
    assert read_texts(tmp_path / "x.jsonl").prompts == [expected]
    assert said([prompt], ["So."]) == ([expected], ["So."], [0])
    decoded = (
        f"<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n{WRITTEN}<|im_end|>\n<|im_start|>tool\na leaflet"
    )
    assert split(f"{decoded}<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>") == (expected, "So.")


def test_the_templates_that_trl_ships_leave_no_word_of_theirs() -> None:
    trl = pytest.importorskip("trl")
    from jinja2.exceptions import UndefinedError
    from transformers.utils.chat_template_utils import _compile_jinja_template

    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    seen = 0
    for path in sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja")):
        template = _compile_jinja_template(path.read_text())
        for write in (str, lambda text: [{"type": "text", "text": text}]):  # some render texts, some only parts
            user, assistant = ({"role": r, "content": write(t)} for r, t in (("user", "How?"), ("assistant", "So.")))
            try:
                prompt = template.render(messages=[user], add_generation_prompt=True, **tokens)
                query = template.render(messages=[user, assistant], add_generation_prompt=False, **tokens)
            except UndefinedError:
                continue
            if "How?" in prompt and "So." in query and "'text'" not in query and '"text"' not in query:
                break
        else:
            continue
        seen += 1
        assert split(query) == ("How?", "So."), path.name
        assert split(query if query.startswith(prompt) else f"{prompt}So.", prompt) == ("How?", "So."), path.name
    assert seen > 20


@pytest.mark.parametrize(
    ("query", "prompt", "response"),
    [
        ("end of a text that is long. How? So.", "A background, and the end of a text that is long. How?", "So."),
        ("Say: hi, then. Hi.", "Say : hi , then . ", "Hi."),
    ],
)
def test_prompts_that_a_trainer_cut_or_tidied(query: str, prompt: str, response: str) -> None:
    assert split(query, prompt)[1] == response
