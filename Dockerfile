# One image for every process; the command says which (see docker-compose.yml).
# With tracing: --build-arg REQUIREMENTS=requirements-otel.txt
FROM python:3.12-slim AS build
ARG REQUIREMENTS=requirements.txt
RUN python -m venv /venv
COPY requirements.txt requirements-otel.txt ./
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: \
    --require-hashes -r "$REQUIREMENTS"

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home pakka \
    && install --directory --owner=pakka --mode=0700 /data
COPY --from=build /venv /venv
WORKDIR /app
COPY manage.py Procfile LICENSE ./
COPY shop shop
COPY tasks tasks
COPY workers workers
# /data has the tasks that Flower remembers; containers keep nothing else.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 PORT=8000 FLOWER_PORT=5555 STANDIN_PORT=8010 DATA_DIR=/data STATIC_ROOT=/app/static \
    METRICS_DIR=/tmp/metrics
# The base image has no compiled standard library, and a read-only container cannot store one: each
# start and each health check would compile it again.
RUN python -m compileall -q -x '/(test|tests|lib2to3)/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" shop tasks workers
# The settings require these values. The build does not use them, and the image does not keep them.
RUN SECRET_KEY=of-the-build-alone-0123456789-abcdef RAZORPAY_KEY_ID=build RAZORPAY_KEY_SECRET=build \
    RAZORPAY_WEBHOOK_SECRETS=of-the-build-alone-0123456789-abcdef \
    METRICS_DIR=/tmp/build python manage.py collectstatic --noinput && rm -r /tmp/build
USER pakka
EXPOSE 8000
CMD ["python", "-m", "workers.procfile", "web"]
