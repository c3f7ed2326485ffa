"""References to Secrets that the gateway may use: those labelled `heed.dev/gateway-secret: "true"`."""

from typing import Annotated, Final

from pydantic import Field

from heed.api.fields import Model

MAX_OTHER_SECRETS: Final = 4
MAX_HEADER_CHARS: Final = 128
MAX_PREFIX_CHARS: Final = 64
SECRET_NAME_PATTERN: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
SECRET_KEY_PATTERN: Final = r"^[-._a-zA-Z0-9]+$"
HEADER_PATTERN: Final = r"^[-!#$%&'*+.^_`|~0-9A-Za-z]+$"

HeaderName = Annotated[str, Field(pattern=HEADER_PATTERN, min_length=1, max_length=MAX_HEADER_CHARS)]
HeaderPrefix = Annotated[str, Field(pattern=r"^[ -~]*$", max_length=MAX_PREFIX_CHARS)]


class SecretKeyRef(Model):
    """One key of a Secret in the same namespace. The Secret needs the label heed.dev/gateway-secret: "true"."""

    name: Annotated[
        str,
        Field(
            pattern=SECRET_NAME_PATTERN, min_length=1, max_length=253, description="The name of the Secret."
        ),
    ]
    key: Annotated[
        str, Field(pattern=SECRET_KEY_PATTERN, min_length=1, max_length=253, description="The key in it.")
    ]
