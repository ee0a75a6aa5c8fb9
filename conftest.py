"""Settings of all tests: what a property test tries is the same in each run, however slow the machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile("reproducible", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("reproducible")
