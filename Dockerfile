# docker build -t valence .                                     the bundled model, no PyTorch anywhere
# docker build --build-arg MODEL=ID --build-arg MODEL_REVISION=SHA .   a model of the Hugging Face hub, exported on the way
# docker build --build-arg MODEL=models/FOLDER .                a checkpoint in a folder below models/
# docker build --target model ...                               the model alone, for an image volume
#
# Pin the base by digest: --build-arg PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

# ---- What the lock says, as pip reads it ------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS lock
RUN python -m venv /poetry && /poetry/bin/pip install --quiet --disable-pip-version-check \
    poetry==2.5.1 poetry-plugin-export==1.10.1
WORKDIR /lock
COPY pyproject.toml poetry.lock ./
# With the extra `tracing`: one variable turns traces on, and 9 MB are no reason for a second image. Traces over gRPC take
# 28 MB more: --build-arg EXTRAS="tracing tracing-grpc". `registry` serves models by name (docs/registry.md).
ARG EXTRAS=tracing
# The export group without torch: PyPI's brings gigabytes of CUDA on Linux (see the Makefile).
RUN /poetry/bin/poetry export --only main --extras "$EXTRAS" > main.txt && \
    /poetry/bin/poetry export --with export | \
    awk '/^[a-z]/ {wanted = !/^(torch==|triton==|nvidia-|cuda-)/} wanted' > export.txt && \
    sed -n 's/^torch = "\(.*\)"/torch==\1/p' pyproject.toml > torch.txt

# ---- The model package ------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS export
WORKDIR /export
ARG MODEL=bundled
# The index of PyTorch's CPU wheels (pytorch.org, "Get Started", Linux, Pip, CPU); `bundled` needs none.
ARG TORCH_INDEX=
COPY --from=lock /lock/*.txt ./
RUN [ "$MODEL" = bundled ] || { python -m venv /venv && \
    /venv/bin/pip install --quiet --disable-pip-version-check --no-cache-dir \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r torch.txt && \
    /venv/bin/pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --require-hashes -r export.txt; }
ARG MODEL_REVISION=
# pyproject.toml for the version, which the package's manifest states.
COPY pyproject.toml ./
COPY models models
# What of the service a package is tried with before it is written (model_export/served.py).
COPY app/__init__.py app/errors.py app/settings.py app/
COPY app/model app/model
COPY model_export model_export
RUN if [ "$MODEL" = bundled ]; then cp -r models/distilbert-sst2-mini /package; \
    else /venv/bin/python -m model_export --model "$MODEL" ${MODEL_REVISION:+--revision "$MODEL_REVISION"} \
      --name "$(basename "$MODEL")" --output /package; fi && \
    chmod -R a=rX,u+w /package

# ---- The package alone: `make model-image`, for .k8s/components/model-volume ------------------------------------------
FROM export AS model-files
# The one program that an init container can copy with, where image volumes are off.
RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends busybox-static >/dev/null && \
    mkdir /files && cp -r /package /files/model && cp /bin/busybox /files/busybox

FROM scratch AS model
LABEL org.opencontainers.image.title="Valence model package" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
COPY --from=model-files /files /

# ---- The virtual environment ------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS build
# Two wheels come with their debug symbols: `strip` makes 14 MB of uvloop 2. The compiler is for app/model/native.
RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends binutils gcc libc6-dev make >/dev/null && rm -rf /var/lib/apt/lists/*
COPY --from=lock /lock/main.txt ./
RUN python -m venv --without-pip /venv && \
    pip --python /venv/bin/python install --quiet --disable-pip-version-check --no-cache-dir --no-compile \
      --no-deps --require-hashes -r main.txt
# What no request ever imports (found by `python -X importtime`, held by tests/e2e/test_image.py): tokenizers' and
# onnxruntime's clients for model hubs, alternatives to what uvicorn uses here, test suites,
# tools, C headers.
RUN pip --python /venv/bin/python uninstall --quiet --yes \
      flatbuffers hf-xet \
      $(grep -q ^mlflow main.txt || echo filelock fsspec h11 huggingface-hub packaging pyyaml tqdm) \
      2>&1 | { grep -v 'as root' || true; } && \
    cd /venv/lib/python3*/site-packages && \
    rm -rf numpy/f2py numpy/distutils numpy/testing numpy/random numpy/ma numpy/polynomial numpy/fft \
      numpy/_core/include numpy/_core/lib \
      onnxruntime/transformers onnxruntime/quantization onnxruntime/tools onnxruntime/datasets onnxruntime/backend \
      onnxruntime/capi/libonnxruntime.so.* && \
    find . -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -rf {} + && \
    find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.a' \) -delete && \
    strip --strip-unneeded uvloop/loop*.so httptools/parser/*.so && \
    python -m compileall -q --invalidation-mode unchecked-hash .

FROM build AS code
WORKDIR /srv/valence
COPY gunicorn.conf.py ./
COPY app app
COPY Makefile /
# What is done by now, or by the export alone, stays behind.
RUN make --silent --makefile /Makefile app/model/native/libtransformer.so && \
    { [ ! -e app/model/native/libtransformer.so ] || strip --strip-unneeded app/model/native/libtransformer.so; } && \
    rm app/model/native/transformer.c app/model/check.py
# The root file system is read-only at run time: bytecode is made here or never. Without columns, which no log shows, it
# is a fifth smaller.
RUN python -X no_debug_ranges -m compileall -q --invalidation-mode unchecked-hash app && chmod -R a=rX,u+w .

# ---- What runs --------------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Valence" \
      org.opencontainers.image.description="Sentiment predictions on CPUs, native to Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
# onnxruntime would report its use to its makers. glibc would keep freed blocks of up to 32 MiB, apart for each thread.
ENV ORT_DISABLE_TELEMETRY=1 \
    MALLOC_MMAP_THRESHOLD_=1048576 \
    MALLOC_TRIM_THRESHOLD_=2097152 \
    PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TOKENIZERS_PARALLELISM=false \
    VALENCE_BIND=0.0.0.0:8000 \
    VALENCE_METRICS_BIND=0.0.0.0:9090 \
    VALENCE_MODEL_CACHE_DIR=/var/cache/valence \
    VALENCE_MODEL_DIR=/srv/valence/model
WORKDIR /srv/valence
# By number: Kubernetes cannot tell whether a name is root.
USER 10001:10001
EXPOSE 8000 9090
ENTRYPOINT ["gunicorn"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
# From the rarest change to the most frequent.
COPY --from=build /venv /venv
COPY --from=export /package model
COPY --from=code /srv/valence ./
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version="$VERSION" org.opencontainers.image.revision="$REVISION"
ENV VALENCE_REVISION="$REVISION"
