"""The official client (``openai``), set up for this package, and its errors."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from clucert.errors import ModelError, ModelUnavailableError
from clucert.models.http_pool import Handler, Reply
from clucert.models.server_address import Endpoint

if TYPE_CHECKING:
    from clucert.models.load import ModelOptions


class NotThereError(ModelUnavailableError):
    """The server knows no such file, batch or address."""


def official_client(endpoint: Endpoint, options: ModelOptions, server: Handler | None) -> Any:
    """The official client with retries off (ours know quotas and a cap) and a pool as large as the concurrency."""
    import openai

    pool = options.max_connections
    limits = _http_library().Limits(max_connections=pool, max_keepalive_connections=pool)
    timeout = openai.Timeout(options.timeout, connect=min(options.timeout, 10.0), pool=None)
    return openai.AsyncOpenAI(
        api_key="unused",
        base_url=endpoint.base_url,
        default_headers={"Authorization": endpoint.authorization},
        max_retries=0,
        timeout=timeout,
        http_client=openai.DefaultAsyncHttpxClient(limits=limits, timeout=timeout, **_served_by(server)),
    )


def _served_by(server: Handler | None) -> dict[str, Any]:
    """How the official client's HTTP library is told to call ``server`` in place of opening connections."""
    if server is None:
        return {}
    http = _http_library()

    def respond(request: Any) -> Any:
        try:
            reply = server(request.method, str(request.url), request.content)
        except TimeoutError as error:
            raise http.ReadTimeout(str(error), request=request) from error
        except OSError as error:
            raise http.ConnectError(str(error), request=request) from error
        return http.Response(reply.status, headers=reply.headers, content=reply.body)

    return {"transport": http.MockTransport(respond)}


def _http_library() -> Any:
    """The HTTP library that the official client is built on: httpx up to its version 2, httpx2 since."""
    import openai

    return importlib.import_module(type(openai.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0])


def official_error(client: Any, problem: OSError | Reply) -> Exception:
    """What the official client raises about ``problem``."""
    import openai

    http = _http_library()
    request = http.Request("POST", str(client.base_url))
    if isinstance(problem, TimeoutError):
        return openai.APITimeoutError(request=request)
    if isinstance(problem, OSError):
        return openai.APIConnectionError(request=request)
    response = http.Response(problem.status, headers=problem.headers, content=problem.body, request=request)
    error: Exception = client._make_status_error_from_response(response)
    return error


def error_types() -> tuple[tuple[type[Exception], ...], tuple[type[Exception], ...]]:
    """Errors that say that a request was not understood, and those of all failures: imported once, not at each call."""
    from openai import APIError, BadRequestError, UnprocessableEntityError

    return (BadRequestError, UnprocessableEntityError), (APIError, ModelError)


def message_of(failure: Any) -> str:
    """What the server said of ``failure``."""
    body = failure.body
    said = body.get("message") if isinstance(body, dict) else None
    return str(said or failure.message)
