"""Measure the gateway beside a Rust gateway, a Go gateway and Envoy: `make bench-gateway`.

All contenders stand before the same model API and are called by the same load generator, each in a
process of its own, and take turns within every round:

- **mistralwire**: `mistralwire gateway --embedded`, edge and service in one process.
- **smg**: a gateway in Rust, as a router before one OpenAI-compatible server, with its cheapest policy.
- **ferrogw**: a gateway in Go, with its Mistral provider.
- **Envoy**: a plain HTTP proxy on one thread, which parses no body: about the cost of the sockets alone.
- **LiteLLM**: its proxy at the version of litellm.txt, with the provider that it has for Mistral, in
  production mode, one worker, with no callbacks, no telemetry and no database; only with `LITELLM=1`.

The rivals come from wheels, at the versions of gateways.txt, into an environment of the benchmark's own.
All but Envoy require a key from their callers; none logs requests. Our gateway is also measured in other
setups, without a goal: with TLS to the model API, as two processes (`mistralwire gateway --service`
before `mistralwire serve`), and with a program's own upstream, whose work counts too, in the same
process.

The model API (`upstream.py`) answers with precomputed bytes: a JSON body, or a stream of 102 events, each
written on its own. The request selects the pace: paced, an event every 20 ms; jittered, gaps drawn evenly
from 2 to 38 ms, so that the events of different streams do not arrive together, which would save every
gateway turns of its loop; unpaced, the streams in turns and as fast as the connection takes them. A
slower gateway finds several events in its socket, as with a model that is faster than the gateway. The
load generator (`load.py`) sends the next request as soon as a response is complete, over kept-alive
connections. It fails unless each response is whole: the status, the text, the end of a stream, and in all
streams of a run the same number of events. Streams that run when the window ends are abandoned.

What counts is processor time, that of all processes of a contender over the window, divided by the units
that came in it: chunks, or requests. Processor clocks count in nanoseconds. The latency that a gateway
adds is measured over one connection, as the difference between the medians with and without the gateway.
Goals are multiples of smg's figure: medians of the ratios round by round. Two processors are shared by at
least three processes, and a busy machine changes the figures of each contender differently: threads that
sleep and wake cost more on an idle one. So ratios differ between machines, and between days.

The loads of the workers compare `--workers 2` with `--workers 1`, at the same 200 streams: the shares of
the chunks, by the process that holds the connection, and the processor time of a chunk in all processes.
"""
