"""The official client (``openai``), set up for this package: it speaks the provider's batch API."""

from __future__ import annotations

from typing import Any

from clucert.errors import ModelUnavailableError
from clucert.models.http_client import Reach, client_options, http_library, proxy_of, read_reply
from clucert.models.http_pool import Handler
from clucert.models.server_address import Endpoint

_FILE_BYTES = 2_000_000_000
"""The longest file of a batch that is read: 50,000 answers."""


class NotThereError(ModelUnavailableError):
    """The server knows no such file, batch or address."""


def official_client(endpoint: Endpoint, reach: Reach, server: Handler | None) -> Any:
    """The official client with retries off (ours know quotas and a cap) and a pool as large as the concurrency.

    What it reads is limited and unpacked as elsewhere.
    """
    import openai

    http, address = http_library(), endpoint.addresses[0].chat.partition("?")
    reached = client_options(http, reach)
    through: dict[str, Any] = {"proxy": proxy_of(address[0])} if server is None else {"transport": _served_by(server)}

    async def read(response: Any) -> None:
        limit = _FILE_BYTES if "/files/" in response.request.url.path else reach.limit
        plain = await read_reply(response, response.stream, limit)
        # It would keep its connection from the pool.
        await response.stream.aclose()
        response.headers.pop("content-encoding", None)
        response.stream = http.ByteStream(plain.body)

    # Azure takes its key in a header of its own, and none beside it.
    headers: dict[str, Any] = {"Accept-Encoding": "identity", "Authorization": openai.Omit(), **endpoint.headers}
    client = openai.AsyncOpenAI(
        api_key="unused",
        base_url=address[0].removesuffix("/chat/completions"),
        default_headers=headers,
        default_query=dict(http.QueryParams(address[2])),
        max_retries=0,
        timeout=reached["timeout"],
        http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [read]}, **reached, **through),
    )
    # It would read the environment for servers of any kind.
    client.organization = client.project = None
    return client


def _served_by(server: Handler) -> Any:
    """How the client's HTTP library is told to call ``server`` in place of opening connections."""
    http = http_library()

    def respond(request: Any) -> Any:
        try:
            reply = server(request.method, str(request.url), request.content)
        except TimeoutError as error:
            raise http.ReadTimeout(str(error), request=request) from error
        except OSError as error:
            raise http.ConnectError(str(error), request=request) from error
        return http.Response(reply.status, headers=reply.headers, stream=http.ByteStream(reply.body))

    return http.MockTransport(respond)
