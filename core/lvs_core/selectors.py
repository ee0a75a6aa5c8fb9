"""Kubernetes label selectors."""

from collections.abc import Mapping

from lvs_api.network_types import LabelSelector, LabelSelectorOperator, LabelSelectorRequirement


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether labels fulfil every requirement of a selector; an empty one selects everything."""
    return all(labels.get(key) == value for key, value in (selector.match_labels or {}).items()) and all(
        _fulfils(requirement, labels) for requirement in selector.match_expressions or ()
    )


def _fulfils(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    """NotIn holds for absent labels as well (k8s.io/apimachinery, labels.Requirement.Matches)."""
    present = requirement.key in labels
    values = requirement.values or ()
    match requirement.operator:
        case LabelSelectorOperator.IN:
            return present and labels[requirement.key] in values
        case LabelSelectorOperator.NOT_IN:
            return not present or labels[requirement.key] not in values
        case LabelSelectorOperator.EXISTS:
            return present
        case LabelSelectorOperator.DOES_NOT_EXIST:
            return not present
