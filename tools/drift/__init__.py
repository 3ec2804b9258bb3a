"""`make drift`: compare the contract with the types of Mistral's SDKs.

Everything is read into one vocabulary (`vocabulary`): the messages of the contract (`contract`), the pydantic
models of `mistralai` (`read_models`) and the TypeScript types of `@mistralai/mistralai` (`read_types.mjs`).
`compare` finds what differs, `known` sets aside what is meant to differ, `report` prints both. The readers
run in processes of their own (`sources`), so that any version of an SDK can be read.
"""
