"""What controllers of other projects need beside a control plane: a certificate for 127.0.0.1, and probes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

from heed.kube.webhook.ca import BUNDLE, CERTIFICATE, KEY, renew_keys


def certify(folder: Path) -> bytes:
    """Write a certificate, its key and the authority to trust as ca.crt, tls.crt and tls.key; returns the authority."""
    keys = renew_keys(None, ["127.0.0.1"], datetime.now(UTC))
    assert keys is not None
    for name in (BUNDLE, CERTIFICATE, KEY):
        (folder / name).write_bytes(keys.data()[name])
    return keys.bundle_pem


def answers(port: int, path: str = "readyz") -> bool:
    """Whether a probe says 200."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
