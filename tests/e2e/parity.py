"""Compares our exposition with Envoy's own of the same moment, series by series.

Each of our series must be in Envoy's output under the same name, with the same labels and the same
number. Where Envoy is wrong, a correction says how its form follows from ours; the corrected series
must then be there in that form, with the same number, as often as Envoy writes it. Nothing else may
be left on either side.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

# Names that users choose, the start of the families they label, and where Envoy's rule for them
# ends: it takes the name up to the first dot, and the rest becomes part of the family's name.
SCOPES = {
    "envoy_cluster_name": ["cluster_", "thrift_"],
    "envoy_http_conn_manager_prefix": ["http_", "listener_http_", "vhost_"],
    "envoy_rds_route_config": ["http_rds_"],
    "envoy_scoped_rds_config": ["http_scoped_rds_"],
    "envoy_virtual_host": ["vhost_"],
    "envoy_virtual_cluster": ["vhost_vcluster_"],
    "envoy_route": ["vhost_route_"],
    "envoy_grpc_bridge_service": ["cluster_grpc_"],
    "envoy_ext_authz_prefix": ["http_ext_authz_", "cluster_ext_authz_"],
    "envoy_rbac_prefix": ["http_rbac_", "tcp_rbac_"],
    "envoy_rbac_http_hcm_prefix": ["http_rbac_"],
    "envoy_rbac_policy_name": [
        "http_rbac_policy_", "http_rbac_shadow_policy_", "http_rbac_allowed_policy_",
    ],
    "envoy_secret_name": ["listener_server_ssl_socket_factory_", "sds_"],
    "envoy_xds_resource_name": ["sds_"],
    "envoy_tcp_prefix": ["tcp_"],
    "envoy_tls_certificate": ["cluster_ssl_certificate_", "listener_ssl_certificate_"],
}

# Answers are given one after the other, and each admin request moves these. The families are named
# in full: any other that moved is a difference.
MOVING_OF_ADMIN = re.compile(
    r"envoy_http_(downstream_(cx|rq)(_\w+)?|rq_total)"
    r"|envoy_listener_((main_thread_|worker_)?downstream_cx_\w+|connections_\w+|http_admin_downstream_rq\w*)"
)
MOVING = re.compile(
    r"envoy_listener_admin_\w+"
    r"|envoy_filesystem_(flushed_by_timer|write_\w+)"
    r"|envoy_main_thread_\w+|envoy_server_main_thread_\w+"
    r"|envoy_server_(uptime|memory_allocated|memory_heap_size|memory_physical_size|stat_recent_lookups)"
)
# What no stat says: own metrics, and what collectors that are on find.
OF_OUR_OWN = re.compile(
    r"envoy_up|envoy_exporter_\w+|process_\w+"
    r"|envoy_certificate_\w+|envoy_server_(info|current_state|start_time_seconds|first_start_time_seconds)"
)


@dataclass
class Result:
    equal: int = 0
    corrected: Counter = field(default_factory=Counter)
    different: list = field(default_factory=list)

    def __str__(self):
        reasons = ", ".join(f"{count} {why}" for why, count in sorted(self.corrected.items()))
        return (
            f"equal {self.equal}  corrected {sum(self.corrected.values())} ({reasons})"
            f"  different {len(self.different)}"
        )


def sanitized(text):
    text = re.sub(r"[^a-zA-Z0-9_]", "_", text)
    return text


def envoys_forms(name, labels):
    """How Envoy may write a series of ours that has dots in what its user named."""
    forms = [(name, dict(labels), [])]
    for label, starts in SCOPES.items():
        value = dict(labels).get(label, "")
        if "." not in value:
            continue
        more = []
        for have, values, why in forms:
            for start in starts:
                if have.startswith("envoy_" + start):
                    # Any dot may be where a rule stopped: one with a longer pattern stops later.
                    head, rest = values[label].split(".", 1)
                    at = len("envoy_" + start)
                    more.append((
                        have[:at] + sanitized(rest) + "_" + have[at:],
                        {**values, label: head},
                        why + [f"dots in {label}"],
                    ))
        forms += more
    return forms[1:] + [form for have in forms for form in rules_that_then_fail(*have)]


def rules_that_then_fail(name, values, why):
    """Envoy's rules for these tags count dots: with more of them they take a wrong part, or none."""
    if "cipher_suite" in values and why:
        rest = {label: value for label, value in values.items() if label != "cipher_suite"}
        yield name + "_" + sanitized(values["cipher_suite"]), rest, why
    virtual_cluster = values.get("envoy_virtual_cluster", "")
    if virtual_cluster and "dots in envoy_virtual_host" in why and "dots in envoy_virtual_cluster" not in why:
        rest = {label: value for label, value in values.items() if label != "envoy_virtual_cluster"}
        yield name.replace("_vcluster_", f"_vcluster_{sanitized(virtual_cluster)}_", 1), rest, why
    service = values.get("envoy_grpc_bridge_service", "")
    if "." in service:
        first, second = service.split(".", 1)
        method = values["envoy_grpc_bridge_method"]
        moved = {"envoy_grpc_bridge_service": first, "envoy_grpc_bridge_method": second}
        at = len("envoy_cluster_grpc_")
        yield name[:at] + method + "_" + name[at:], {**values, **moved}, why + ["dots in a gRPC service"]
    shadow = values.get("envoy_rbac_http_prefix", "")
    if shadow and "envoy_http_conn_manager_prefix" in values and why:
        rest = {label: value for label, value in values.items() if label != "envoy_rbac_http_prefix"}
        yield name.replace("rbac_", f"rbac_{sanitized(shadow)}_", 1), rest, why
    policy = values.get("envoy_rbac_policy_name", "")
    if "." in policy:
        rest = {label: value for label, value in values.items() if label != "envoy_rbac_policy_name"}
        start = "envoy_http_rbac_policy_"
        if name.startswith(start):
            yield start + sanitized(policy) + "_" + name[len(start):], rest, why + ["dots in a policy"]


def compare(ours, theirs, ours_types, theirs_types):
    result = Result()
    left = {key: list(values) for key, values in theirs.items()}
    unmatched = []
    for key, values in ours.items():
        if OF_OUR_OWN.fullmatch(key[0]):
            continue
        if take(left, key, values[0]):
            result.equal += 1
        else:
            unmatched.append((key, values[0]))
    for key, value in unmatched:
        name, labels = key
        for why in corrections(name, labels, value, left):
            result.corrected[why] += 1
            break
        else:
            result.different.append(("ours", key, value, theirs.get(key)))
    for key, values in left.items():
        for value in values:
            if len(theirs[key]) > 1 and len(values) < len(theirs[key]):
                result.corrected["twice in Envoy"] += 1
            else:
                result.different.append(("Envoy's", key, value, ours.get(key)))
    for name, family in ours_types.items():
        other = theirs_types.get(name)
        if other is not None and not OF_OUR_OWN.fullmatch(name) and other.type != family.type:
            result.different.append(("type", name, family.type, other.type))
    return result


def corrections(name, labels, value, left):
    """Tries each correction; one that holds takes Envoy's series from those that are left."""
    forms = [(other, frozenset(values.items()), why[0]) for other, values, why in envoys_forms(name, labels)]
    forms += [(name, other, why) for other, why in illegal_forms(labels)]
    for other, values, why in forms:
        if take(left, (other, values), value):
            yield why
            return
    for key in [(name, labels)] + [(other, values) for other, values, _ in forms]:
        if moving(name, labels) and left.get(key):
            left[key].pop()
            yield "moved between two answers"
            return


def moving(name, labels):
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    of_admin = "admin" in dict(labels).values()
    if base.startswith(("envoy_http_", "envoy_listener_")) and not base.startswith("envoy_listener_admin_"):
        return of_admin and bool(MOVING_OF_ADMIN.fullmatch(base))
    return bool(MOVING.fullmatch(base))


def illegal_forms(labels):
    """Labels that Envoy writes though no reader takes them."""
    forms = []
    digits = [(label, value) for label, value in labels if re.match(r"_\d", label)]
    if digits:
        renamed = {(label[1:], value) for label, value in digits}
        forms.append((frozenset(labels - set(digits) | renamed), "label name that starts with a digit"))
    second = [(label, value) for label, value in labels if label == "exported_le"]
    if second:
        renamed = {("le", value) for _, value in second}
        forms.append((frozenset(labels - set(second) | renamed), "a second label le"))
    return forms


def take(left, key, value):
    values = left.get(key, [])
    for at, other in enumerate(values):
        if float(other) == float(value):
            del values[at]
            return True
    return False
