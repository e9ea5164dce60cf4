# PostgreSQL with embed and pgvector; docs/install.md tells how to use it. test/dockerfile runs these lines.
#
#	docker build -t postgres-embed .								PostgreSQL 17; --build-arg PG=16: another
#	docker build -t postgres-embed --build-arg MODELS=my/models .	with models: a folder of this context
#	docker build -t embed-extension --target extension --build-arg PG=18 .	for CloudNativePG
ARG PG=17
FROM postgres:${PG} AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
	gcc make libc6-dev libjansson-dev libssl-dev postgresql-server-dev-$PG_MAJOR
ENV PG_CONFIG=/usr/lib/postgresql/$PG_MAJOR/bin/pg_config
COPY . /src
RUN make -C /src -j"$(nproc)" && make -C /src install DESTDIR=/out bindir=/usr/local/bin

# Two folders, as extension images have them from PostgreSQL 18 on.
FROM build AS files
RUN mkdir -p /image/lib /image/share && cp /out$($PG_CONFIG --pkglibdir)/embed.so /image/lib/ && \
	cp -P $(find /usr/lib -name 'libjansson.so.4*') /image/lib/ && cp -r /out$($PG_CONFIG --sharedir)/extension /image/share/
FROM scratch AS extension
COPY --from=files /image/ /

FROM postgres:${PG} AS server
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 libjansson4 postgresql-$PG_MAJOR-pgvector && \
	rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ /
COPY docker/import-models.sh /docker-entrypoint-initdb.d/50-embed.sh
ARG MODELS=docker/models
COPY ${MODELS}/ /models/
