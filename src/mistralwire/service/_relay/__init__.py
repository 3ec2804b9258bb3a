"""The relay: responses in a log, to be published, followed, resumed and cancelled.

`create_relay(config)` returns a `Relay`, which the service uses.
"""

from mistralwire.service._relay._joined import JoinedResponse
from mistralwire.service._relay._opening import ResponseOpener, options_of
from mistralwire.service._relay._owner import owner_of, owner_of_call
from mistralwire.service._relay._publish import MessageStream
from mistralwire.service._relay._recording import Recording, response_event
from mistralwire.service._relay._relay import Relay, create_log, create_relay
from mistralwire.service._relay._rules import Holder, response_id_of

__all__ = [
    "Holder",
    "JoinedResponse",
    "MessageStream",
    "Recording",
    "Relay",
    "ResponseOpener",
    "create_log",
    "create_relay",
    "options_of",
    "owner_of",
    "owner_of_call",
    "response_event",
    "response_id_of",
]
