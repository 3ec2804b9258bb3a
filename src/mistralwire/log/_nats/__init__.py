"""A response log on NATS JetStream, for many nodes.

A subject has the messages of one response, in the order of its events; the last message says all that is
known of it. A second subject has a copy without events whenever lists change: each node keeps these in
memory. Writers, readers and followers share one connection of the node.
"""

from mistralwire.log._nats._log import NatsLog

__all__ = ["NatsLog"]
