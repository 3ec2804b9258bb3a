"""What all tests share: how long the property tests search."""

import os

from hypothesis import HealthCheck, settings

for name, max_examples in (("default", 100), ("long", 5_000)):
    settings.register_profile(
        name, max_examples=max_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
