"""Measure the streaming service against plain grpcio that does the same work: `make bench-stream`.

Two contenders are interleaved in one run:

- **mistralwire**: `create_server` and `Client`, with the defaults: requests are validated, calls have
  ids, time limits and bounds, and chunks that are ready at the same time share a message.
- **plain grpcio**: the generated servicer and stub of the same contract, as the gRPC documentation teaches
  them: the handler is an async generator that yields one message a chunk, the caller iterates over the
  messages. It validates nothing and limits nothing; grpc encodes and decodes its messages.

The same for both: the upstream object, the messages, the contract, one process for the server and one
for the load generator, one connection, the bounds on message sizes and calls at one time, no TLS, the event
loop, garbage collection as Python has it. The load generator runs all streams on one event loop and does
nothing with a chunk but count it, and read its time where delays are measured.

Streams are started first and warm up; then a window of some seconds is measured. Where a chunk's delay is
measured, the upstream puts the time at which the chunk is due into its `id`, in nanoseconds of
CLOCK_MONOTONIC, which is the same in all processes of a machine. The schedule is fixed when the stream
starts: a late chunk does not delay the next one. The delay ends when the load generator
has the chunk. It includes what the event loop's timer is late, about half a millisecond for both contenders;
so the time from when the upstream yields the chunk is measured as well.

Figures are medians over the rounds, ratios the medians of the ratios round by round. A delay counts as no
more than plain grpcio's if it is less, or more by at most the interquartile range of plain grpcio's own
rounds: that is called a tie.
"""
