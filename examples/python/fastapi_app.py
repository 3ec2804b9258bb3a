"""The gateway mounted in a FastAPI application: `SERVICE=localhost:50051 uvicorn fastapi_app:app`."""

import contextlib
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI

from mistralwire.client import Client
from mistralwire.gateway import create_app

client = Client(os.environ.get("SERVICE", "localhost:50051"), attempts_max=1)


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with client:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/llm", create_app(client))


@app.get("/")
def index() -> dict[str, str]:
    return {"completions": "/llm/v1/chat/completions", "docs": "/llm/docs"}
