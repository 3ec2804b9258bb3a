"""What all messages of the contract have in common."""

from collections.abc import Sequence
from typing import Any, Self

from google.protobuf.descriptor import FieldDescriptor

from mistralwire.v1._typing import protobuf

class Message(protobuf.Message):
    """A message of the contract; `google.protobuf.message.Message` at run time."""

    def __deepcopy__(self, memo: Any = None) -> Self: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self:
        """Return a new message, parsed from wire bytes.

        Raises:
            google.protobuf.message.DecodeError: The bytes are not those of a message.
        """

    def ParseFromString(self, serialized: bytes) -> int:
        """Clear the message and parse wire bytes into it; return how many bytes it read."""

    def MergeFromString(self, serialized: bytes) -> int:
        """Parse wire bytes into the message, over what it holds; return how many bytes it read."""

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:
        """Return the message as wire bytes."""

    def SerializePartialToString(self, *, deterministic: bool = ...) -> bytes:
        """Return the message as wire bytes; the same as SerializeToString in this contract."""

    def MergeFrom(self, other_msg: Self) -> None:
        """Copy the set fields of another message into this one; repeated fields are appended."""

    def CopyFrom(self, other_msg: Self) -> None:
        """Make this message a copy of another one."""

    def Clear(self) -> None:
        """Clear all fields."""

    def SetInParent(self) -> None:
        """Mark the message as present in the message that it is a field of."""

    def IsInitialized(self) -> bool:
        """Return True: the contract has no required fields of protobuf's kind."""

    def ByteSize(self) -> int:
        """Return the size of the wire bytes."""

    def ListFields(self) -> Sequence[tuple[FieldDescriptor, Any]]:
        """Return the descriptors and values of the fields that are set, by field number."""

    def DiscardUnknownFields(self) -> None:
        """Drop the fields on the wire that this version of the contract does not know."""
