"""Logging exceptions that only a mistake in the program raises."""

import logging
import traceback


def log_unexpected(logger: logging.Logger, event: str, error: BaseException) -> None:
    """Log an exception by its type and its stack, without its text, which may quote the request.

    Args:
        logger: The logger.
        event: What has happened, up to the exception, such as `call 1 ended with`.
        error: The exception.
    """
    stack = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s an unexpected %s\n%s", event, type(error).__name__, stack)
