"""`Message`: that of types-protobuf where it is installed, else one without members."""

# A missing module exports nothing through a star, so the second import counts. Imported by its name, Message
# would be Any, and a checker would accept every attribute of the contract's messages.
try:
    from google.protobuf.message import *
except ImportError:
    from mistralwire.v1._typing.no_protobuf import *  # type: ignore[assignment, unused-ignore]
