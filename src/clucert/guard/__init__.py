"""The defence around a chat model: noise the prompt, let the model answer, vote on refused or complied."""

from __future__ import annotations

from clucert.guard.conversation import Turn
from clucert.guard.model import SmoothedModel, open_guard
from clucert.guard.result import Guarded, Policy

__all__ = ["Guarded", "Policy", "SmoothedModel", "Turn", "open_guard"]
