"""What a model said in an answer: only a finished one says anything, and reasoning is not part of it.

**Finished** is an answer whose server says that it stopped by itself (``stop`` and its other names), or says nothing.
One that was cut (``length``), filtered, turned into a tool call, ended by an error or by a reason that is not known
here is no vote, whatever stands in it. There are two exceptions, each for a reader that is made for it: a label that
was scored as one whole token and is all of the text (an answer limited to one token always ends by ``length``), and a
reader of the *head* of an answer (:mod:`clucert.tasks.refusal`), which a cut behind the head does not change.

**Reasoning** is taken out in every common markup. Reasoning that does not end leaves nothing said. Text before a
closing mark without an opening one (templates write the opening one into the prompt) is reasoning, too.
"""

from __future__ import annotations

import re

from clucert.types import Answer

STOPPED = frozenset(
    {"", "stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "complete", "completed"}
)
"""Ways to say that a model stopped by itself, in lower case."""
CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "incomplete"})
REFUSAL = "refusal"
"""Finish reason of an answer that the server marks as the model's refusal."""
_WHY = {
    **dict.fromkeys(CUT, "cut at the token limit"),
    **dict.fromkeys(("content_filter", "safety", "recitation", "blocklist", "prohibited_content"), "filtered"),
    **dict.fromkeys(("tool_calls", "function_call", "tool_use"), "a tool call"),
    REFUSAL: "a refusal to answer",
}

_NAMES = r"(?:seed:)?(?:think|thinking|thought|thoughts|reasoning|reason|analysis|scratchpad|reflection)"
_OPENING = rf"<{_NAMES}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|START_THINKING\|>|<\|think\|>|<unused94>"
_CLOSING = rf"</{_NAMES}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|END_THINKING\|>|<\|/think\|>|<unused95>"
_MARK = re.compile(rf"(?P<opening>{_OPENING})|(?:{_CLOSING})", re.IGNORECASE)
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w*)[^<]{0,80}<\|message\|>")
_CONTROL = re.compile(
    r"<\|(?:im_end|eot_id|end|return|end_of_text|endoftext|end_of_solution|begin_of_solution|START_RESPONSE|END_RESPONSE)"
    r"\|>|</s>|<end_of_turn>|<eos>"
)


def said(answer: Answer, *, head: bool = False) -> str | None:
    """The text of a finished answer without its reasoning; None when it is not finished or says nothing.

    With ``head``, an answer that was cut at the token limit counts as well, and so does a refusal by the server's word.
    """
    return spoken(answer.text) if ended(answer) or (head and _reason(answer) in {*CUT, REFUSAL}) else None


def ended(answer: Answer) -> bool:
    """Whether the model ended the answer by itself, or scored labels, which a cut does not change."""
    reason = _reason(answer)
    return reason in STOPPED or (reason in CUT and answer.label_logprobs is not None)


def was_cut(answer: Answer) -> bool:
    """Whether the answer ended at the token limit."""
    return _reason(answer) in CUT


def spoken(text: str) -> str | None:
    """``text`` without reasoning and the control tokens at its end; None when nothing is left."""
    body = _final_channel(text) if "<|channel|>" in text else _unreasoned(text)
    body = None if body is None else _CONTROL.sub("", body).strip()
    return body or None


def why_unread(answer: Answer) -> str:
    """Why an answer that is no vote is none, in a few words."""
    reason = _reason(answer)
    if reason not in STOPPED:
        return _WHY.get(reason, f"ended by {reason[:40]}")
    if not answer.text.strip():
        return "empty"
    return "reasoning alone" if spoken(answer.text) is None else "states no label"


def _reason(answer: Answer) -> str:
    return (answer.finish_reason or "").strip().casefold()


def _unreasoned(text: str) -> str | None:
    kept: list[str] = []
    depth, start = 0, 0
    for mark in _MARK.finditer(text):
        if mark["opening"]:
            if depth == 0:
                kept.append(text[start : mark.start()])
            depth += 1
        elif depth:
            depth -= 1
        else:
            # Its opening mark stood in the prompt.
            kept.clear()
        start = mark.end()
    return None if depth else "\n".join([*kept, text[start:]])


def _final_channel(text: str) -> str | None:
    """What is said on the last channel, when that is the final one."""
    heads = list(_CHANNEL.finditer(text))
    if not heads or heads[-1][1] != "final":
        return None
    body = text[heads[-1].end() :]
    return None if "<|channel|>" in body else body
