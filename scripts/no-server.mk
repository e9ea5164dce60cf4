# no-server.mk - what "make" does without a server's headers; the Makefile includes it in place of PGXS.
#
# "make clean" works, and so do the targets that need no server (make help). The others say what is missing.
all install uninstall installcheck:
	@echo 'embed: $(PG_CONFIG) leads to no headers of a PostgreSQL server. Install its development package' >&2
	@echo '(Debian: postgresql-server-dev-17 for PostgreSQL 17), or name another one:' >&2
	@echo '    make PG_CONFIG=/usr/lib/postgresql/17/bin/pg_config' >&2
	@echo '"make help" lists the targets; "make cli" needs no server.' >&2
	@exit 1

clean distclean maintainer-clean:
	rm -rf $(OBJS) $(OBJS:.o=.bc) $(MODULE_big).so $(MODULE_big).dylib lib$(MODULE_big).a lib$(MODULE_big).pc
	rm -rf $(DATA_built) $(EXTRA_CLEAN) regression.diffs regression.out tmp_check tmp_check_iso log output_iso

.PHONY: all install uninstall installcheck clean distclean maintainer-clean
