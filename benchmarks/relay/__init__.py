"""Measure response logs and the relay: `make bench-relay`.

Contenders, interleaved in one run; each run is a process of its own, on uvloop if it is installed:

- **memory** and **sqlite**: the logs of this package, by their interface alone.
- **nats** and **nats of three**: the log on NATS JetStream with one server, and with a cluster of three and
  three replicas, all with `sync_interval: always`.
- **redis always** and **redis everysec**: Redis Streams by redis-py with hiredis, as its documentation has
  them, `appendfsync` always and everysec, over a Unix socket. An event is an entry with its number as id. A
  producer awaits XADD, or a pipeline of them for a batch, on a connection of the pool; each follower has a
  connection of its own, which blocks in XREAD. It checks no epochs, no ends and no repetitions, and has no
  transactions over several responses.
- **redis pipelined**: as redis always, but what all producers append during a round trip goes out in one
  pipeline on one connection, as the logs of this package do it. Nobody gets that from redis-py by itself.
- **rakaia**: rakaia-streams, a server of the Durable Streams protocol in Python, run by uvicorn, with its
  store in JSON files, which flushes each append. A producer awaits a POST, and a follower reads an event
  stream, with aiohttp.

Over gRPC, with the server in a process of its own and the generated types at both ends:

- **memory over gRPC** and **sqlite over gRPC**: ResponseRelayService, with the defaults but for limits.
- **plain grpcio**: the generated servicer, as the gRPC documentation teaches it: a consumer gets a message a
  chunk from a queue of its own. It stores nothing, knows no ends and repetitions, bounds no queue.

The same for all: one process with producers and followers as coroutines on one event loop, events of the same
bytes, 220 each. A producer has one batch in flight (64 where the table says so), and appends the next when it
is acknowledged; if a load is paced, not before it is due, and delays are counted from then. Producers wait
while followers are 100,000 events behind. Nothing acknowledged by a log that promises durability is in memory
only: sqlite, nats, rakaia and redis always flush the disk for each commit, redis everysec each second, and
memory never.

Slow disks: each fsync and fdatasync of SQLite, redis-server and rakaia-streams takes two milliseconds longer,
by a library that is preloaded.

Figures are medians over the rounds; ratios are the medians of the ratios round by round. Processor time is
that of the process and of the servers together, divided by the events that were acknowledged.
"""
