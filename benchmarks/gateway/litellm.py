"""LiteLLM's proxy: its configuration, its environment and its command, after its guide to production."""

import json
import pathlib
from typing import Any

from benchmarks.gateway import scenarios

FOLDER = pathlib.Path(__file__).parents[2] / ".venv-litellm"
REQUIREMENTS = pathlib.Path(__file__).parent / "litellm.txt"


def command(upstream_port: int, port: int, folder: pathlib.Path) -> list[str]:
    """Write the configuration into a folder, and return the command that runs the proxy.

    Args:
        upstream_port: Where the model API listens.
        port: Where the proxy is to listen.
        folder: The folder.
    """
    config = folder / "litellm.yaml"
    # YAML has JSON in it.
    config.write_text(json.dumps(_config(upstream_port)))
    arguments = ("--config", str(config), "--host", "127.0.0.1", "--port", str(port))
    return [str(FOLDER / "bin" / "litellm"), *arguments, "--num_workers", "1", "--telemetry", "False"]


def environment(key: str, folder: pathlib.Path) -> dict[str, str]:
    """Return the environment of the proxy: production, and nothing fetched from anywhere.

    Args:
        key: The key of its callers; it does not start without one.
        folder: Its home directory.
    """
    own_copies = (
        "MODEL_COST_MAP",
        "ANTHROPIC_BETA_HEADERS",
        "BLOG_POSTS",
        "POLICY_TEMPLATES",
        "AUTOROUTER_PRESETS",
    )
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MASTER_KEY": key,
        "NO_DOCS": "True",
        **{f"LITELLM_LOCAL_{name}": "True" for name in own_copies},
    }


def _config(upstream_port: int) -> dict[str, Any]:
    model = {
        "model": f"mistral/{scenarios.MODEL}",
        "api_base": f"http://127.0.0.1:{upstream_port}/v1",
        "api_key": "unused",
    }
    return {
        "model_list": [{"model_name": scenarios.MODEL, "litellm_params": model}],
        "litellm_settings": {
            "request_timeout": 600,
            "set_verbose": False,
            "json_logs": True,
            "callbacks": [],
        },
    }
