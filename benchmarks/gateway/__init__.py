"""Measure the gateway against LiteLLM's proxy and Envoy's transcoder: `make bench-gateway`.

All contenders stand before the same model API and are called by the same load generator, each in a process
of its own, and take turns within every round:

- **direct**: the load generator calls the model API itself. What the others take more is what they add.
- **embedded**: `mistralwire gateway --embedded`, edge and service in one process.
- **two processes**: `mistralwire gateway --service` before `mistralwire serve`.
- **LiteLLM**: its proxy in an environment of its own, at the version of litellm.txt, with the provider that
  it has for Mistral, in production mode, one worker as ours is one process, with no callbacks, no telemetry
  and no database; its price list is the one it ships, so that it calls nobody else.
- **Envoy**: its gRPC-JSON transcoder with one thread before that same `mistralwire serve`: for scale, as its
  JSON is that of protobuf and not the API's. It answers requests alone; it has no server-sent events.

LiteLLM does not start without a key for its callers, so our gateways ask for one too. None of them logs
requests: LiteLLM's guide to production says so, and ours is told to.

The model API (`upstream.py`) answers at once with bytes made before: a JSON body, or a stream of events,
each written on its own, the streams in turns and as fast as the connection takes them. Who is slower than
that finds several events in his socket, as with a model that is faster than he is. The load generator
(`load.py`) asks again as soon as an answer is there, over connections that are kept. It fails unless each
answer is whole: the status, the text, the end of a stream, and in all streams of a run the same number of
events. Chunks that a contender drops or joins show in the report.

There are two processors for at least three processes; so what counts are ratios within one run, of medians
over the rounds. The time that a request adds at 32 at one time is mostly the wait for the 31 others: it tells
how many a contender answers in a second. Processor time a request and a chunk is that of all the processes of
a contender; it is the figure that other work on the machine changes least.
"""
