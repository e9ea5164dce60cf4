/*
 * cli_machine.c
 *		/proc, /sys and uname.
 */
#include "cli/cli_machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "model/embed_core.h"

#define MAX_CACHES	8

/* The value of "name : value", without the newline; NULL: another line. */
static const char *
value_of(char *line, const char *name)
{
	size_t		n = strlen(name);
	char	   *p = line + n;

	if (strncmp(line, name, n) != 0)
		return NULL;
	p += strspn(p, " \t");
	if (*p != ':')
		return NULL;
	p += 1 + strspn(p + 1, " \t");
	p[strcspn(p, "\n")] = '\0';
	return p;
}

static void
append(char *to, size_t size, const char *before, const char *text)
{
	size_t		n = strlen(to);

	snprintf(to + n, size - n, "%s%s%s", n > 0 ? ", " : "", before, text);
}

/* Of the first CPU; names of x86-64 and of arm64. */
static void
read_cpuinfo(CliMachine *machine)
{
	static const struct
	{
		const char *field,
				   *label;
	}			numbers[] = {
		{"vendor_id", ""}, {"cpu family", "family "}, {"model", "model "}, {"stepping", "stepping "},
		{"CPU implementer", "implementer "}, {"CPU part", "part "}
	};
	char		line[512];
	FILE	   *f = fopen("/proc/cpuinfo", "r");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL && line[0] != '\n')
	{
		const char *value = value_of(line, "model name");

		if (value != NULL)
			snprintf(machine->cpu, sizeof(machine->cpu), "%s", value);
		for (size_t i = 0; value == NULL && i < sizeof(numbers) / sizeof(numbers[0]); i++)
		{
			value = value_of(line, numbers[i].field);
			if (value != NULL)
				append(machine->numbers, sizeof(machine->numbers), numbers[i].label, value);
		}
	}
	if (f != NULL)
		fclose(f);
}

static bool
read_word(const char *folder, const char *name, char word[24])
{
	char		path[96];
	FILE	   *f;
	bool		ok;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "r");
	ok = f != NULL && fscanf(f, "%23s", word) == 1;
	if (f != NULL)
		fclose(f);
	return ok;
}

static void
read_caches(CliMachine *machine)
{
	for (int i = 0; i < MAX_CACHES; i++)
	{
		char		folder[64];
		char		level[24];
		char		type[24];
		char		size[24];
		char		label[64];

		snprintf(folder, sizeof(folder), "/sys/devices/system/cpu/cpu0/cache/index%d", i);
		if (!read_word(folder, "level", level) || !read_word(folder, "type", type) || !read_word(folder, "size", size))
			continue;
		snprintf(label, sizeof(label), "L%s%s ", level, strcmp(type, "Data") == 0 ? "d" : strcmp(type, "Instruction") == 0 ? "i" : "");
		append(machine->caches, sizeof(machine->caches), label, size);
	}
}

void
cli_machine_read(CliMachine *machine)
{
	struct utsname names;
	time_t		now = time(NULL);
	struct tm	utc;
	long		n_pages = sysconf(_SC_PHYS_PAGES);

	memset(machine, 0, sizeof(*machine));
	if (getloadavg(&machine->load, 1) != 1)
		machine->load = -1;
	machine->memory_gb = n_pages > 0 ? (double) n_pages * sysconf(_SC_PAGESIZE) / (1 << 30) : -1;
	machine->n_cpus = emb_threads_available();
	if (uname(&names) == 0)
		snprintf(machine->system, sizeof(machine->system), "%s %s, %s", names.sysname, names.release, names.machine);
	if (gmtime_r(&now, &utc) != NULL)
		strftime(machine->date, sizeof(machine->date), "%Y-%m-%d %H:%M UTC", &utc);
	read_cpuinfo(machine);
	read_caches(machine);
}
