"""The edge in OpenAI's form: between its requests, answers and errors, and Mistral's."""

from mistralwire.gateway._openai._error import to_openai_error
from mistralwire.gateway._openai._exchange import exchange_class

__all__ = ["exchange_class", "to_openai_error"]
