"""A language model of a few megabytes, made on the spot: a real vocabulary, and weights by chance.

It says nothing sensible, and need not: tokens, windows, templates, grammars and the ways of the server are real.
The vocabulary comes from a file of llama.cpp's own tests, whose metadata are copied as they are; the rest is written
here after the GGUF specification, version 3 (ggml's docs/gguf.md), which needs no package.
"""

import random
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

MAGIC: Final = b"GGUF"
ALIGNMENT: Final = 32
UINT32, FLOAT32, STRING, ARRAY = 4, 6, 8, 9
F32, F16 = 0, 1  # types of tensors
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
EMBEDDING, HEADS, FEED_FORWARD = 32, 2, 64
BLOCK: Final = 8191  # weights that are drawn, and then repeated
TOKENS, TOKEN_TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
CONTROL, USER_DEFINED = 3, 4  # types of tokens that are told apart before a text is taken to pieces
# Tokens of chats and tools, for a template of Qwen's, in the places of GPT-2's last words.
CHAT_VOCABULARY: Final = "gpt-2"
CHAT_TOKENS: Final = {
    50252: ("<|im_start|>", CONTROL),
    50253: ("<|im_end|>", CONTROL),
    50254: ("<tool_call>", USER_DEFINED),
    50255: ("</tool_call>", USER_DEFINED),
}


def write_model(vocabulary: Path, target: Path, *, window: int = 4096, chat: bool = True) -> None:
    """Write a model of one layer with this vocabulary, and a context of so many tokens."""
    tokens, tokenizer = read_tokenizer(vocabulary.read_bytes())
    if chat:
        tokenizer |= _with_names(tokenizer)
    metadata = b"".join((*_settings(window), *tokenizer.values()))
    count = len(list(_settings(window))) + len(tokenizer)
    shapes = _shapes(tokens)
    infos, offset = [], 0
    for name, shape in shapes.items():
        kind = F32 if len(shape) == 1 else F16
        dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        infos.append(_string(name) + dimensions + struct.pack("<IQ", kind, offset))
        offset += _padded(_bytes_of(shape))
    head = MAGIC + struct.pack("<IQQ", 3, len(shapes), count) + metadata + b"".join(infos)
    chance = random.Random(1)
    with target.open("wb") as file:
        file.write(head.ljust(_padded(len(head)), b"\0"))
        for shape in shapes.values():
            data = _ones(shape) if len(shape) == 1 else _weights(chance, shape[0] * shape[1])
            file.write(data.ljust(_padded(len(data)), b"\0"))


def _settings(window: int) -> Iterator[bytes]:
    """Metadata of the model itself."""
    yield _string("general.architecture") + struct.pack("<I", STRING) + _string("llama")
    numbers = {
        "general.file_type": F16,
        "llama.context_length": window,
        "llama.embedding_length": EMBEDDING,
        "llama.block_count": 1,
        "llama.feed_forward_length": FEED_FORWARD,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS,
    }
    for name, value in numbers.items():
        yield _string(name) + struct.pack("<II", UINT32, value)
    yield _string("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", FLOAT32, 1e-5)


def _shapes(tokens: int) -> Mapping[str, tuple[int, ...]]:
    """Tensors by name, with the fastest dimension first."""
    square, wide, tall = (EMBEDDING, EMBEDDING), (EMBEDDING, FEED_FORWARD), (FEED_FORWARD, EMBEDDING)
    return {
        "token_embd.weight": (EMBEDDING, tokens),
        "blk.0.attn_norm.weight": (EMBEDDING,),
        "blk.0.attn_q.weight": square,
        "blk.0.attn_k.weight": square,
        "blk.0.attn_v.weight": square,
        "blk.0.attn_output.weight": square,
        "blk.0.ffn_norm.weight": (EMBEDDING,),
        "blk.0.ffn_gate.weight": wide,
        "blk.0.ffn_up.weight": wide,
        "blk.0.ffn_down.weight": tall,
        "output_norm.weight": (EMBEDDING,),
    }


def read_tokenizer(data: bytes) -> tuple[int, dict[str, bytes]]:
    """How many tokens a vocabulary has, and its metadata as they are written, by name."""
    if data[:4] != MAGIC:
        raise ValueError("no GGUF file")
    (entries,) = struct.unpack_from("<Q", data, 16)
    place, tokens, found = 24, 0, dict[str, bytes]()
    for _ in range(entries):
        start = place
        name, place = _read_string(data, place)
        (kind,) = struct.unpack_from("<I", data, place)
        if name == TOKENS:
            (tokens,) = struct.unpack_from("<Q", data, place + 8)
        place = _skip(data, place + 4, kind)
        if name.startswith("tokenizer."):
            found[name] = data[start:place]
    return tokens, found


def _with_names(tokenizer: Mapping[str, bytes]) -> dict[str, bytes]:
    """The lists of tokens and of their types, with those of chats."""
    start = len(_string(TOKENS)) + 16
    texts, place = list[bytes](), start
    while place < len(tokenizer[TOKENS]):
        end = _skip(tokenizer[TOKENS], place, STRING)
        texts.append(tokenizer[TOKENS][place:end])
        place = end
    types = bytearray(tokenizer[TOKEN_TYPES])
    for token, (name, kind) in CHAT_TOKENS.items():
        texts[token] = _string(name)
        struct.pack_into("<i", types, len(_string(TOKEN_TYPES)) + 16 + 4 * token, kind)
    return {TOKENS: tokenizer[TOKENS][:start] + b"".join(texts), TOKEN_TYPES: bytes(types)}


def _skip(data: bytes, place: int, kind: int) -> int:
    """Where the value ends that begins here."""
    if kind == STRING:
        return _read_string(data, place)[1]
    if kind != ARRAY:
        return place + _SIZES[kind]
    inner, length = struct.unpack_from("<IQ", data, place)
    place += 12
    if inner in _SIZES:
        return place + int(length) * _SIZES[inner]
    for _ in range(length):
        place = _skip(data, place, inner)
    return place


def _read_string(data: bytes, place: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, place)
    end = place + 8 + int(length)
    return data[place + 8 : end].decode(errors="replace"), end


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _bytes_of(shape: tuple[int, ...]) -> int:
    return shape[0] * 4 if len(shape) == 1 else shape[0] * shape[1] * 2


def _ones(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<{shape[0]}f", *([1.0] * shape[0]))


def _weights(chance: random.Random, count: int) -> bytes:
    block = struct.pack(f"<{BLOCK}e", *(chance.gauss(0, 0.3) for _ in range(BLOCK)))
    return (block * (count // BLOCK + 1))[: count * 2]
