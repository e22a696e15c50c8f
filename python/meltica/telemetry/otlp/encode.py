"""Spans and metrics as OTLP messages. Only the exporting thread imports this module."""

from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from meltica._core import __version__
from meltica.telemetry.otlp.points import Exponential, Family
from meltica.telemetry.otlp.spans import Span, Value

_KINDS: Final = {
    "internal": Message.SPAN_KIND_INTERNAL,
    "server": Message.SPAN_KIND_SERVER,
    "client": Message.SPAN_KIND_CLIENT,
}
_CUMULATIVE: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def traces(resource: Mapping[str, str], spans: Iterable[Span]) -> bytes:
    """Returns the request that exports spans."""
    scope = ScopeSpans(scope=_scope(), spans=[_span(each) for each in spans])
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=_resource(resource), scope_spans=[scope])]
    ).SerializeToString()


def metrics(resource: Mapping[str, str], families: Iterable[Family], began: int, now: int) -> bytes:
    """Returns the request that exports metrics, cumulative since `began`."""
    scope = ScopeMetrics(scope=_scope(), metrics=[_metric(each, began, now) for each in families])
    return ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=_resource(resource), scope_metrics=[scope])]
    ).SerializeToString()


def rejected(signal: str, body: bytes) -> tuple[int, str]:
    """Returns how much of an accepted request the collector rejected, and why. Raises DecodeError."""
    if signal == "traces":
        spans = ExportTraceServiceResponse.FromString(body).partial_success
        return spans.rejected_spans, spans.error_message
    points = ExportMetricsServiceResponse.FromString(body).partial_success
    return points.rejected_data_points, points.error_message


def _resource(attributes: Mapping[str, str]) -> Resource:
    return Resource(attributes=_attributes(attributes))


def _scope() -> InstrumentationScope:
    return InstrumentationScope(name="meltica", version=__version__)


def _span(span: Span) -> Message:
    trace, id = span.context
    return Message(
        trace_id=trace,
        span_id=id,
        parent_span_id=span.parent or b"",
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=span.start,
        end_time_unix_nano=span.end,
        attributes=_attributes(span.attributes),
        links=[Message.Link(trace_id=each.trace_id, span_id=each.span_id) for each in span.links],
        status=None if span.error is None else Status(code=Status.STATUS_CODE_ERROR, message=span.error),
    )


def _metric(family: Family, began: int, now: int) -> Metric:
    metric = Metric(name=family.name, description=family.text, unit=family.unit)
    if family.kind == "histogram":
        metric.exponential_histogram.aggregation_temporality = _CUMULATIVE
        metric.exponential_histogram.data_points.extend(
            _histogram(labels, each, began, now) for labels, each in family.histograms
        )
        return metric
    points = [
        NumberDataPoint(
            attributes=_attributes(labels),
            start_time_unix_nano=began if family.kind == "counter" else 0,
            time_unix_nano=now,
            as_double=value,
        )
        for labels, value in family.numbers
    ]
    if family.kind == "counter":
        metric.sum.is_monotonic = True
        metric.sum.aggregation_temporality = _CUMULATIVE
        metric.sum.data_points.extend(points)
    else:
        metric.gauge.data_points.extend(points)
    return metric


def _histogram(
    labels: Mapping[str, str], each: Exponential, began: int, now: int
) -> ExponentialHistogramDataPoint:
    return ExponentialHistogramDataPoint(
        attributes=_attributes(labels),
        start_time_unix_nano=began,
        time_unix_nano=now,
        count=sum(each.counts),
        sum=each.sum,
        scale=0,
        positive=ExponentialHistogramDataPoint.Buckets(offset=each.offset, bucket_counts=each.counts),
    )


def _attributes(values: Mapping[str, str] | Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items()]


def _value(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=value)
