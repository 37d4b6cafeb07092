"""What becomes of a conversation before it is embedded: the one rule for files, trainers and servers alike.

1. A message is `{role, content}` or `{from, value}`; its content is text, a list of parts with texts, which are joined
   by line ends, or null. Text that went through a chat template, and messages as JSON or as Python prints them, are
   read as the messages they hold; special tokens that are left over are dropped.
2. Thinking is not embedded: in what an assistant says only that counts which follows the last `</think>`, or stands
   before a `<think>` that nothing closes, and of that what stands in `<answer>`, where it does; fields such as
   `reasoning_content` and channels other than the final one are left out.
3. System turns are left out, since many chat templates put in one of their own that no file has.
4. A call of a tool is written as `<tool_call>` with its JSON, after what the message says; tools' results are turns.
5. Space around a turn is dropped, and so are turns without a word.
6. One turn is its content; several are their contents with `role: ` before each, an empty line between.
7. In files, a prompt of 24 characters or more with which all responses of its row begin is taken off them.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from embrm.data.templates import Turn, headers_of, role_of, templated_turns, untokened
from embrm.errors import DataError

_THINKING = r"(?:seed:)?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad)"
_thought = re.compile(rf"<({_THINKING})>.*?</\1>", re.DOTALL | re.IGNORECASE)
_closing = re.compile(rf"</{_THINKING}>", re.IGNORECASE)
_opening = re.compile(rf"<{_THINKING}>", re.IGNORECASE)
_answer = re.compile(r"<(answer|response|solution)>(.*)</\1>", re.DOTALL | re.IGNORECASE)
_printed = re.compile(r"\s*\[?\s*\{\s*'(?:role|content|from|value)'\s*:")
_WHO = ("role", "from", "author", "speaker", "sender")
_WHAT = ("content", "value", "text", "parts")


def prompt_text(value: Any, where: str = "prompt", *, keep_system: bool = False) -> str:
    """Return what is embedded of a prompt: text, one message or several.

    Args:
        value: text, a message, or a list of messages.
        where: the place that messages name.
        keep_system: whether system turns stay, for models whose training texts had them.

    Raises:
        DataError: it is none of these, or holds something that is no text.
    """
    said = conversation(value, where)
    return check_characters(said.strip(), where) if isinstance(said, str) else written(said, keep_system=keep_system)


def response_text(value: Any, where: str = "response") -> str:
    """Return what is embedded of a response; see `prompt_text`."""
    said = conversation(value, where, first="assistant")
    return check_characters(without_thinking(said), where) if isinstance(said, str) else written(said)


def written(turns: Sequence[Turn], *, keep_system: bool = False) -> str:
    """Return turns as one text, by rules 3, 5 and 6."""
    kept = spoken(turns, keep_system=keep_system)
    if len(kept) < 2:
        return "".join(content for _, content in kept)
    return "\n\n".join(f"{role}: {content}" for role, content in kept)


def spoken(turns: Sequence[Turn], *, keep_system: bool = False) -> list[Turn]:
    """Return the turns that are embedded, without thinking, system turns and turns without a word."""
    trimmed = [(role, without_thinking(text) if role == "assistant" else text.strip()) for role, text in turns]
    return [(r, text) for r, text in trimmed if text and r != "thinking" and (keep_system or r != "system")]


def without_thinking(text: str) -> str:
    """Return the answer in what an assistant said, without the space around it."""
    if "<" not in text:
        return text.strip()
    said = _thought.sub("", text)
    closed = [match.end() for match in _closing.finditer(said)]  # its opening was part of the prompt
    said = said[closed[-1] :] if closed else said
    left_open = _opening.search(said)
    said = (said[: left_open.start()] if left_open else said).strip()
    wrapped = _answer.fullmatch(said) if said != text.strip() else None
    return wrapped[2].strip() if wrapped else said


def is_silent(messages: Sequence[Any]) -> bool:
    """Say whether messages neither hold content, be it empty, nor a call that could be written."""
    return all(isinstance(m, dict) and _what(m) is None and not _calls(m) for m in messages)


def is_conversation(value: Any) -> bool:
    """Say whether a value is messages, or text or JSON that holds messages."""
    return not isinstance(_opened(value), str) or bool(isinstance(value, str) and headers_of(value))


def conversation(value: Any, where: str, *, first: str = "user") -> str | list[Turn]:
    """Return text as it is, and anything else as turns.

    Raises:
        DataError: see `prompt_text`.
    """
    opened = _opened(value)
    if isinstance(opened, str):
        check_characters(opened, where)
        if _printed.match(opened):
            raise DataError(
                f"{where} looks like messages as Python prints them, and cannot be read as such; write them as JSON, "
                f"or the table as Parquet, got {short(opened)}"
            )
        return templated_turns(opened, first=first) if headers_of(opened) else untokened(opened)
    if not isinstance(opened, list):
        raise DataError(f"{where} must be text or a list of messages, got {short(value)}")
    if len(opened) > 1 and not any(isinstance(m, dict) and any(m.get(name) for name in _WHO) for m in opened):
        raise DataError(f"{where} must hold messages {{'role': …, 'content': …}}, got {short(value)}")
    return [_turn(message, where, value) for message in opened]


def _opened(value: Any) -> Any:
    """Return messages that were written as JSON or printed, or one message without its list, as a list of messages."""
    if isinstance(value, str):
        found = _unwritten(value)
        return _opened(found) if _are_messages(found) else value
    if isinstance(value, dict) and _are_messages(value):
        return [value]
    if isinstance(value, list | tuple) and value and all(isinstance(part, str) for part in value):
        opened = [_opened(part) for part in value]
        return [m for part in opened for m in part] if all(isinstance(part, list) for part in opened) else value
    return list(value) if isinstance(value, tuple) else value


def _unwritten(text: str) -> Any:
    """Return what JSON, JSON of JSON, or what Python printed holds, where that may be messages; else None."""
    for _ in range(3):
        text = text.strip()
        if text[:1] not in ("[", "{", '"') or not ("role" in text or "from" in text):
            return None
        try:
            found = ast.literal_eval(text) if _printed.match(text) else json.loads(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
        if not isinstance(found, str):
            return found
        text = found
    return None


def _are_messages(value: Any) -> bool:
    messages = value if isinstance(value, list) else [value]
    return bool(messages) and all(
        isinstance(m, dict)
        and (("role" in m and {*_WHAT, "tool_calls", "function_call"} & set(m)) or ("from" in m and "value" in m))
        for m in messages
    )


def _turn(message: Any, where: str, whole: Any) -> Turn:
    if not isinstance(message, dict) or not {*_WHAT, "tool_calls", "function_call"} & set(message):
        several = "; a row has one, and `embrm rewardbench` reads sets with several" if isinstance(message, str) else ""
        raise DataError(f"{where} must hold messages {{'role': …, 'content': …}}, got {short(whole)}{several}")
    role = role_of(str(next((message[name] for name in _WHO if message.get(name)), "user")))
    content = _what(message)
    text = "" if content is None else _content(content, where)
    text = written(templated_turns(text, first=role)) if headers_of(text) else untokened(text)
    return role, check_characters("\n".join(part for part in (text, *_calls(message)) if part), where)


def _what(message: dict[str, Any]) -> Any:
    return next((message[name] for name in _WHAT if message.get(name) is not None), None)


def _content(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    parts = [value] if isinstance(value, dict) else value
    if isinstance(parts, list) and all(
        isinstance(p, str) or (isinstance(p, dict) and _part(p) is not None) for p in parts
    ):
        return "\n".join(text for p in parts if (text := p if isinstance(p, str) else _part(p)))
    raise DataError(f"{where}: a message's content must be text, got {short(value)}; images cannot be embedded")


def _part(part: dict[str, Any]) -> str | None:
    """Return a part's text, "" for one that is thinking, or None for one that is neither."""
    kind = part.get("type") or "text"
    if kind in ("thinking", "reasoning", "redacted_thinking"):
        return ""
    if kind == "tool_use":
        return "\n".join(_calls({"tool_calls": [{"name": part.get("name"), "arguments": part.get("input")}]})) or None
    if kind == "tool_result":
        said = part.get("content")
        parts = said if isinstance(said, list) else [{"text": said or ""}]
        texts = [_part(p) if isinstance(p, dict) else None for p in parts]
        return "\n".join(text for text in texts if text is not None) if None not in texts else None
    if kind not in ("text", "input_text", "output_text", "refusal"):
        return None
    text = part.get("refusal" if kind == "refusal" else "text")
    return text if isinstance(text, str) else None


def _calls(message: dict[str, Any]) -> list[str]:
    out = []
    calls = message.get("tool_calls") or [message.get("function_call")]
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            continue
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            with suppress(ValueError):  # a model's arguments need not be JSON
                arguments = json.loads(arguments)
        body = json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)
        out.append(f"<tool_call>\n{body}\n</tool_call>")
    return out


def check_characters(text: str, where: str) -> str:
    """Return the text.

    Raises:
        DataError: it has no form in UTF-8.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{where} holds half of a surrogate pair at position {error.start}; repair the text"
            ) from error
    return text


def short(value: Any) -> str:
    """Return a value for a message, cut to sixty characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = f"a number of {value.bit_length()} bits" if isinstance(value, int) else "numbers too long to be written"
    return text if len(text) <= 60 else f"{text[:57]}..."
