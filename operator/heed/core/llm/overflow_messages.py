"""How endpoints say that a request is longer than the model's window. Few have a code for it; each has words.

Each pattern has its source. They are looked for in the first characters of a message, and match in linear time.
"""

import re
from typing import Final

MAX_SEARCHED_CHARS: Final = 4000
OVERFLOW_CODES: Final = frozenset(
    (
        "context_length_exceeded",  # OpenAI, Azure; TensorRT-LLM (NVIDIA/TensorRT-LLM#19457)
        "exceed_context_size_error",  # llama.cpp, as `type`
        "model_max_prompt_tokens_exceeded",  # GitHub Copilot
        "string_above_max_length",  # OpenAI, of a single text
        "request_too_large",  # Anthropic's compatible endpoint, with 413
    )
)
_PATTERNS: Final = (
    r"exceeds the context window",  # OpenAI and Azure, Responses (BerriAI/litellm#22695)
    r"maximum context length",  # OpenAI, vLLM, OpenRouter; in parentheses too (earendil-works/pi#5677)
    r"context[ _]length[ _](?:is )?exceeded",
    r"input tokens exceed the configured limit",  # Azure (BerriAI/litellm#15968)
    r"input token count.{0,40}exceeds the maximum",  # Google, with and without the count (BerriAI/litellm#18282)
    r"maximum prompt length is \d",  # xAI
    r"reduce the length of the (?:messages|prompt|input)",  # Groq, OpenAI
    r"prompt is too long",  # Anthropic
    r"input is too long for",  # Bedrock
    r"exceeds the available context size",  # llama.cpp
    r"(?:greater|longer|larger) than the (?:model's )?context (?:length|window|size)",  # LM Studio, vLLM
    r"context window exceeds limit",  # MiniMax
    r"exceeded model token limit",  # Kimi
    r"exceeds the maximum allowed input length",  # GLM behind a hub (NVIDIA-NeMo/Switchyard#314)
    # SGLang, TensorRT-LLM
    r"exceeds (?:the )?(?:model's )?(?:max(?:imum)? )?(?:model|sequence|context|input|prompt) (?:length|len|limit)",
    r"exceeds the limit of \d",  # GitHub Copilot
    r"decoder prompt .{0,60}is longer than the maximum model length",  # vLLM (anomalyco/opencode#17763)
    r"`?inputs`? tokens \+ `?max_new_tokens`? must be",  # TGI
    r"too large for model .{0,200}(?:context|tokens per minute)",  # Mistral; Groq's 413, which no wait helps
)
_OVERFLOW: Final = re.compile("|".join(_PATTERNS), re.IGNORECASE)


def says_overflow(message: str) -> bool:
    """Whether an endpoint's message means that the request is too long."""
    return _OVERFLOW.search(message[:MAX_SEARCHED_CHARS]) is not None
