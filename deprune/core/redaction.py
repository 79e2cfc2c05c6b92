"""Keeping the secrets of the environment out of everything that is printed or written."""

import logging
import os
import re

SECRET_NAMES = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)
"""Environment variables whose values are secrets: HF_TOKEN, WANDB_API_KEY, AWS_SECRET_ACCESS_KEY, …"""

SHORTEST = 8
"""Shorter values are no secrets worth the name, and occur in texts by chance."""


def redact(text: str) -> str:
    """Returns a text with the name of each secret of the environment in place of its value."""
    secrets = {v: k for k, v in os.environ.items() if SECRET_NAMES.search(k) and len(v) >= SHORTEST}
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, f"<{secrets[value]}>")
    return text


class RedactingFormatter(logging.Formatter):
    """A formatter of log lines, tracebacks included, that lets no secret through."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        return redact(super().format(record))
