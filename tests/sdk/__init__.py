"""The gateway with clients that nobody here wrote: unmodified SDKs, and what they must never notice."""
