"""What every user of a transformers model needs: finding it, loading it, its chat template, devices, padding.

torch and transformers are loaded by the functions that use them.
"""

from __future__ import annotations

import contextlib
import inspect
import os.path
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from embrm.core.arrays import IntArray
from embrm.core.data_folder import data_folder
from embrm.core.device import device_kind
from embrm.errors import DataError, OptionError

Prompt = str | Sequence[Mapping[str, str]]  # text, or messages {"role": …, "content": …}
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16"]
SHIPPED = {"world": "lm"}  # models that come with the project, and their folders among its data
ANSWER_SECONDS = 2.5  # how long the hub may take to say that it has a model


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk or on the Hugging Face hub.

    Attributes:
        model: the path of a folder, an id on the hub, or "world", the language model that comes with the project.
        revision: branch, tag or commit on the hub.

    Raises:
        OptionError: `model` is none of these, or a folder is given a revision.
    """

    model: str
    revision: str | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise OptionError("model= is missing; give the path of a folder or an id on the hub")
        if self.folder is not None and self.revision is not None:
            raise OptionError(f"model '{self.model}' is a folder and has no revision; leave it out")
        if self.folder is None and not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", self.model):
            raise OptionError(f"model '{self.model}' is neither a folder that exists nor an id on the hub")

    @property
    def folder(self) -> Path | None:
        """The folder, or None for a model of the hub."""
        if self.model in SHIPPED:
            return data_folder() / SHIPPED[self.model]
        folder = Path(self.model).expanduser()
        return folder.resolve() if folder.is_dir() else None

    def commit(self) -> str:
        """Return `id@commit` of a model of the hub, asking the hub where the revision is not a full commit.

        Raises:
            OptionError: the hub cannot be reached, or has no such model.
        """
        if self.revision is not None and re.fullmatch(r"[0-9a-f]{40}", self.revision):
            return f"{self.model}@{self.revision}"
        from huggingface_hub import hf_hub_download

        self.require()
        try:
            # The hub's own cache keeps a file under its commit: .../snapshots/<commit>/config.json
            config = hf_hub_download(self.model, "config.json", revision=self.revision)
        except OSError as error:
            raise self.unreachable() from error
        return f"{self.model}@{Path(config).parent.name}"

    def require(self) -> None:
        """Make sure that a model is on this machine, or that the hub answers at once: its client retries for minutes.

        Raises:
            OptionError: neither is so.
        """
        if self.folder is not None:
            return
        from huggingface_hub import HfApi, try_to_load_from_cache

        names = ("config.json", "modules.json")
        if any(isinstance(try_to_load_from_cache(self.model, n, revision=self.revision), str) for n in names):
            return
        try:
            HfApi().model_info(self.model, revision=self.revision, timeout=ANSWER_SECONDS)
        except Exception as error:  # its versions raise what their network libraries do
            raise self.unreachable() from error

    def stamps(self) -> tuple[tuple[str, int, int], ...]:
        """Return name, size and time of each file of the folder, sorted: while they stay, so does the model."""
        if self.folder is None:
            return ()
        files = sorted(p for p in self.folder.rglob("*") if p.is_file() and not p.name.startswith("."))
        return tuple((p.relative_to(self.folder).as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in files)

    def tokenizer(self) -> Any:
        """Load the tokenizer.

        Raises:
            OptionError: there is none, or the hub cannot be reached.
        """
        return self._load("AutoTokenizer")

    def config(self) -> Any:
        """Load the model's configuration alone.

        Raises:
            OptionError: there is none, or the hub cannot be reached.
        """
        return self._load("AutoConfig")

    def network(self, kind: str, *, device: str, bfloat16: bool) -> Any:
        """Load the model as transformers' auto class `kind`, for inference.

        Raises:
            OptionError: there is no such model, it lacks weights that `kind` needs, or the hub cannot be reached.
        """
        import torch

        precision = torch.bfloat16 if bfloat16 else torch.float32
        with torch.random.fork_rng(devices=[]):  # weights that the files lack would be drawn
            net, info = self._load(kind, dtype=precision, output_loading_info=True)
        if info["missing_keys"]:
            raise OptionError(
                f"model '{self.model}' lacks weights that {kind} needs: {', '.join(sorted(info['missing_keys'])[:3])}; "
                "they would be random, so give a model that was trained for it"
            )
        return net.to(device).eval()

    def _load(self, kind: str, **options: Any) -> Any:
        import transformers

        place = self.model if self.folder is None else str(self.folder)
        self.require()
        try:
            with quiet():
                return getattr(transformers, kind).from_pretrained(place, revision=self.revision, **options)
        except (OSError, ValueError) as error:
            raise self.unreachable(error) from error

    def unreachable(self, error: Exception | None = None) -> OptionError:
        """Return what to raise where the model cannot be loaded."""
        if self.folder is not None:
            return OptionError(f"folder '{self.model}' holds no model that transformers can load: {error}")
        at = f" at revision '{self.revision}'" if self.revision else ""
        return OptionError(
            f"cannot load model '{self.model}'{at}; check the name and the network, or pass a folder that holds it (hf "
            f"download {self.model} --local-dir FOLDER); of embedders 'hashing' needs no model (--embedder hashing)"
        )


class Conversation:
    """A tokenizer, and how prompt and response become one text and tokens.

    With a chat template the text is what the template makes of a user's and an assistant's message; without one (or
    where `template` is False) it is the prompt, an empty line and the response. A text that begins as the template
    begins brings its special tokens along; any other gets those of the tokenizer. Marks of the template inside a
    prompt or a response count as marks.
    """

    def __init__(self, tokenizer: Any, *, template: bool = True) -> None:
        self.tokenizer = tokenizer
        self.template = template and bool(getattr(tokenizer, "chat_template", None))

    def text(self, prompt: Prompt, response: str | None = None) -> str:
        """Return prompt and response as one text, or without a response the text that asks for one.

        Raises:
            DataError: the prompt is a list of messages, and there is no chat template to join them.
        """
        if not self.template:
            if not isinstance(prompt, str):
                raise DataError("a prompt is a list of messages, but the model has no chat template; give plain text")
            return prompt if response is None else f"{prompt}\n\n{response}" if prompt else response
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [*prompt]
        if response is None:
            return self._render(messages, add_generation_prompt=True)
        return self._render([*messages, {"role": "assistant", "content": response}])

    def _render(self, messages: list[Any], **options: bool) -> str:
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, **options))

    @cached_property
    def _opening(self) -> str:
        if not self.template:
            return ""
        return os.path.commonprefix([self.text("a", "b"), self.text("b", "a")])  # noqa: RUF071 - letter by letter is meant

    def tokens(self, texts: Sequence[str]) -> list[IntArray]:
        """Return the tokens `(length,)` of each text; one that has none is the token that begins or ends texts."""
        special = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        nothing = next((int(token) for token in special if token is not None), self.filler)
        out: list[IntArray] = [np.empty(0, dtype=np.int64)] * len(texts)
        rendered = [bool(self._opening) and text.startswith(self._opening) for text in texts]
        for whole in (True, False):
            rows = [i for i, own in enumerate(rendered) if own is whole]
            for start in range(0, len(rows), 1024):
                part = rows[start : start + 1024]
                found = self.tokenizer([texts[i] for i in part], add_special_tokens=not whole, verbose=False)
                for i, ids in zip(part, found["input_ids"], strict=True):
                    out[i] = np.array(ids or [nothing], dtype=np.int64)
        return out

    @property
    def filler(self) -> int:
        """The token that fills up a batch: the pad token, else the end-of-text token, else the first."""
        for token in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0

    def batch(self, rows: Sequence[IntArray], *, left: bool, device: str) -> dict[str, Any]:
        """Return `input_ids`, `attention_mask` and `position_ids`, each `(n, longest)`, as tensors on the device."""
        import torch

        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self.filler, dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            at = slice(longest - len(row), longest) if left else slice(len(row))
            ids[i, at], mask[i, at] = row, 1
        position = np.maximum(mask.cumsum(axis=1) - 1, 0)
        arrays = {"input_ids": ids, "attention_mask": mask, "position_ids": position}
        return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}

    @property
    def left(self) -> bool:
        """Whether the tokenizer pads on the left."""
        return bool(self.tokenizer.padding_side == "left")

    def limit(self, net: Any) -> int:
        """Return how many tokens the model can read."""
        own = getattr(net.config.get_text_config(), "max_position_embeddings", None)
        return min(int(own or 1 << 30), int(self.tokenizer.model_max_length))


def devices(device: Device) -> list[str]:
    """Return the devices to work on: "auto" is the one in use (`use_device`), and "cuda" every visible GPU.

    Raises:
        OptionError: there is no such device, by its name or on this machine.
    """
    kind = device_kind(device)
    if kind != "cuda":
        return [kind]
    import torch

    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def in_bfloat16(precision: Precision, *, device: Device) -> bool:
    """Say whether to compute in bfloat16: where it is asked for, and by "auto" on GPUs that have it.

    Raises:
        OptionError: there is no such precision or device.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise OptionError(f"precision must be one of auto, float32, bfloat16, got '{precision}'")
    if precision != "auto":
        return precision == "bfloat16"
    if not devices(device)[0].startswith("cuda"):
        return False
    import torch

    return bool(torch.cuda.is_bf16_supported())


def call(net: Any, inputs: Mapping[str, Any], **options: Any) -> Any:
    """Run a model once, without gradients; not every one has positions or a cache, so only named inputs are passed."""
    import torch

    names = inspect.signature(net.forward).parameters
    with torch.inference_mode():
        return net(**{k: v for k, v in {**inputs, "use_cache": False}.items() if k in names}, **options)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and reporting weights that are not needed, and leave its settings."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
