// The conformance tests of the protocol, on the gateway at DS_URL.

import { runConformanceTests } from "@durable-streams/server-conformance-tests"

if (!process.env.DS_URL) throw new Error("expected the URL of a gateway as DS_URL, found none")

runConformanceTests({ baseUrl: process.env.DS_URL })
