"""The gate as a guardrail inside LiteLLM's proxy (extra ``clucert[litellm]``).

In the proxy's configuration:

.. code-block:: yaml

    guardrails:
      - guardrail_name: certified
        litellm_params:
          guardrail: clucert.litellm_guardrail.CertifiedGuardrail
          mode: pre_call
          default_on: true
          task: jailbreak
          gate_model: vllm/GUARD
          method: windows
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Literal

from litellm.exceptions import GuardrailRaisedException
from litellm.integrations.custom_guardrail import CustomGuardrail, log_guardrail_information
from litellm.types.guardrails import GuardrailEventHooks

from clucert.guard.guardrail import inputs_text
from clucert.guard.text_gate import open_gate
from clucert.methods.exact import ExactConfig
from clucert.types import Who


class CertifiedGuardrail(CustomGuardrail):  # type: ignore[misc]
    """Blocks calls whose texts the gate flags, before (``pre_call``) or after (``post_call``) the model is asked.

    What decides is :func:`clucert.open_gate`: ``options`` that it knows go there (``task``, ``method``, ``flag``,
    ``size``, ``at_least``, ``flag_threshold``, …), ``gate_model`` as its ``model`` and ``gate_url`` as its
    ``base_url``; all others are LiteLLM's own. When the classifier does not answer, the call fails.
    """

    def __init__(
        self,
        *,
        classify: object = None,
        labels: Collection[str] = (),
        gate_model: str | None = None,
        gate_url: str | None = None,
        read: Collection[Who] = ("user", "tool"),
        unread: Literal["refuse", "pass"] = "refuse",
        max_gate_calls: int | None = 5000,
        **options: Any,
    ) -> None:
        """``classify`` with its ``labels`` is a function of texts, or a fitted classifier, in place of a model.

        A call that may take more than ``max_gate_calls`` of the classifier is an error.
        """
        known = ExactConfig.model_fields.keys() - {"model", "base_url"}
        own = {name: options.pop(name) for name in list(options) if name in known}
        # LiteLLM has parameters by these names, which mean something else.
        own |= {"model": gate_model} if gate_model else {}
        own |= {"base_url": gate_url} if gate_url else {}
        options.setdefault("supported_event_hooks", [GuardrailEventHooks.pre_call, GuardrailEventHooks.post_call])
        super().__init__(**options)
        self._gate = open_gate(classify, list(labels), max_calls=max_gate_calls, **own)
        self._read, self._unread = tuple(read), unread

    @log_guardrail_information  # type: ignore[untyped-decorator]
    async def apply_guardrail(
        self, inputs: dict[str, Any], request_data: dict[str, Any], input_type: str, logging_obj: object = None
    ) -> dict[str, Any]:
        """The inputs as they came. Raises ``GuardrailRaisedException`` for what is blocked or cannot be read."""
        found = inputs_text(inputs, input_type, self._read, unread_identifiers=self._unread == "pass")
        if found.unread and self._unread == "refuse":
            raise self._blocked(f"the gate cannot read {', '.join(found.unread)}")
        if found.said or input_type == "request":
            verdict = await asyncio.to_thread(self._gate.check, found)
            if verdict.blocked:
                raise self._blocked(verdict.in_words())
        return inputs

    def _blocked(self, why: str) -> Exception:
        raised: Exception = GuardrailRaisedException(
            self.guardrail_name, why, should_wrap_with_default_message=False, blocked_content=True
        )
        return raised
