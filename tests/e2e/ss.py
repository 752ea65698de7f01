"""What `ss -tin` says of connections, read by itself: the program under test uses none of this."""

import re
import subprocess

FIELD = re.compile(r"\b(\w+):([\d.]+)")


def connections(*condition):
    """The open connections that fulfil a condition of ss, as fields by name, times in ms and rates in bytes."""
    found = subprocess.run(["ss", "-tinH", "state", "established", "state", "close-wait", *condition],
                           capture_output=True, text=True, timeout=20, check=True)
    all_of = []
    for line in found.stdout.splitlines():
        if not line.startswith(("\t", " ")):
            # With more than one state asked for, it stands in front.
            local, peer = line.split()[3:5]
            # What is 0 is not shown.
            all_of.append({"local": local, "peer": peer, "retransmits": 0, "unacked": 0, "rate": 0, "bytes_sent": 0,
                           "bytes_received": 0, "segs_out": 0})
            continue
        last = all_of[-1]
        for name, number in FIELD.findall(line):
            if name not in ("bw", "mrtt"):
                last[name] = float(number)
        again = re.search(r"\bretrans:\d+/(\d+)", line)
        last["retransmits"] = int(again.group(1)) if again else 0
        rate = re.search(r"\bdelivery_rate (\d+)bps", line)
        last["rate"] = int(rate.group(1)) / 8 if rate else 0
    return all_of


def spread(values):
    return {"avg": sum(values) / len(values), "max": max(values), "min": min(values), "all": sum(values)}


def expected(found):
    """The gauges of `native` that these connections make, without their prefix."""
    def of(field):
        return [one[field] for one in found if field in one]

    wanted = {"connections": len(found)}
    if not found:
        return wanted
    wanted["retransmit_ratio"] = sum(of("retransmits")) / sum(of("segs_out"))
    for name, field, words in (
        ("rtt_{}_ms", "rtt", ("avg", "max", "min")),
        ("rto_{}_ms", "rto", ("avg", "max", "min")),
        ("retransmits_{}", "retransmits", ("avg", "max", "min", "all")),
        ("bytes_sent_{}", "bytes_sent", ("avg", "max", "min", "all")),
        ("bytes_received_{}", "bytes_received", ("avg", "max", "min", "all")),
        ("unacked_{}", "unacked", ("avg", "max", "min", "all")),
        ("congestion_window_{}", "cwnd", ("avg", "max", "min", "all")),
        ("delivery_rate_{}", "rate", ("avg", "max", "min", "all")),
    ):
        values = spread(of(field))
        wanted |= {name.format(word): values[word] for word in words}
    values = spread([one["retransmits"] / one["segs_out"] for one in found if one["segs_out"]])
    wanted |= {f"retransmit_ratio_{word}": values[word] for word in ("avg", "max", "min")}
    return wanted


def differences(have, wanted):
    """What is not the same within what ss rounds away."""
    found = []
    for name, value in wanted.items():
        near = abs(have.get(name, -1) - value) <= max(abs(value) * 2e-3, 2e-6 if "ratio" in name else 0.51e-3)
        if not near:
            found.append((name, have.get(name), value))
    return found
