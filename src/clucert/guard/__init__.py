"""The defence around a chat model: a gate that reads the prompt, or a vote on the answers to noised prompts."""

from __future__ import annotations

from clucert.guard.conversation import Turn
from clucert.guard.gate import Verdict
from clucert.guard.model import SmoothedModel, open_guard
from clucert.guard.result import Guarded, Policy
from clucert.guard.text_gate import TextGate, open_gate

__all__ = ["Guarded", "Policy", "SmoothedModel", "TextGate", "Turn", "Verdict", "open_gate", "open_guard"]
