"""Texts of many kinds, by which the estimate of tokens is held against real tokenizers."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_BYTES: Final = b"".join(hashlib.sha256(str(index).encode()).digest() for index in range(64))

TEXTS: Final = {
    "prose": (ROOT / "docs/architecture.md").read_text()[:20_000],
    "code": (ROOT / "operator/heed/core/llm/turn_loop.py").read_text(),
    "yaml": (ROOT / "examples/research/agent.yaml").read_text(),
    "json": json.dumps(
        [{"order": index, "price": index / 7, "name": f"item {index}"} for index in range(200)]
    ),
    "indented json": json.dumps({"a": {"b": [{"c": [1, 2.5, None]}] * 20}}, indent=4),
    "german": "Die Donaudampfschifffahrtsgesellschaft fährt über den Fluß, während es regnet. " * 20,
    "french": "L'été, les élèves étudient près de la forêt où naît la rivière. " * 20,
    "russian": "Заказ номер семь находится в Осло и прибудет завтра утром. " * 20,
    "chinese": "订单七目前在奥斯陆，预计明天早上送达。请确认收货地址。" * 20,
    "japanese": "ご注文の品は現在オスロにあり、明日の朝に届く予定です。" * 20,
    "arabic": "الطلب رقم سبعة موجود في أوسلو وسيصل صباح الغد. " * 20,
    "hindi": "ऑर्डर नंबर सात ओस्लो में है और कल सुबह पहुँचेगा। " * 20,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈🚀✨ " * 40,
    "base64": base64.b64encode(_BYTES).decode(),
    "hex": _BYTES.hex(),
    "digits": str(2**4000),
    "capitals": "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG WHILE SHOUTING LOUDLY. " * 20,
    "rare words": "syzygy zugzwang qoph cwm crwth fjord pyx vext kvetch phlox zyzzyva ",
    "blanks": "a" + " " * 300 + "b\n\n\n\n\t\t\t\tc" + "\r\n" * 50,
    "punctuation": "!?;:,.-_#+*~^°§$%&/()=[]{}<>|\\\"'`" * 20,
    "identifiers": "getHTTPResponseCode2XX_v1beta3 xmlHttpRequestFactoryBeanImpl kubectl_get_po_o_yaml " * 20,
}
