# install.mk - what "make" builds and installs beside the extension, where a server's headers are; the
# Makefile includes it behind PGXS.
#
# "no" leaves a part out, as packages do that have it elsewhere.
WITH_CLI ?= yes
WITH_DOCS ?= yes

# embed-cli of the extension's objects: the core is compiled once. "make cli" needs no server.
CLI_BUILD = build/install
CLI = $(CLI_BUILD)/embed-cli
$(CLI): $(CORE_OBJS) $(wildcard src/cli/*.[ch] reference/*.[ch])
	$(MAKE) -f core.mk CC='$(CC)' BUILD=$(CLI_BUILD) CORE_OBJS='$(CORE_OBJS)' cli

# Documents lie in a folder of their own: README.md is a name that others have, too.
DOC_FILES = README.md CHANGELOG.md LICENSE $(wildcard docs/*.md docs/*.sql docs/*/*.md)
doc_dir = $(DESTDIR)$(docdir)/$(docmoduledir)/embed
man_dir = $(DESTDIR)$(mandir)/man1

ifneq ($(WITH_CLI),no)
all: $(CLI)
install: install-cli
endif
ifneq ($(WITH_DOCS),no)
install: install-docs
endif
uninstall: uninstall-cli uninstall-docs

install-cli: $(CLI)
	$(MKDIR_P) '$(DESTDIR)$(bindir)' '$(man_dir)'
	$(INSTALL_PROGRAM) $(CLI) '$(DESTDIR)$(bindir)/'
	$(INSTALL_DATA) docs/embed-cli.1 '$(man_dir)/'

install-docs:
	for file in $(DOC_FILES); do \
		$(MKDIR_P) "$(doc_dir)/$$(dirname $$file)" && $(INSTALL_DATA) $$file "$(doc_dir)/$$file" || exit 1; \
	done

uninstall-cli:
	rm -f '$(DESTDIR)$(bindir)/embed-cli' '$(man_dir)/embed-cli.1'
uninstall-docs:
	rm -rf '$(doc_dir)'

installcheck: say-left-out
say-left-out:
	@sh scripts/regress-tests --left-out

.PHONY: install-cli install-docs uninstall-cli uninstall-docs say-left-out
