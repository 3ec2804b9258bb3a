"""The methods of stubs on a `grpc.aio.Channel`: those of types-grpcio where it is installed, else our own."""

# See protobuf.pyi for the reason of the star.
try:
    from grpc.aio import *
except ImportError:
    from mistralwire.v1._typing.no_aio_rpc import *  # type: ignore[assignment, unused-ignore]
