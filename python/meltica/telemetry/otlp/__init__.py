"""Export of traces and metrics by OTLP over HTTP.

`opentelemetry` is imported by `encode` alone, which is imported on the exporting thread.
"""
