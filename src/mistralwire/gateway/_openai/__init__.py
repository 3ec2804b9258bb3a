"""The OpenAI-compatible edge: converts its requests, answers and errors from and to Mistral's format."""

from mistralwire.gateway._openai._error import to_openai_error
from mistralwire.gateway._openai._exchange import exchange_class

__all__ = ["exchange_class", "to_openai_error"]
