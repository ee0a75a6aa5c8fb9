"""Which numbers this node is to have once, and who wants them."""

from collections.abc import Mapping
from typing import Final

from lvs_agent.decide.kernel_state import Timeout
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.decide.setting_values import WantedNumber
from lvs_api.node_settings import SettingKey

TIMEOUTS: Final[Mapping[SettingKey, Timeout]] = {
    SettingKey("timeouts", "tcp_seconds"): Timeout.TCP,
    SettingKey("timeouts", "tcp_fin_seconds"): Timeout.TCP_FIN,
    SettingKey("timeouts", "udp_seconds"): Timeout.UDP,
}


def wanted_numbers(prepared: PreparedPlan) -> Mapping[SettingKey, WantedNumber]:
    """What the node's groups say."""
    return {
        key: WantedNumber(
            value=number.value, accepted=frozenset({number.value}), why=f"LvsDirectorGroup {number.group}"
        )
        for key, number in prepared.plan.settings.numbers.items()
    }
