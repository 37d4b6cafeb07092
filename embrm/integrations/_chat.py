"""Prompt and response as plain text, out of what a trainer decoded with a chat template's tokens in it."""

from __future__ import annotations

from embrm.data.chat import written
from embrm.data.templates import headers_of, plain, templated_turns
from embrm.errors import DataError

_ANSWER = ("assistant", "thinking")
_LEAST = 24  # characters of a prompt's end that tell it from a response that happens to begin alike


def split(query: str, prompt: str | None = None, *, keep_system: bool = False) -> tuple[str, str]:
    """Return the prompt and the response of a decoded sequence, without the template's tokens.

    The response is what follows the prompt; where the prompt is not given, or was cut or decoded to something else, it
    is what begins with the last header of an assistant. What becomes of turns, thinking and calls
    of tools is the rule of `embrm.data.chat`.

    Args:
        query: prompt and response, as decoded with special tokens.
        prompt: the same prompt by itself, with or without its template; None where it is not known: a query without
            any header is then a response to an empty prompt.
        keep_system: whether system messages stay in the prompt; off because many templates put in one of their own.

    A query may begin with an end of the prompt, as where a trainer cuts prompts on the left, and differ in its spaces.

    Raises:
        DataError: the query does not begin with the prompt, and no header tells where the response begins.
    """
    if prompt is None:
        return _by_headers(query, keep_system) or ("", _response(query))
    asked, bare, start = _prompt(prompt, keep_system), plain(query), plain(prompt)
    if prompt in query:
        cut = query.index(prompt) + len(prompt)
        if not query.startswith(prompt) and not headers_of(prompt):  # the query has a template, the prompt has none
            cut = next((start for start, _, role in headers_of(query) if start >= cut and role in _ANSWER), cut)
        return asked, _response(query[cut:])
    if bare.startswith(start):
        return asked, _response(bare[len(start) :])
    found = _by_headers(query, keep_system)
    if found:
        return asked, found[1]
    begin = _cut_on_the_left(bare, start)
    if begin is not None:
        return asked, _response(bare[begin:])
    raise DataError("the query does not begin with its prompt, and no assistant header says where the response begins")


def _cut_on_the_left(query: str, prompt: str) -> int | None:
    """Return where the response begins after a prompt that lost its beginning, or only differs in its spaces."""
    said = [(i, sign) for i, sign in enumerate(query) if not sign.isspace()]
    asked = [sign for sign in prompt if not sign.isspace()]
    # The longest end of the prompt that begins the query, by Knuth, Morris and Pratt, in one pass over each.
    signs = [sign for _, sign in said]
    fail, matched = [0] * (len(signs) + 1), 0
    for i in range(1, len(signs)):
        while matched and signs[i] != signs[matched]:
            matched = fail[matched]
        matched += signs[i] == signs[matched]
        fail[i + 1] = matched
    matched = 0
    for sign in asked:
        while matched and (matched == len(signs) or sign != signs[matched]):
            matched = fail[matched]
        matched += bool(signs) and sign == signs[matched]
    if not matched or (matched < _LEAST and matched < len(asked)):
        return None
    return said[matched - 1][0] + 1


def _by_headers(query: str, keep_system: bool) -> tuple[str, str] | None:
    """Return what stands before and from the last header of an assistant on, with its thinking, or None without one."""
    turns = templated_turns(query)
    last = max((i for i, (role, _) in enumerate(turns) if role == "assistant"), default=None)
    if last is None:
        return None
    while last and turns[last - 1][0] in _ANSWER:
        last -= 1
    return written(turns[:last], keep_system=keep_system), written(turns[last:])


def _response(text: str) -> str:
    return written(templated_turns(text, first="assistant"))


def _prompt(text: str, keep_system: bool) -> str:
    return written(templated_turns(text), keep_system=keep_system)
