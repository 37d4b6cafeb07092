"""Prompts: of a row, taken once, whether beside the responses, at their beginning, or both; and of a file of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embrm.core.files import read_rows
from embrm.data.chat import conversation, prompt_text, spoken, without_thinking, written
from embrm.data.faults import Faults, RowRules
from embrm.data.layouts._find import renamed
from embrm.data.layouts._layout import Columns, Row, asking, found_columns, is_missing
from embrm.data.templates import Turn
from embrm.errors import DataError

MARKER = "\n\nAssistant:"
_LEAST = 24  # characters of a prompt that no response repeats by chance


def read_prompts(source: str | Path, *, rules: RowRules | None = None) -> tuple[list[str], list[str | list[Row]]]:
    """Read the ids (the line's number where a row has none) and prompts of a file; messages stay messages.

    The prompt is in `prompt`, or in the one column of question, instruction (and Alpaca's input), query, input,
    conversations, messages, context and history that there is. Conversations end before their last answer. Further
    columns, such as the responses of pairs, are left alone.

    Raises:
        DataError: a row has no prompt, it is neither text nor a list of messages, or several columns may be it.
    """
    rules = rules or RowRules()
    rows = renamed(read_rows(source, stop=False), rules.columns)
    faults, kept = Faults(rows), []
    prompts: list[str | list[Row]] = []
    try:
        ask = asking(Columns.of(rows))
    except DataError as error:
        raise DataError(f"{rows.name}: {error}") from error
    for i, row in enumerate(rows.values):
        try:
            if is_missing(value := ask(row)):
                raise DataError(f"has no 'prompt'; {found_columns(row, 'prompt')}")
            prompts.append(_unanswered(conversation(value, "prompt")))
        except DataError as error:
            faults.add(i, error)
            continue
        kept.append(rows.label(i))
    faults.settle(rules, kept=len(kept))
    return kept, prompts


def _unanswered(said: str | list[Turn]) -> str | list[Row]:
    """Return text as it is, and of a conversation the messages before its last answer."""
    if isinstance(said, str):
        return said
    last = max((i for i, (role, _) in enumerate(said) if role not in ("assistant", "thinking")), default=None)
    if last is None:
        raise DataError("prompt holds only what an assistant says; nobody asks anything")
    return [{"role": role, "content": text} for role, text in said[: last + 1]]


def taken_once(
    prompt: Any, responses: Sequence[Any], names: Sequence[str], *, keep_system: bool = False
) -> tuple[str, list[str]]:
    """Return the prompt and the responses as they are embedded, by the rules of `embrm.data.chat`.

    Whole conversations are cut where the prompt ends: after what is given as the prompt, or, where nothing or only text
    is given (as in TRL's `maybe_extract_prompt`), after the turns that all of them share, before an answer. Turns count
    as equal whatever space stands around them and whatever other fields they have.

    Args:
        prompt: text, messages, or None where it is at the beginning of the responses.
        responses: of the row, each text or messages.
        names: what messages call the responses.
        keep_system: whether system turns stay in the prompt.

    Raises:
        DataError: one is neither text nor messages, or the given prompt is not that of the conversations.
    """
    said = [conversation(value, name, first="assistant") for value, name in zip(responses, names, strict=True)]
    # A transcript that begins with a template's preface or a user is a conversation of its own.
    talks = [spoken(s, keep_system=True) if not isinstance(s, str) else s for s in said]
    whole = [isinstance(t, list) and any(role == "user" for role, _ in t[:2]) for t in talks]
    given = not is_missing(prompt) and (asked := prompt_text(prompt, keep_system=keep_system)) != ""
    if all(whole):
        turns = [t for t in talks if isinstance(t, list)]
        own = _length_of(asked, turns, keep_system) if given else None
        cut = _shared_turns(turns) if own is None else own
        if given and own is None and not any(_same(asked, text) for t in turns for _, text in t[:cut]):
            raise DataError(_of_something_else(names))
        return written(turns[0][:cut], keep_system=keep_system), [written(t[cut:]) for t in turns]
    if given:
        said = [
            _after(asked, t, names, keep_system) if w and isinstance(t, list) else s
            for s, t, w in zip(said, talks, whole, strict=True)
        ]
    if is_missing(prompt):
        if any(isinstance(s, str) for s in said) and any(not isinstance(s, str) for s in said):
            raise DataError(f"{' and '.join(names[:2])} must both be text or both lists of messages")
        if all(isinstance(s, str) for s in said):
            texts = [s for s in said if isinstance(s, str)]
            cut = _shared_text(texts)
            return texts[0][:cut].strip(), [without_thinking(text[cut:]) for text in texts]
    asked = asked if given else ""
    texts = _unrepeated(asked, [s if isinstance(s, str) else written(s) for s in said])
    return asked, [without_thinking(text) if isinstance(s, str) else text for s, text in zip(said, texts, strict=True)]


def _unrepeated(asked: str, texts: list[str]) -> list[str]:
    """Return the texts without the prompt, where all of them begin with it."""
    heads = [f"Human: {asked}{MARKER}"] if asked else []
    if len(asked) >= _LEAST or asked.endswith(MARKER.strip()):
        heads.append(asked)
    for head in heads:
        stripped = [text.strip() for text in texts]
        while all(text.startswith(head) and not text[len(head) :][:1].isalnum() for text in stripped):
            texts = stripped = [text[len(head) :].strip() for text in stripped]
    return texts


def _after(asked: str, talk: list[Turn], names: Sequence[str], keep_system: bool) -> list[Turn]:
    """Return the turns of a whole conversation after the given prompt."""
    cut = _length_of(asked, [talk], keep_system)
    if cut is None:
        raise DataError(_of_something_else(names))
    return talk[cut:]


def _of_something_else(names: Sequence[str]) -> str:
    return (
        f"prompt is not how the conversations in {' and '.join(names[:2])} begin; if it is about something else, leave "
        "it out: --columns prompt="
    )


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()) == " ".join(other.split())


def _shared_turns(talks: Sequence[Sequence[Turn]]) -> int:
    """Return how many turns are the prompt: those that all share, but never the last of one, nor its answer's first."""
    most = min(len(talk) for talk in talks) - 1
    told = [[(role, " ".join(text.split())) for role, text in talk] for talk in talks]
    differ = next((i for i in range(most) if len({talk[i] for talk in told}) > 1), most)
    cut = differ
    while cut and any(talk[cut][0] not in ("assistant", "tool") for talk in talks):
        cut -= 1
    return cut if cut or len(talks) == 1 else differ


def _length_of(asked: str, talks: Sequence[Sequence[Turn]], keep_system: bool) -> int | None:
    """Return how many turns of every conversation are the given prompt, or None where it does not begin with it."""
    for cut in range(min(len(talk) for talk in talks) - 1, 0, -1):
        if talks[0][cut][0] != "user" and all(
            _same(written(talk[:cut], keep_system=keep_system), asked) for talk in talks
        ):
            return cut
    return None


def _shared_text(texts: Sequence[str]) -> int:
    """Return how much of the beginning is the prompt: up to the last marker of a transcript, or to the last word."""
    size = min(len(text) for text in texts)
    cut = next((i for i in range(size) if len({text[i] for text in texts}) > 1), size)
    if MARKER in texts[0][:cut]:
        return texts[0].rindex(MARKER, 0, cut) + len(MARKER)
    while cut and not texts[0][cut - 1].isspace():  # never through a word
        cut -= 1
    return cut
