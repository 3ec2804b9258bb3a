"""Generate src/mistralwire/v1 from proto/: what `make generate` runs.

protoc writes the modules of messages and of the service. The rest is written here: type stubs with the
comments of the contract as docstrings, the same comments for `help()`, the error reasons and the re-exports.
The stubs in `shared` are written by hand and copied.

Needs grpcio-tools 1.73.1, whose modules work with every protobuf runtime from 6.30 on, in an environment of
its own, since these tools themselves need an older protobuf.
"""
