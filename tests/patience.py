"""How long a test waits for what has to come.

It is no promise and measures nothing: it bounds how long a test takes that fails, so it is far more than a busy machine
needs. A run that expects failures, as those of mutation testing do, makes it short with HEED_TEST_PATIENCE.
"""

import os

PATIENCE = float(os.environ.get("HEED_TEST_PATIENCE", "180"))  # seconds
