/*
 * replay.c
 *		Runs a fuzz target over its corpus without libFuzzer, and prints TAP.
 *
 * Linked with one test/fuzz/fuzz_X.c into a program fuzz_X, which finds its
 * corpus by its own name: test/fuzz/corpus/fuzz_X (tests run from the top of
 * the tree). A file that makes the target crash, leak or trip a sanitizer ends
 * the program before its line, and so fails the test. The empty input is
 * always tried.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every input gets a block of its own size, so that reading past it is seen. */
static int
replay_file(const char *path)
{
	FILE	   *file = fopen(path, "rb");
	struct stat st;
	uint8_t    *data;
	size_t		size;

	if (file == NULL || fstat(fileno(file), &st) != 0)
	{
		if (file != NULL)
			fclose(file);
		return 0;
	}
	size = (size_t) st.st_size;
	data = malloc(size > 0 ? size : 1);
	if (data == NULL || fread(data, 1, size, file) != size)
	{
		free(data);
		fclose(file);
		return 0;
	}
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 1;
}

static int
is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

int
main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	const char *target = slash != NULL ? slash + 1 : argv[0];
	char		dir[256],
				path[1024];
	struct dirent **entries = NULL;
	int			n_files,
				n_failed = 0;

	snprintf(dir, sizeof(dir), "test/fuzz/corpus/%s", target);
	if (argc > 1)
		snprintf(dir, sizeof(dir), "%s", argv[1]);

	LLVMFuzzerTestOneInput((const uint8_t *) "", 0);
	printf("ok 1 - the empty input\n");
	fflush(stdout);

	n_files = scandir(dir, &entries, is_visible, alphasort);
	for (int i = 0; i < n_files; i++)
	{
		int			ok;

		snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
		ok = replay_file(path);
		printf("%s %d - %s\n", ok ? "ok" : "not ok", i + 2, entries[i]->d_name);
		fflush(stdout);
		n_failed += !ok;
		free(entries[i]);
	}
	free(entries);
	if (n_files <= 0)
	{
		printf("not ok 2 - no corpus in %s\n", dir);
		n_files = 1;
		n_failed++;
	}
	printf("1..%d\n", n_files + 1);
	return n_failed > 0;
}
