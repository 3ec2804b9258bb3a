"""One gateway for all tests of a module: to start and stop one takes longer than most of them."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import trustme

from tests.sdk.both_ways import Stack, gateway_to
from tests.upstream_server import UpstreamServer


@pytest.fixture(scope="module", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trust one authority: to load the many of the system takes an SDK longer than a call does."""
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest_asyncio.fixture(
    loop_scope="module", scope="module", params=[False, True], ids=["network", "embedded"]
)
async def stack(request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    """Run a gateway in front of a model API, its service elsewhere or in the same process."""
    async with UpstreamServer() as server, gateway_to(server, is_embedded=request.param) as url:
        yield Stack(server, url)


@pytest_asyncio.fixture(
    loop_scope="module", scope="module", params=[False, True], ids=["network", "embedded"]
)
async def strict_stack(request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    """Run the same with a service that checks requests."""
    is_embedded = request.param
    async with UpstreamServer() as server, gateway_to(server, is_embedded=is_embedded, strict=True) as url:
        yield Stack(server, url)
