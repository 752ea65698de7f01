"""Reads delimited protobuf, messages io.prometheus.client.MetricFamily, from the wire format's
specification and the field numbers of metrics.proto. It shares nothing with the program under test,
and refuses what is not known: a field that no reader knows is a mistake of the writer.
"""

import struct

TYPES = {0: "counter", 1: "gauge", 2: "summary", 3: "untyped", 4: "histogram"}


class Malformed(Exception):
    """What is wrong."""


def varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data):
            raise Malformed("a number without end")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def signed(value):
    return (value >> 1) ^ -(value & 1)


def fields(data):
    """Number and value of each field: bytes, an int, or a double."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 1:
            (value,) = struct.unpack_from("<d", data, at)
            at += 8
        elif kind == 2:
            size, at = varint(data, at)
            if at + size > len(data):
                raise Malformed("a field without end")
            value, at = data[at:at + size], at + size
        else:
            raise Malformed(f"wire type {kind}")
        yield number, value


def message(data, known):
    """The fields by name; those that `known` ends with [] as lists."""
    out = {name[:-2]: [] for name in known.values() if name.endswith("[]")}
    for number, value in fields(data):
        if number not in known:
            raise Malformed(f"field {number}")
        name = known[number]
        if name.endswith("[]"):
            out[name[:-2]].append(value)
        elif name in out:
            raise Malformed(f"{name} twice")
        else:
            out[name] = value
    return out


def histogram(data):
    known = {
        1: "count", 2: "sum", 3: "bucket[]", 5: "schema", 6: "zero_threshold", 7: "zero_count",
        9: "negative_span[]", 10: "negative_delta[]", 12: "positive_span[]", 13: "positive_delta[]",
    }
    out = message(data, known)
    buckets = [message(bucket, {1: "count", 2: "bound"}) for bucket in out["bucket"]]
    out["bucket"] = [(bucket["bound"], bucket["count"]) for bucket in buckets]
    for side in ("negative", "positive"):
        spans = [message(span, {1: "offset", 2: "length"}) for span in out[f"{side}_span"]]
        spans = [(signed(span["offset"]), span["length"]) for span in spans]
        deltas = [signed(delta) for delta in out[f"{side}_delta"]]
        if sum(length for _, length in spans) != len(deltas):
            raise Malformed("spans and deltas of different length")
        out[f"{side}_span"], out[f"{side}_delta"] = spans, deltas
    if "schema" in out:
        out["schema"] = signed(out["schema"])
    return out


def summary(data):
    out = message(data, {1: "count", 2: "sum", 3: "quantile[]"})
    quantiles = [message(quantile, {1: "quantile", 2: "value"}) for quantile in out["quantile"]]
    out["quantile"] = [(quantile["quantile"], quantile["value"]) for quantile in quantiles]
    return out


def native_buckets(histogram):
    """(lower, upper, count) of each bucket but that of zero, lowest first."""
    base = 2 ** 2 ** -histogram["schema"]
    out = []
    for side, sign in (("positive", 1), ("negative", -1)):
        index, count, deltas = 0, 0, iter(histogram[f"{side}_delta"])
        for offset, length in histogram[f"{side}_span"]:
            index += offset
            for _ in range(length):
                count += next(deltas)
                ends = sorted((sign * base ** (index - 1), sign * base**index))
                out.append((*ends, count))
                index += 1
    return sorted(out)


def read(data):
    """The families: dicts of name, help, type, unit and series, a list of (labels, value)."""
    families, at = [], 0
    while at < len(data):
        size, at = varint(data, at)
        if at + size > len(data):
            raise Malformed("a message without end")
        family = message(data[at:at + size], {1: "name", 2: "help", 3: "type", 4: "metric[]", 5: "unit"})
        at += size
        kind = TYPES[family["type"]]
        number = {"gauge": 2, "counter": 3, "summary": 4, "untyped": 5, "histogram": 7}[kind]
        series = []
        for metric in family.pop("metric"):
            metric = message(metric, {1: "label[]", number: "value"})
            pairs = [message(pair, {1: "name", 2: "value"}) for pair in metric["label"]]
            labels = [(pair["name"].decode(), pair["value"].decode()) for pair in pairs]
            if kind == "histogram":
                value = histogram(metric["value"])
            elif kind == "summary":
                value = summary(metric["value"])
            else:
                value = message(metric["value"], {1: "value"})["value"]
            series.append((labels, value))
        if not series:
            raise Malformed(f"{family['name']} without series")
        names = {key: family[key].decode() for key in ("name", "help", "unit") if key in family}
        if any(names["name"] == before["name"] for before in families):
            raise Malformed(f"{names['name']} twice")
        families.append({"unit": "", **names, "type": kind, "series": series})
    return families


def samples(families):
    """Name, labels and value of each sample, as the text formats have them."""
    for family in families:
        name = family["name"]
        for labels, value in family["series"]:
            if family["type"] not in ("histogram", "summary"):
                yield name, labels, value
                continue
            for quantile, at in value.get("quantile", []):
                yield name, [*labels, ("quantile", repr(quantile))], at
            if family["type"] == "histogram":
                for bound, count in [*value["bucket"], (float("inf"), value["count"])]:
                    yield name + "_bucket", [*labels, ("le", repr(bound))], count
            yield name + "_sum", labels, value["sum"]
            yield name + "_count", labels, value["count"]
