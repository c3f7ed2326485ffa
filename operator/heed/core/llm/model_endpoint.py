"""Which API an endpoint is asked by, at which address, and in which dialect of it.

OpenAI and Azure are told by their hosts, as is Google; everything else speaks what most servers understand.
"""

import re
from typing import Final, Literal

from heed.core.llm.model_settings import ModelSettings
from heed.core.llm.transcript import Api

Dialect = Literal["OpenAI", "Azure", "Google", "Other"]
_PATHS: dict[Api, str] = {"ChatCompletions": "/chat/completions", "Responses": "/responses"}
_AZURE = (".openai.azure.com", ".openai.azure.us", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_OPENAI = "api.openai.com"
_GOOGLE = ".googleapis.com"
_BASE_URL: Final = re.compile(
    r"(?P<origin>https?://(?P<host>\[[0-9a-f:.]+\]|[^/:?#@\s]+)(?::\d{1,5})?)(?P<path>/[^?#\s]*)?(?P<query>\?[^#\s]*)?",
    re.IGNORECASE,
)


def find_dialect(base_url: str) -> Dialect:
    """Whose rules an endpoint has, by its host."""
    match = _BASE_URL.fullmatch(base_url)
    host = match["host"].lower() if match is not None else ""
    if host == _OPENAI or host.endswith(f".{_OPENAI}"):  # with a region before it, as eu.api.openai.com
        return "OpenAI"
    if host.endswith(_AZURE):
        return "Azure"
    return "Google" if host.endswith(_GOOGLE) else "Other"


def choose_api(settings: ModelSettings) -> Api:
    """The API of a call. `Auto` is Responses where it is known to be there, and Chat Completions elsewhere.

    OpenAI's newer models refuse tools beside a reasoning effort in Chat Completions (openai/openai-openapi#541).
    Azure has Responses below `/openai/v1` only, and not below `/openai/deployments/NAME`.
    """
    if settings.api != "Auto":
        return settings.api
    dialect = find_dialect(settings.base_url)
    by_deployment = "/deployments/" in settings.base_url
    return (
        "Responses"
        if dialect == "OpenAI" or (dialect == "Azure" and not by_deployment)
        else "ChatCompletions"
    )


def request_url(settings: ModelSettings) -> str:
    """Where requests go. A query of the base URL, as Azure's `api-version`, stays. Raises ValueError for no URL."""
    match = _BASE_URL.fullmatch(settings.base_url)
    if match is None:
        raise ValueError(
            "the base URL is none: write it like https://models.example.com/v1, without user and fragment"
        )
    path = (match["path"] or "").rstrip("/") + _PATHS[choose_api(settings)]
    return f"{match['origin']}{path}{match['query'] or ''}"


def key_header(base_url: str, key: str) -> tuple[str, str]:
    """The header that shows the key: `api-key` at Azure, where `Authorization` is for tokens of Entra ID."""
    return ("api-key", key) if find_dialect(base_url) == "Azure" else ("Authorization", f"Bearer {key}")
