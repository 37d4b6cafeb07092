"""Each kind of fault that files of others have, by several of its kind: read as what it means, or refused by name."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import warnings
from pathlib import Path
from typing import Any

import pytest

from embrm.core.files import read_rows
from embrm.data import RowRules
from embrm.data.chat import response_text
from embrm.data.faults import ReadingWarning
from embrm.data.texts import Texts, read_texts
from embrm.errors import DataError
from embrm.integrations._chat import split

Row = dict[str, Any]
ASKED, GOOD, BAD = "How should I clean a kettle?", "Use vinegar.", "No idea."
PAIR = {"chosen": GOOD, "rejected": BAD}


def user(text: Any) -> Row:
    return {"role": "user", "content": text}


def says(text: Any, **more: Any) -> Row:
    return {"role": "assistant", "content": text, **more}


def read(folder: Path, *rows: Row, kind: str | None = "compared", **how: Any) -> Texts:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_texts(path, kind=kind, rules=RowRules(**how))


def pair_of(texts: Texts) -> tuple[str, str, str]:
    return texts.prompts[0], texts.responses[0], texts.responses[1]


OTHER_NAMES = ["problem", "user", "post_title", "user_input", "task", "document", "query_text", "dialogue", "Question"]


@pytest.mark.parametrize("name", OTHER_NAMES)
@pytest.mark.parametrize("rest", [PAIR, {"response": GOOD}])
def test_a_question_under_any_name_is_never_ignored(name: str, rest: Row, tmp_path: Path) -> None:
    for value in (ASKED, "kettle?", [user(ASKED)]):
        with pytest.raises(DataError, match=rf"1 of 1 rows .* no prompt, and {name} looks .*--columns prompt={name}"):
            read(tmp_path, {name: value, **rest})
        assert read(tmp_path, {name: value, **rest}, columns={"prompt": name}).prompts[0] in (ASKED, "kettle?")
        assert read(tmp_path, {name: value, **rest}, columns={"prompt": ""}).prompts[0] == ""


def test_rows_of_a_file_that_ask_elsewhere_are_told(tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": "Why?", **PAIR}, {"prompt": None, "question": ASKED, **PAIR}]
    with pytest.raises(DataError, match=r"1 of 2 rows .* have no prompt, and question looks like what was asked"):
        read(tmp_path, *rows)


@pytest.mark.parametrize("name", ["السؤال", "body", "src", "q"])
def test_texts_that_may_be_the_question_are_mentioned(name: str, tmp_path: Path) -> None:
    with pytest.warns(ReadingWarning, match=f"have no prompt; if {name} is what was asked: --columns prompt={name}"):
        read(tmp_path, {name: ASKED, **PAIR})
    rows = [{"category": "open questions", "chosen": f"{GOOD} {i}", "rejected": BAD} for i in range(3)]
    read(tmp_path, *rows)  # a few kinds are no questions


HISTORY = f"user: {ASKED}\n\nassistant: Vinegar.\n\nuser: And a pan?"
TURNS = [user(ASKED), says("Vinegar.")]
INSIDE = [{"info": {"post": ASKED}, **PAIR}, {"info": json.dumps({"post": ASKED}), **PAIR}]


@pytest.mark.parametrize("history", [[[ASKED, "Vinegar."]], TURNS])
@pytest.mark.parametrize("name", ["instruction", "query", "prompt", "question"])
def test_what_went_before_the_question_is_part_of_the_prompt(name: str, history: Any, tmp_path: Path) -> None:
    row = {name: "And a pan?", "history": history}
    assert read(tmp_path, {**row, "responses": [GOOD, BAD]}).prompts[0] == HISTORY
    assert read(tmp_path, {**row, **PAIR}).prompts[0] == HISTORY
    with pytest.raises(DataError, match=r"history must be a list of \[query, response\] or of messages"):
        read(tmp_path, {**row, **PAIR, "history": [ASKED]})


@pytest.mark.parametrize("row", INSIDE)
def test_what_lies_inside_objects_has_a_name(row: Row, tmp_path: Path) -> None:
    assert pair_of(read(tmp_path, row, columns={"prompt": "info.post"})) == (ASKED, GOOD, BAD)


HUMAN = f"\n\nHuman: {ASKED}\n\nAssistant:"


@pytest.mark.parametrize(
    ("prompt", "start"),
    [(ASKED, f"{ASKED} "), (ASKED, f"{ASKED}\n\n"), (ASKED, f"{HUMAN} "), (HUMAN, f"{HUMAN} "), (ASKED, ASKED * 2)],
)
def test_a_prompt_that_the_texts_repeat_is_taken_once(prompt: str, start: str, tmp_path: Path) -> None:
    row = {"prompt": prompt, "chosen": start + GOOD, "rejected": start + BAD}
    if start == ASKED * 2:  # no word ends where the prompt does, so that it is not known to be repeated
        assert pair_of(read(tmp_path, row))[1] == start + GOOD
        return
    assert pair_of(read(tmp_path, row)) == (prompt.strip(), GOOD, BAD)
    pool = read(tmp_path, {"prompt": prompt, "responses": [row["chosen"], row["rejected"]]}, kind="pools")
    assert pair_of(pool) == (prompt.strip(), GOOD, BAD)
    assert read(tmp_path, {"prompt": prompt, "response": row["chosen"]}, kind="texts").responses == [GOOD]


def test_what_only_one_response_repeats_or_what_is_short_stays(tmp_path: Path) -> None:
    row = {"prompt": ASKED, "chosen": f"{ASKED} {GOOD}", "rejected": BAD}
    assert pair_of(read(tmp_path, row))[1:] == (row["chosen"], BAD)
    row = {"prompt": "Hello", "chosen": "Hello there", "rejected": "Hello you"}
    assert pair_of(read(tmp_path, row))[1:] == (row["chosen"], row["rejected"])


@pytest.mark.parametrize("other", [ASKED.replace(" ", "  "), f"{ASKED}\n", f" {ASKED}"])
def test_first_turns_that_differ_by_space_are_one_prompt(other: str, tmp_path: Path) -> None:
    found = pair_of(read(tmp_path, {"chosen": [user(ASKED), says(GOOD)], "rejected": [user(other), says(BAD)]}))
    assert found == (ASKED, GOOD, BAD)


def test_first_turns_that_differ_are_told(tmp_path: Path) -> None:
    with pytest.warns(ReadingWarning, match="1 rows hold conversations that begin with different questions"):
        read(tmp_path, {"chosen": [user("Why?"), says(GOOD)], "rejected": [user(ASKED), says(BAD)]})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"chosen_score": 1.0}, "the column chosen_score is not used; --columns margin=chosen_score"),
        ({"score_diff": 2, "confidence": 0.9}, "the columns score_diff and confidence are not used"),
        ({"Margin": 1.0}, "the column Margin is not used"),
        ({"reward_chosen": 1, "reward_rejected": 0}, "margin=reward_chosen-reward_rejected makes their difference"),
        ({"label": 0}, "the column label is not used"),
        ({"images": ["a.png"]}, "what is in images cannot be embedded, and is not seen"),
    ],
)
def test_what_says_something_about_a_pair_and_is_not_used_is_named(columns: Row, message: str, tmp_path: Path) -> None:
    with pytest.warns(ReadingWarning, match=message):
        read(tmp_path, {"prompt": ASKED, **PAIR, **columns})


@pytest.mark.filterwarnings("ignore:.*2 responses hold nothing")
@pytest.mark.parametrize(
    ("good", "bad"),
    [("<think>good</think>42", "<think>bad</think>42"), (says("<think>x"), says("<think>y"))],
)
def test_pairs_that_differ_only_in_thinking_say_so(good: Any, bad: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="chosen equals rejected once thinking, system turns"):
        read(tmp_path, {"prompt": ASKED, "chosen": good, "rejected": bad})


@pytest.mark.parametrize("lost", ["<think>never ends", [says(None)], [says("[THINK]hm[/THINK]")]])
def test_responses_of_which_nothing_is_left_are_counted(lost: Any, tmp_path: Path) -> None:
    for row in ({"chosen": GOOD, "rejected": lost}, {"responses": [GOOD, lost]}, {"response": lost}):
        with pytest.warns(ReadingWarning, match="1 responses hold nothing that is embedded"):
            texts = read(tmp_path, {"prompt": ASKED, **row})
        assert [n for what, n in texts.account.items() if what.startswith("responses hold nothing")] == [1]
    with pytest.warns(ReadingWarning, match="1 prompts hold nothing that is embedded"):
        read(tmp_path, {"prompt": [{"role": "system", "content": ASKED}], **PAIR})


CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ([says(None, function_call={"name": "f", "arguments": '{"x": 1}'})], CALL),
        ([says([{"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}])], CALL),
        ([says([{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "42"}]}])], "42"),
        ([says([{"type": "refusal", "refusal": "No."}])], "No."),
        ([{"role": "model", "parts": [{"text": GOOD}]}], GOOD),
        ([{"role": "assistant", "text": GOOD}], GOOD),
        ("<Think>hm</THINK>" + GOOD, GOOD),
        ("[THINK]hm[/THINK]" + GOOD, GOOD),
        ("<seed:think>hm</seed:think>" + GOOD, GOOD),
        ("<|begin_of_thought|>hm<|end_of_thought|>\n\n<|begin_of_solution|>Use vinegar.<|end_of_solution|>", GOOD),
        (f"<think>hm</think>\n<answer>{GOOD}</answer>", GOOD),
        (f"<answer>{GOOD}</answer>", f"<answer>{GOOD}</answer>"),
        (f"{GOOD}<|eot_id|>", GOOD),
        (f"{GOOD}</s>", GOOD),
        ([says(f"{GOOD}<|im_end|>")], GOOD),
        ([says(f"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}")], GOOD),
        (str([says(GOOD)]), GOOD),
        (json.dumps(json.dumps([says(GOOD)])), GOOD),
    ],
)
def test_chat_as_it_is_today_is_read(said: Any, text: str, tmp_path: Path) -> None:
    assert pair_of(read(tmp_path, {"prompt": ASKED, "chosen": said, "rejected": BAD})) == (ASKED, text, BAD)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("[{'role': 'assistant', 'content': array([1])}]", "looks like messages as Python prints them"),
        ([{"content": "a"}, {"content": "b"}], "must hold messages"),
        ([says([{"type": "tool_result", "content": [{"type": "image"}]}])], "images cannot be embedded"),
    ],
)
def test_chat_that_cannot_be_read_is_named(said: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, {"prompt": ASKED, "chosen": said, "rejected": BAD})


TURN_BY_TURN = (
    "assistant: Use vinegar.\n\nuser: And a pan?\n\nassistant: Too.",
    "assistant: No.\n\nuser: And a pan?\n\nassistant: No.",
)
ARENA = {"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}


@pytest.mark.parametrize(
    ("row", "responses"),
    [
        ({"prompt": ASKED, "response": GOOD, **PAIR}, (GOOD, BAD)),
        ({"prompt": ASKED, "answer_0": BAD, "answer_1": GOOD, "score_0": -1, "score_1": 0.5}, (GOOD, BAD)),
        ({"context": [user(ASKED)], "completions": [{"rank": 1, "completion": [says(BAD)]},
                                                    {"rank": 0, "completion": [says(GOOD)]}]}, (GOOD, BAD)),
        ({"question": ASKED, "answers": [{"text": BAD, "pm_score": 0}, {"text": GOOD, "pm_score": 5}]}, (GOOD, BAD)),
        ({"instruction": ASKED, "generations": [BAD, GOOD], "ratings": [1, 5]}, (GOOD, BAD)),
        ({"prompt": ASKED, "responses": [BAD, GOOD], "scores": [0.1, 0.9]}, (GOOD, BAD)),
        ({"messages": [user(ASKED), says(GOOD)], "rejected_messages": [user(ASKED), says(BAD)]}, (GOOD, BAD)),
        ({"prompt": json.dumps([ASKED]), "response_a": json.dumps([GOOD]), "response_b": json.dumps([BAD]), **ARENA},
         (GOOD, BAD)),
        ({"prompt": [ASKED, "And a pan?"], "response_a": [GOOD, "Too."], "response_b": ["No.", "No."], **ARENA},
         TURN_BY_TURN),
        ({"instruction": ASKED, "output_1": BAD, "output_2": GOOD, "preference": 1.7}, (GOOD, BAD)),
    ],
)  # fmt: skip
def test_layouts_of_raters_are_read(row: Row, responses: tuple[str, str], tmp_path: Path) -> None:
    assert pair_of(read(tmp_path, row)) == (ASKED, *responses)


def test_ratings_of_pools_that_cannot_be_read_are_mentioned(tmp_path: Path) -> None:
    with pytest.warns(ReadingWarning, match="ranking of pools that have no gold are not used"):
        read(tmp_path, {"prompt": ASKED, "responses": [BAD, GOOD], "ranking": "1>0"}, kind="pools")


def test_what_is_missing_of_a_judgement_is_named(tmp_path: Path) -> None:
    two = {"prompt": ASKED, "response_1": BAD, "response_2": GOOD}
    for row, message in (
        ({**two, "better": None}, r"response_1, response_2"),
        ({**two, "response_3": "x", "better": 2}, "neither the columns of pairs"),
        ({"prompt": ASKED, "chosen": None, "rejected": BAD}, "has nothing in chosen in any row"),
        ({"prompt": ASKED, **PAIR, "tie": 0.5}, "tie must be true or false, got 0.5"),
    ):
        with pytest.raises(DataError, match=message):
            read(tmp_path, row)
    with pytest.raises(DataError, match="line 2 has nothing in 'better'"):
        read(tmp_path, {**two, "better": 1}, {**two, "better": None})
    answers = [{"answer": BAD, "rank": 2}, {"answer": "x", "rank": None}, {"answer": GOOD, "rank": "1"}]
    with pytest.warns(ReadingWarning, match="1 responses without a rating were left out"):
        assert pair_of(read(tmp_path, {"prompt": ASKED, "answers": answers}, kind="pairs")) == (ASKED, GOOD, BAD)


SPOKEN = [
    "[THINK]hm[/THINK]So.",
    "<|begin_of_thought|>hm<|end_of_thought|>So.",
    "◁think▷hm◁/think▷So.",
    "<Think>hm</THINK>So.",
    "<think>hm</think><answer>So.</answer>",
    "So.<|eot_id|>",
    "So.</s>",
    "<|assistant|>\nSo.",
]


@pytest.mark.parametrize("said", SPOKEN)
def test_what_a_model_writes_is_one_text_in_files_messages_and_what_trainers_decoded(said: str) -> None:
    start = "<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n"
    query = f"{start}{said}<|im_end|>"
    assert split(query, start) == split(query) == ("How?", "So.")
    assert split(f"How is it done? {said}", "How is it done? ")[1] == "So."
    assert response_text(said) == response_text([says(said)]) == "So."


VERDICTS = [("A>B", GOOD, None), ("B>A", BAD, None), ("[[A>>B]]", GOOD, None), ("A=B", GOOD, 1)]


@pytest.mark.parametrize(("label", "better", "tie"), VERDICTS)
def test_verdicts_of_judges_are_read(label: str, better: str, tie: int | None, tmp_path: Path) -> None:
    row = {"question": ASKED, "response_A": GOOD, "response_B": BAD, "label": label}
    found = read(tmp_path, row)
    assert (found.responses[0], found.rows.values[0].get("tie")) == (better, tie)


@pytest.mark.parametrize("word", ["tie (bothbad)", "both_bad", "both-good", "neither"])
def test_ties_under_any_word_are_ties(word: str, tmp_path: Path) -> None:
    row = {"prompt": ASKED, "response_a": GOOD, "response_b": BAD, "winner": word}
    assert read(tmp_path, row).rows.values[0]["tie"] == 1


NAMED = [("winner", "loser"), ("chosen_response", "rejected_response"), ("response_j", "response_k"), ("w", "l"),
         ("preferred_output", "non_preferred_output"), ("Chosen", "Rejected"), ("output_w", "output_l")]  # fmt: skip


@pytest.mark.parametrize(("good", "bad"), NAMED)
def test_better_and_worse_under_other_names_are_told(good: str, bad: str, tmp_path: Path) -> None:
    row = {"prompt": ASKED, good: GOOD, bad: BAD}
    with pytest.raises(DataError, match=f"say so by --columns chosen={good},rejected={bad}"):
        read(tmp_path, row)
    assert pair_of(read(tmp_path, row, columns={"chosen": good, "rejected": bad})) == (ASKED, GOOD, BAD)


ROW = {"prompt": ASKED, **PAIR}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": [ROW, ROW]}, r"holds rows in 'data'; write them alone: jq -c '.data\[\]'"),
        ({"row_idx": 0, "row": ROW}, "rows inside 'row', .*jq -c '.row'"),
        ({"a": ROW, "b": ROW}, r"a row under each key; write them alone: jq -c '.\[\]'"),
        ({"columns": ["prompt"], "index": [0], "data": [["p"]]}, "orient='split'; write it by to_json"),
        ({"responses": [GOOD]}, "--columns prompt=NAME says where it is"),
    ],
)
def test_rows_inside_something_are_told(content: Row, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, content, kind=None)


def test_archives_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(ROW))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="a tar archive; unpack it"):
        read_rows(tmp_path / "a.tar.gz", stop=False)


def test_messages_that_a_table_printed_are_messages(tmp_path: Path) -> None:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["prompt", "chosen", "rejected"])
    writer.writeheader()
    writer.writerow({"prompt": str([user(ASKED)]), "chosen": str([says(GOOD)]), "rejected": str([says(BAD)])})
    (tmp_path / "x.csv").write_text(out.getvalue(), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pair_of(read_texts(tmp_path / "x.csv")) == (ASKED, GOOD, BAD)
