"""
OpenTelemetry traces of requests, tasks, queries and calls to Razorpay.

A trace follows a request through its Celery messages. Without `OTEL_EXPORTER_OTLP_ENDPOINT` tracing
is off, and the library is not imported. The standard variables apply (`OTEL_SERVICE_NAME`,
`OTEL_TRACES_SAMPLER`, …). Spans contain statements without values, and URLs without headers.
"""

from __future__ import annotations

import os

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def start() -> None:
    """
    Trace this process if an endpoint is set. Call once, after any fork and before Django loads its
    middleware.

    :raises ImproperlyConfigured: an endpoint is set, and requirements-otel.txt is not installed.
    """
    if not os.environ.get(ENDPOINT) or settings.ROLE == "flower":
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.celery import CeleryInstrumentor
        from opentelemetry.instrumentation.django import DjangoInstrumentor
        from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
        from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ImproperlyConfigured(f"{ENDPOINT} needs requirements-otel.txt: {error}") from error
    os.environ.setdefault("OTEL_SERVICE_NAME", f"pakka-{settings.ROLE}")
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    for instrumentor in (
        DjangoInstrumentor,
        CeleryInstrumentor,
        PsycopgInstrumentor,
        URLLib3Instrumentor,
    ):
        instrumentor().instrument()
